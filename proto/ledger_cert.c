/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ledger_cert.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/authorities_x509.h"
#include "proto/base/files.h"
#include "proto/certs_key.h"
#include "proto/openssl_util.h"

#define SCHEME "spiffe://"
#define KIND "ledger"
#define FILE_MAX KiB(64)
#define BACKDATE_S 300
#define SERIAL_BITS 127
#define URI_MAX 400

/* ---- making ---- */

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool good;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	good = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return good;
}

static bool fill(X509 *cert, X509 *issuer, EVP_PKEY *key, const char *uri, int64_t now_s)
{
	AUTO(bn_free_ptr) BIGNUM *serial = BN_new();
	X509_NAME *subject = X509_get_subject_name(cert);
	char san[URI_MAX + 8];

	(void)snprintf(san, sizeof(san), "URI:%s", uri);
	return serial != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
	       BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	       BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL &&
	       ASN1_TIME_set(X509_getm_notBefore(cert), now_s - BACKDATE_S) != NULL &&
	       X509_set1_notAfter(cert, X509_get0_notAfter(issuer)) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
					  (const unsigned char *)"Exhibit", -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
					  (const unsigned char *)"Exhibit ledger", -1, -1,
					  0) == 1 &&
	       X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1 &&
	       X509_set_pubkey(cert, key) == 1 &&
	       add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, issuer, NID_ext_key_usage, "critical," LEDGER_CERT_EKU) &&
	       add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always") &&
	       add_extension(cert, issuer, NID_subject_alt_name, san);
}

static int write_pem(X509 *cert, const char *path, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len;

	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1)
		return error_set(e, -EIO, "cannot encode the certificate '%s': %s", path,
				 openssl_reason());
	len = BIO_get_mem_data(bio, &data);
	return files_replace(path, data, (size_t)len, 0644, e);
}

int ledger_cert_make(const struct certs_authority *order, const char *domain, const char *tenant,
		     const uint8_t public[static SEAL_PUBLIC_LEN], int64_t now_s, const char *path,
		     struct error *e)
{
	AUTO(x509_free_ptr) X509 *cert = X509_new();
	AUTO(pkey_free_ptr)
	EVP_PKEY *key =
		EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, SEAL_PUBLIC_LEN);
	uint8_t id[SEAL_KEY_ID_LEN];
	char uri[URI_MAX];

	if (!identity_part_valid(domain, strlen(domain)) ||
	    !identity_part_valid(tenant, strlen(tenant)))
		return error_set(e, -EINVAL, "'%.100s' or '%.100s' cannot stand in a name", domain,
				 tenant);
	seal_key_id(public, id);
	(void)snprintf(uri, sizeof(uri), SCHEME "%s/%s/" KIND "/%02x%02x%02x%02x", domain, tenant,
		       id[0], id[1], id[2], id[3]);
	if (cert == NULL || key == NULL ||
	    !fill(cert, certs_authority_certificate(order), key, uri, now_s) ||
	    X509_sign(cert, certs_authority_key(order), EVP_sha256()) == 0)
		return error_set(e, -EIO, "cannot issue the certificate '%s': %s", path,
				 openssl_reason());
	return write_pem(cert, path, e);
}

/* ---- reading ---- */

int ledger_cert_load(const char *path, uint8_t **ret_der, size_t *ret_len, struct error *e)
{
	AUTO(free_ptr) uint8_t *pem = NULL;
	AUTO(bio_free_ptr) BIO *bio = NULL;
	AUTO(x509_free_ptr) X509 *cert = NULL;
	unsigned char *der = NULL;
	size_t len;
	int n, r = files_read(path, FILE_MAX, &pem, &len, e);

	if (r < 0)
		return error_wrap(e, r, "cannot read the ledger's certificate");
	bio = BIO_new_mem_buf(pem, (int)len);
	cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	n = cert != NULL ? i2d_X509(cert, NULL) : -1;
	if (n <= 0 || n > (int)LEDGER_CERT_MAX)
		return error_set(e, -EINVAL, "'%s' holds no certificate in PEM form", path);
	*ret_der = malloc((size_t)n);
	der = *ret_der;
	if (der == NULL)
		return error_set(e, -ENOMEM, "cannot read '%s': %m", path);
	*ret_len = (size_t)i2d_X509(cert, &der);
	return 0;
}

/* DOMAIN/TENANT/ledger/NAME, every part as in other names. */
static bool origin_valid(const char *text, size_t len)
{
	const char *at = text, *end = text + len;

	for (size_t part = 0; part < 4; part++) {
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *stop = slash != NULL ? slash : end;

		if (!identity_part_valid(at, (size_t)(stop - at)) || (part < 3) != (slash != NULL))
			return false;
		if (part == 2 &&
		    ((size_t)(stop - at) != strlen(KIND) || memcmp(at, KIND, strlen(KIND)) != 0))
			return false;
		at = stop + 1;
	}
	return true;
}

