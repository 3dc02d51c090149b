/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "proto/certs_key.h"
#include "proto/openssl_util.h"
#include "proto/order.h"
#include "proto/order_signature.h"

static ProtobufCBinaryData text_bytes(const char *text)
{
	/* Only read while packing. */
	return (ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)(uintptr_t)text };
}

static int pack_list(const char *tenant, uint64_t number, const char *const *serials, size_t n,
		     int64_t made_ns, uint8_t **ret, size_t *ret_len, struct error *e)
{
	Exhibit__V1__RevocationList list = EXHIBIT__V1__REVOCATION_LIST__INIT;
	AUTO(free_ptr) ProtobufCBinaryData *rows = calloc(n + 1, sizeof(*rows));
	uint8_t *data;

	if (rows == NULL)
		return error_set(e, -ENOMEM, "cannot make a revocation list: %m");
	for (size_t i = 0; i < n; i++)
		rows[i] = text_bytes(serials[i]);
	list.version = 1;
	list.tenant = text_bytes(tenant);
	list.number = number;
	list.made_ns = made_ns;
	list.n_serials = n;
	list.serials = rows;
	*ret_len = exhibit__v1__revocation_list__get_packed_size(&list);
	if (*ret_len > REVOCATIONS_BYTES_MAX - KiB(1))
		return error_set(e, -E2BIG, "%zu revoked certificates are more than a list holds",
				 n);
	data = malloc(*ret_len + 1);
	if (data == NULL)
		return error_set(e, -ENOMEM, "cannot make a revocation list: %m");
	(void)exhibit__v1__revocation_list__pack(&list, data);
	*ret = data;
	return 0;
}

static bool sign(EVP_PKEY *key, const uint8_t *list, size_t len, uint8_t *out, size_t *inout_len)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t text[ORDER_TEXT_MAX];
	size_t text_len;

	return ctx != NULL &&
	       order_signed_text(ORDER_DOMAIN_REVOCATIONS, list, len, text, &text_len) == 0 &&
	       EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
	       EVP_DigestSign(ctx, out, inout_len, text, text_len) == 1;
}

int certs_revocations(const struct certs_authority *a, const char *tenant, uint64_t number,
		      const char *const *serials, size_t n, int64_t made_ns, uint8_t **ret,
		      size_t *ret_len, struct error *e)
{
	Exhibit__V1__SignedRevocationList s = EXHIBIT__V1__SIGNED_REVOCATION_LIST__INIT;
	uint8_t signature[ORDER_SIGNATURE_MAX];
	AUTO(free_ptr) uint8_t *list = NULL;
	size_t len = 0, signature_len = sizeof(signature);
	uint8_t *out;
	int r = pack_list(tenant, number, serials, n, made_ns, &list, &len, e);

	if (r < 0)
		return r;
	if (!sign(certs_authority_key(a), list, len, signature, &signature_len))
		return error_set(e, -EIO, "cannot sign a revocation list: %s", openssl_reason());
	s.list = (ProtobufCBinaryData){ .len = len, .data = list };
	s.signature = (ProtobufCBinaryData){ .len = signature_len, .data = signature };
	*ret_len = exhibit__v1__signed_revocation_list__get_packed_size(&s);
	out = malloc(*ret_len);
	if (out == NULL)
		return error_set(e, -ENOMEM, "cannot make a revocation list: %m");
	(void)exhibit__v1__signed_revocation_list__pack(&s, out);
	*ret = out;
	return 0;
}
