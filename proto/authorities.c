/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/authorities.h"

#include "proto/authorities_x509.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/openssl_util.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

/* Certificates of one of the two. */
struct authority {
	size_t n;
	X509 *cert[AUTHORITIES_MAX];
};

struct authorities {
	struct authority by[2]; /* by enum identity_issuer */
	char *pem; /* fleet, then order */
	size_t order_at; /* in pem */
};

static void authority_release(struct authority *a)
{
	for (size_t i = 0; i < a->n; i++)
		X509_free(a->cert[i]);
	a->n = 0;
}

void authorities_free(struct authorities *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < ARRAY_LEN(a->by); i++)
		authority_release(&a->by[i]);
	free(a->pem);
	free(a);
}

const char *authorities_pem(const struct authorities *a)
{
	return a->pem;
}

const char *authorities_order_pem(const struct authorities *a)
{
	return a->pem + a->order_at;
}

/* An authority that TLS would not accept as one must be seen at start, not at the first handshake. */
static int add_certificate(struct authority *a, X509 *cert, const char *path, struct error *e)
{
	if (a->n == AUTHORITIES_MAX)
		return error_set(e, -E2BIG, "'%s' holds more than %d certificates", path,
				 AUTHORITIES_MAX);
	if (X509_check_ca(cert) != 1)
		return error_set(e, -EINVAL, "'%s' holds a certificate that is not an authority's",
				 path);
	if (X509_up_ref(cert) != 1)
		return error_set(e, -ENOMEM, "cannot keep the certificate in '%s'", path);
	a->cert[a->n++] = cert;
	return 0;
}

static int parse_certificates(struct authority *a, const uint8_t *pem, size_t len, const char *path,
			      struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_mem_buf(pem, (int)len);

	if (bio == NULL)
		return error_set(e, -ENOMEM, "cannot read '%s': %m", path);
	for (;;) {
		AUTO(x509_free_ptr) X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		int r;

		if (cert == NULL)
			break;
		r = add_certificate(a, cert, path, e);
		if (r < 0)
			return r;
	}
	/* The end of the file is reported as "no start line" after the last one. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return error_set(e, -EINVAL, "cannot read the certificates in '%s': %s", path,
				 openssl_reason());
	ERR_clear_error();
	if (a->n == 0)
		return error_set(e, -EINVAL, "'%s' holds no certificate in PEM form", path);
	return 0;
}

static int append_pem(struct authorities *a, const uint8_t *pem, size_t len, struct error *e)
{
	size_t old = a->pem != NULL ? strlen(a->pem) : 0;
	char *grown;

	if (memchr(pem, '\0', len) != NULL)
		return error_set(e, -EINVAL, "an authority's file holds a NUL byte");
	grown = realloc(a->pem, old + len + 2);
	if (grown == NULL)
		return error_set(e, -ENOMEM, "cannot keep the authorities: %m");
	memcpy(grown + old, pem, len);
	grown[old + len] = '\n'; /* a file may end without one */
	grown[old + len + 1] = '\0';
	a->pem = grown;
	return 0;
}

static int load_one(struct authorities *a, enum identity_issuer which, const char *path,
		    struct error *e)
{
	AUTO(free_ptr) uint8_t *pem = NULL;
	size_t len;
	int r;

	if (path == NULL)
		return 0;
	r = files_read(path, AUTHORITIES_FILE_MAX, &pem, &len, e);
	if (r >= 0)
		r = parse_certificates(&a->by[which], pem, len, path, e);
	if (r >= 0)
		r = append_pem(a, pem, len, e);
	if (r < 0)
		return error_wrap(e, r, "cannot load the %s authority",
				  identity_issuer_name(which));
	return 0;
}

int authorities_load(const char *fleet_ca_file, const char *order_ca_file, struct authorities **ret,
		     struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *a = calloc(1, sizeof(*a));
	int r;

	if (a == NULL)
		return error_set(e, -ENOMEM, "cannot load the authorities: %m");
	r = load_one(a, IDENTITY_FLEET, fleet_ca_file, e);
	a->order_at = a->pem != NULL ? strlen(a->pem) : 0;
	if (r >= 0)
		r = load_one(a, IDENTITY_ORDER, order_ca_file, e);
	if (r < 0)
		return r;
	if (a->pem == NULL)
		return error_set(e, -EINVAL, "no authority is configured");
	*ret = TAKE(a);
	return 0;
}

