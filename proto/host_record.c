/* SPDX-License-Identifier: Apache-2.0 */
/* The half of certs.h that says who seals for a host. */
#include "proto/authorities.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/certs_key.h"
#include "proto/openssl_util.h"

#include "batch.pb-c.h"

#include <errno.h>
#include <openssl/pem.h>

#define SEALING_PUBLIC_BYTES 32
#define KEY_ID_BYTES 8
#define SIGNATURE_MAX 80 /* DER of two 256-bit integers: at most 72 */
#define RECORD_MAX (CERTS_HOST_RECORD_MAX - SIGNATURE_MAX - 16)

static EVP_PKEY *read_key(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");

	return bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
}

int certs_sealing_key(const char *key_file, uint8_t ret_public[static SEALING_PUBLIC_BYTES],
		      struct error *e)
{
	bool exists = access(key_file, F_OK) == 0;
	AUTO(pkey_free_ptr)
	EVP_PKEY *key = exists ? read_key(key_file) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	size_t len = SEALING_PUBLIC_BYTES;

	if (key == NULL || !EVP_PKEY_is_a(key, "ED25519") ||
	    EVP_PKEY_get_raw_public_key(key, ret_public, &len) != 1 || len != SEALING_PUBLIC_BYTES)
		return error_set(e, -EIO, "cannot %s the sealing key '%s': %s",
				 exists ? "read" : "make", key_file, openssl_reason());
	return exists ? 0 : certs_write_key(key, key_file, e);
}

static int sign_record(EVP_PKEY *key, const uint8_t *record, size_t len, uint8_t *signature,
		       size_t *signature_len, struct error *e)
{
	static const char context[] = AUTHORITIES_HOST_RECORD_CONTEXT;
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();

	if (md == NULL || EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSignUpdate(md, context, sizeof(context)) != 1 ||
	    EVP_DigestSignUpdate(md, record, len) != 1 ||
	    EVP_DigestSignFinal(md, signature, signature_len) != 1)
		return error_set(e, -EIO, "cannot sign the host record: %s", openssl_reason());
	return 0;
}

/* protobuf-c's structs have no const; nothing is written through them by packing. */
static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .data = (uint8_t *)data, .len = len };
}

static int pack_signed(EVP_PKEY *key, const uint8_t *record, size_t len, uint8_t *ret,
		       size_t *ret_len, struct error *e)
{
	Exhibit__V1__SignedHostRecord message = EXHIBIT__V1__SIGNED_HOST_RECORD__INIT;
	uint8_t signature[SIGNATURE_MAX];
	size_t signature_len = sizeof(signature);
	int r = sign_record(key, record, len, signature, &signature_len, e);

	if (r < 0)
		return r;
	message.record = borrowed(record, len);
	message.signature = borrowed(signature, signature_len);
	*ret_len = exhibit__v1__signed_host_record__pack(&message, ret);
	return 0;
}

int certs_host_record_pack(const struct certs_authority *a, const struct identity *id,
			   const char *host_name,
			   const uint8_t sealing_public[static SEALING_PUBLIC_BYTES],
			   int64_t valid_from_ns, uint8_t ret[static CERTS_HOST_RECORD_MAX],
			   size_t *ret_len, struct error *e)
{
	Exhibit__V1__HostRecord record = EXHIBIT__V1__HOST_RECORD__INIT;
	uint8_t digest[EVP_MAX_MD_SIZE], packed[RECORD_MAX];

	if (EVP_Digest(sealing_public, SEALING_PUBLIC_BYTES, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set(e, -EIO, "cannot hash the sealing key: %s", openssl_reason());
	record.version = 1;
	record.tenant = borrowed(id->tenant, strlen(id->tenant));
	record.host_id = borrowed(id->name, strlen(id->name));
	record.host_name = borrowed(host_name, strlen(host_name));
	record.sealing_key = borrowed(sealing_public, SEALING_PUBLIC_BYTES);
	record.key_id = borrowed(digest, KEY_ID_BYTES);
	record.valid_from_ns = valid_from_ns;
	if (exhibit__v1__host_record__get_packed_size(&record) > sizeof(packed))
		return error_set(e, -EMSGSIZE,
				 "the name of host '%s' is too long for a host record", id->name);
	return pack_signed(certs_authority_key(a), packed,
			   exhibit__v1__host_record__pack(&record, packed), ret, ret_len, e);
}

int certs_host_record(const struct certs_authority *a, const struct identity *id,
		      const char *host_name,
		      const uint8_t sealing_public[static SEALING_PUBLIC_BYTES],
		      int64_t valid_from_ns, const char *file, struct error *e)
{
	uint8_t packed[CERTS_HOST_RECORD_MAX];
	size_t len;
	int r = certs_host_record_pack(a, id, host_name, sealing_public, valid_from_ns, packed,
				       &len, e);

	return r < 0 ? r : files_replace(file, packed, len, 0644, e);
}