/* One name alone: it is the log's origin. */
static bool read_origin(X509 *cert, char ret[static NOTE_NAME_MAX + 1])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	const GENERAL_NAME *name =
		sk_GENERAL_NAME_num(names) == 1 ? sk_GENERAL_NAME_value(names, 0) : NULL;
	bool good = false;

	if (name != NULL && name->type == GEN_URI) {
		const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
		const char *text = (const char *)ASN1_STRING_get0_data(uri);
		size_t len = (size_t)ASN1_STRING_length(uri);

		if (len > strlen(SCHEME) && len <= NOTE_NAME_MAX &&
		    memcmp(text, SCHEME, strlen(SCHEME)) == 0 &&
		    origin_valid(text + strlen(SCHEME), len - strlen(SCHEME))) {
			memcpy(ret, text + strlen(SCHEME), len - strlen(SCHEME));
			ret[len - strlen(SCHEME)] = '\0';
			good = true;
		}
	}
	GENERAL_NAMES_free(names);
	return good;
}

static bool signs_checkpoints_alone(X509 *cert)
{
	EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	ASN1_OBJECT *wanted = OBJ_txt2obj(LEDGER_CERT_EKU, 1);
	bool good = usages != NULL && wanted != NULL && sk_ASN1_OBJECT_num(usages) == 1 &&
		    OBJ_cmp(sk_ASN1_OBJECT_value(usages, 0), wanted) == 0;

	ASN1_OBJECT_free(wanted);
	EXTENDED_KEY_USAGE_free(usages);
	return good && (X509_get_extension_flags(cert) &
			(EXFLAG_INVALID | EXFLAG_CRITICAL | EXFLAG_CA)) == 0;
}

static bool issued_by_order(X509 *cert, const struct authorities *a)
{
	for (size_t i = 0;; i++) {
		X509 *authority = authorities_certificate(a, IDENTITY_ORDER, i);
		EVP_PKEY *key = authority != NULL ? X509_get0_pubkey(authority) : NULL;

		if (authority == NULL)
			return false;
		if (X509_check_issued(authority, cert) == X509_V_OK && key != NULL &&
		    X509_verify(cert, key) == 1)
			return true;
	}
}

static int check_dates(X509 *cert, int64_t now_s, struct error *e)
{
	time_t now = (time_t)now_s;

	if (X509_cmp_time(X509_get0_notAfter(cert), &now) <= 0)
		return error_set(e, -EKEYEXPIRED, "the ledger's certificate has expired");
	if (X509_cmp_time(X509_get0_notBefore(cert), &now) >= 0)
		return error_set(e, -EACCES, "the ledger's certificate is not valid yet");
	return 0;
}

static int check(X509 *cert, const struct authorities *a, int64_t now_s, struct note_key *ret,
		 struct error *e)
{
	char origin[NOTE_NAME_MAX + 1];
	uint8_t public[SEAL_PUBLIC_LEN];
	size_t len = sizeof(public);
	EVP_PKEY *key = X509_get0_pubkey(cert);
	int r;

	if (!read_origin(cert, origin) || !signs_checkpoints_alone(cert))
		return error_set(e, -EACCES, "the certificate is not a ledger's");
	if (key == NULL || !EVP_PKEY_is_a(key, "ED25519") ||
	    EVP_PKEY_get_raw_public_key(key, public, &len) != 1 || len != sizeof(public))
		return error_set(e, -EACCES, "the ledger's key is not Ed25519");
	if (a != NULL && !issued_by_order(cert, a))
		return error_set(e, -EACCES,
				 "the ledger's certificate was not issued by the order authority");
	r = now_s != 0 ? check_dates(cert, now_s, e) : 0;
	return r < 0 ? r : note_key_make(origin, public, ret, e);
}

int ledger_cert_check(const void *der, size_t len, const struct authorities *a, int64_t now_s,
		      struct note_key *ret, struct error *e)
{
	const unsigned char *at = der;
	AUTO(x509_free_ptr)
	X509 *cert = len > 0 && len <= LEDGER_CERT_MAX ? d2i_X509(NULL, &at, (long)len) : NULL;
	int r;

	if (cert == NULL || at != (const unsigned char *)der + len)
		r = error_set(e, -EACCES, "the ledger's certificate cannot be read");
	else
		r = check(cert, a, now_s, ret, e);
	ERR_clear_error();
	return r;
}