/* ---- a leaf ------------------------------------------------------------------------------------ */

static bool issued_by(X509 *leaf, const struct authority *a)
{
	for (size_t i = 0; i < a->n; i++) {
		EVP_PKEY *key = X509_get0_pubkey(a->cert[i]);

		if (X509_check_issued(a->cert[i], leaf) == X509_V_OK && key != NULL &&
		    X509_verify(leaf, key) == 1)
			return true;
	}
	ERR_clear_error();
	return false;
}

static int find_issuer(X509 *leaf, const struct authorities *a, struct identity *id,
		       struct error *e)
{
	static const enum identity_issuer both[] = { IDENTITY_FLEET, IDENTITY_ORDER };

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		if (issued_by(leaf, &a->by[both[i]])) {
			id->issuer = both[i];
			return 0;
		}
	}
	return error_set(e, -EACCES,
			 "the certificate was issued by neither the fleet nor the order authority");
}

/* Two names would let the holder choose who he is from call to call. */
static int read_name(X509 *leaf, struct identity *ret, struct error *e)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	const ASN1_IA5STRING *uri = NULL;
	int n_uris = 0, r;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_URI) {
			uri = name->d.uniformResourceIdentifier;
			n_uris++;
		}
	}
	if (n_uris == 1)
		r = identity_parse_spiffe((const char *)ASN1_STRING_get0_data(uri),
					  (size_t)ASN1_STRING_length(uri), ret, e);
	else
		r = error_set(e, -EACCES, "the certificate names %d URIs, one is needed", n_uris);
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return r < 0 ? -EACCES : 0;
}

static int read_serial(X509 *leaf, struct identity *ret, struct error *e)
{
	AUTO(bn_free_ptr) BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
	AUTO(openssl_free_ptr) char *hex = n != NULL ? BN_bn2hex(n) : NULL;
	const char *digits = hex;
	size_t len;

	if (hex == NULL)
		return error_set(e, -EACCES, "the certificate's serial number cannot be read");
	while (digits[0] == '0' && digits[1] != '\0')
		digits++;
	len = strlen(digits);
	if (len > IDENTITY_SERIAL_MAX || digits[0] == '-')
		return error_set(e, -EACCES, "the certificate's serial number is out of range");
	for (size_t i = 0; i <= len; i++)
		ret->serial[i] = (char)(digits[i] >= 'A' && digits[i] <= 'F' ?
						digits[i] + ('a' - 'A') :
						digits[i]);
	return 0;
}

static bool unix_time(const ASN1_TIME *t, int64_t *ret)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*ret = timegm(&tm);
	return true;
}

static int check_dates(X509 *leaf, int64_t early_s, int64_t late_s, struct identity *ret,
		       struct error *e)
{
	if (!unix_time(X509_get0_notBefore(leaf), &ret->not_before_s) ||
	    !unix_time(X509_get0_notAfter(leaf), &ret->not_after_s))
		return error_set(e, -EACCES, "the certificate's dates cannot be read");
	if (early_s > ret->not_after_s)
		return error_set(e, -EKEYEXPIRED, "the certificate expired %lld s ago",
				 (long long)(early_s - ret->not_after_s));
	if (late_s < ret->not_before_s)
		return error_set(e, -EAGAIN,
				 "the certificate is not valid for another %lld s, by this clock",
				 (long long)(ret->not_before_s - late_s));
	return 0;
}

static bool add_role(struct identity *id, const ASN1_TYPE *value)
{
	const char *text;
	size_t len;

	if (value->type != V_ASN1_UTF8STRING || id->n_roles == IDENTITY_ROLES_MAX)
		return false;
	text = (const char *)ASN1_STRING_get0_data(value->value.utf8string);
	len = (size_t)ASN1_STRING_length(value->value.utf8string);
	if (!identity_role_valid(text, len))
		return false;
	memcpy(id->roles[id->n_roles], text, len);
	id->roles[id->n_roles++][len] = '\0';
	return true;
}

