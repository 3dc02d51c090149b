/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/person_key.h"

#include <errno.h>
#include <openssl/pem.h>

#include "proto/base/files.h"
#include "proto/openssl_util.h"
#include "proto/order_pkcs11.h"
#include "proto/order_signature.h"

#define FILE_MAX KiB(64)

/* NULL: it is no request, or its signature is false. */
static EVP_PKEY *from_request(BIO *bio)
{
	X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	EVP_PKEY *key = request ? X509_REQ_get_pubkey(request) : NULL;

	/* Who asks for a certificate must hold the key. */
	if (key && X509_REQ_verify(request, key) != 1) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	X509_REQ_free(request);
	return key;
}

static int from_file(const char *path, EVP_PKEY **ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	AUTO(bio_free_ptr) BIO *bio = NULL;
	size_t len;
	int r = files_read(path, FILE_MAX, &data, &len, e);

	if (r < 0)
		return r;
	bio = BIO_new_mem_buf(data, (int)len);
	*ret = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	if (!*ret && bio && BIO_reset(bio) == 1)
		*ret = from_request(bio);
	if (*ret)
		return 0;
	return error_set(e, -EINVAL,
			 "'%s' holds neither a public key nor a good certificate request: %s", path,
			 openssl_reason());
}

int person_key_load(const char *what, EVP_PKEY **ret, struct error *e)
{
	const EVP_MD *digest;
	int r = order_pkcs11_is(what) ? order_pkcs11_public(what, ret, e) : from_file(what, ret, e);

	if (r < 0)
		return r;
	if (order_key_digest(*ret, &digest))
		return 0;
	return error_set(e, -EINVAL, "the signing key is neither Ed25519 nor P-256");
}