static bool parse_roles(const ASN1_OCTET_STRING *data, struct identity *ret)
{
	const unsigned char *der = ASN1_STRING_get0_data(data);
	const unsigned char *end = der + ASN1_STRING_length(data);
	ASN1_SEQUENCE_ANY *list = d2i_ASN1_SEQUENCE_ANY(NULL, &der, ASN1_STRING_length(data));
	bool good = list != NULL && der == end;

	for (int i = 0; good && i < sk_ASN1_TYPE_num(list); i++)
		good = add_role(ret, sk_ASN1_TYPE_value(list, i));
	sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
	return good;
}

static int read_roles(X509 *leaf, struct identity *ret, struct error *e)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(CERTS_ROLES_OID, 1);
	int at = oid != NULL ? X509_get_ext_by_OBJ(leaf, oid, -1) : -1;
	bool good = oid != NULL;

	if (at >= 0)
		good = X509_get_ext_by_OBJ(leaf, oid, at) < 0 &&
		       parse_roles(X509_EXTENSION_get_data(X509_get_ext(leaf, at)), ret);
	ASN1_OBJECT_free(oid);
	ERR_clear_error();
	return good ? 0 : error_set(e, -EACCES, "the roles in the certificate cannot be read");
}

static int check_issuer_may(const struct identity *id, struct error *e)
{
	enum identity_issuer needed = id->kind == IDENTITY_HOST ? IDENTITY_FLEET : IDENTITY_ORDER;

	if (id->issuer == needed)
		return 0;
	return error_set(e, -EACCES, "the %s authority may not issue a certificate for a %s",
			 identity_issuer_name(id->issuer), identity_kind_name(id->kind));
}

int authorities_read_leaf(X509 *leaf, const struct authorities *a, int64_t early_s, int64_t late_s,
			  struct identity *ret, struct error *e)
{
	struct identity id = { 0 };
	int r = read_name(leaf, &id, e);

	id.issuer = id.kind == IDENTITY_HOST ? IDENTITY_FLEET : IDENTITY_ORDER;
	if (r >= 0 && a != NULL)
		r = find_issuer(leaf, a, &id, e);
	if (r >= 0)
		r = check_issuer_may(&id, e);
	if (r >= 0)
		r = check_dates(leaf, early_s, late_s, &id, e);
	if (r >= 0)
		r = read_serial(leaf, &id, e);
	if (r >= 0)
		r = read_roles(leaf, &id, e);
	if (r >= 0)
		*ret = id;
	return r;
}

static X509 *leaf_from_pem(const char *pem, size_t len)
{
	AUTO(bio_free_ptr)
	BIO *bio = len <= AUTHORITIES_FILE_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;

	return bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

int identity_from_leaf(const char *pem, size_t len, const struct authorities *a, int64_t now_s,
		       struct identity *ret, struct error *e)
{
	AUTO(x509_free_ptr) X509 *leaf = leaf_from_pem(pem, len);

	if (leaf == NULL)
		return error_set(e, -EACCES, "the certificate cannot be read: %s",
				 openssl_reason());
	return authorities_read_leaf(leaf, a, now_s, now_s, ret, e);
}

X509 *authorities_certificate(const struct authorities *a, enum identity_issuer which, size_t i)
{
	return i < a->by[which].n ? a->by[which].cert[i] : NULL;
}

/* ---- a certificate and its key ----------------------------------------------------------------- */

void identity_pair_release(struct identity_pair *p)
{
	free(p->cert_pem);
	if (p->key_pem != NULL)
		OPENSSL_cleanse(p->key_pem, strlen(p->key_pem));
	free(p->key_pem);
	*p = (struct identity_pair){ 0 };
}

static int read_text(const char *path, char **ret, struct error *e)
{
	uint8_t *data;
	size_t len;
	int r = files_read(path, AUTHORITIES_FILE_MAX, &data, &len, e);

	if (r < 0)
		return r;
	if (memchr(data, '\0', len) != NULL) {
		OPENSSL_cleanse(data, len);
		free(data);
		return error_set(e, -EINVAL, "'%s' is not PEM: it holds a NUL byte", path);
	}
	*ret = (char *)data;
	return 0;
}

static int check_key(X509 *leaf, const char *key_pem, const char *cert_file, const char *key_file,
		     struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_mem_buf(key_pem, -1);
	/* "" as the passphrase: an encrypted key fails instead of asking on the terminal. */
	AUTO(pkey_free_ptr)
	EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
	char group[32];
	size_t len;

	if (key == NULL)
		return error_set(e, -EINVAL, "cannot read the key in '%s': %s", key_file,
				 openssl_reason());
	if (!EVP_PKEY_is_a(key, "EC") ||
	    EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1 ||
	    strcmp(group, "prime256v1") != 0) {
		error_set(e, -EINVAL, "the key in '%s' is not a P-256 key", key_file);
		error_hint(
			e,
			"make it with 'exhibit-collector certs' or 'openssl genpkey -algorithm EC "
			"-pkeyopt ec_paramgen_curve:P-256'");
		return -EINVAL;
	}
	if (X509_check_private_key(leaf, key) != 1) {
		ERR_clear_error();
		return error_set(e, -EINVAL,
				 "the key in '%s' does not belong to the certificate in '%s'",
				 key_file, cert_file);
	}
	return 0;
}

static int check_pair(const struct identity_pair *p, const char *cert_file, const char *key_file,
		      const struct authorities *a, int64_t now_s, struct identity *ret,
		      struct error *e)
{
	AUTO(x509_free_ptr) X509 *leaf = leaf_from_pem(p->cert_pem, strlen(p->cert_pem));
	int r;

	if (leaf == NULL)
		return error_set(e, -EINVAL, "cannot read a certificate in '%s': %s", cert_file,
				 openssl_reason());
	r = check_key(leaf, p->key_pem, cert_file, key_file, e);
	if (r < 0)
		return r;
	r = authorities_read_leaf(leaf, a, now_s, now_s, ret, e);
	if (r < 0) {
		error_hint(e, "renew it, or check that it and the authorities belong together");
		return error_wrap(e, r, "cannot use '%s'", cert_file);
	}
	return 0;
}

static void pair_cleanup(struct identity_pair *p)
{
	identity_pair_release(p);
}

int identity_load_pair(const char *cert_file, const char *key_file, const struct authorities *a,
		       int64_t now_s, struct identity_pair *ret, struct error *e)
{
	AUTO(pair_cleanup) struct identity_pair p = { 0 };
	int r = read_text(cert_file, &p.cert_pem, e);

	if (r >= 0)
		r = read_text(key_file, &p.key_pem, e);
	if (r >= 0)
		r = check_pair(&p, cert_file, key_file, a, now_s, &p.id, e);
	if (r < 0)
		return r;
	*ret = p;
	p = (struct identity_pair){ 0 };
	return 0;
}

/* ---- host records ------------------------------------------------------------------------------ */

static bool verify_with(X509 *cert, const void *record, size_t len, const void *signature,
			size_t signature_len)
{
	static const char context[] = AUTHORITIES_HOST_RECORD_CONTEXT;
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();

	return md != NULL &&
	       EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, X509_get0_pubkey(cert)) == 1 &&
	       EVP_DigestVerifyUpdate(md, context, sizeof(context)) == 1 &&
	       EVP_DigestVerifyUpdate(md, record, len) == 1 &&
	       EVP_DigestVerifyFinal(md, signature, signature_len) == 1;
}

int authorities_verify_host_record(const struct authorities *a, const void *record, size_t len,
				   const void *signature, size_t signature_len, struct error *e)
{
	const struct authority *fleet = &a->by[IDENTITY_FLEET];
	bool good = false;

	for (size_t i = 0; i < fleet->n && !good; i++)
		good = verify_with(fleet->cert[i], record, len, signature, signature_len);
	ERR_clear_error();
	return good ? 0 :
		      error_set(e, -EBADMSG,
				"the host record is not signed by the fleet authority");
}
