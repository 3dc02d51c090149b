/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/certs.h"

#include "proto/authorities.h"
#include "proto/base/files.h"
#include "proto/certs_key.h"
#include "proto/openssl_util.h"
#include "proto/order.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define BACKDATE_S 300 /* clocks of hosts lag */
#define SERIAL_BITS 127 /* random, positive, within 20 octets (RFC 5280 4.1.2.2) */
#define SANS_MAX 1024

struct certs_authority {
	X509 *cert;
	EVP_PKEY *key;
};

void certs_authority_free(struct certs_authority *a)
{
	if (a == NULL)
		return;
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
	free(a);
}

EVP_PKEY *certs_authority_key(const struct certs_authority *a)
{
	return a->key;
}

X509 *certs_authority_certificate(const struct certs_authority *a)
{
	return a->cert;
}

static const char *path_of(const char *base, const char *suffix, char buf[static PATH_MAX])
{
	int n = snprintf(buf, PATH_MAX, "%s%s", base, suffix);

	return n > 0 && n < PATH_MAX ? buf : NULL;
}

/* ---- files ------------------------------------------------------------------------------------- */

static int write_bio(BIO *bio, const char *path, unsigned int mode, struct error *e)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);

	if (len <= 0)
		return error_set(e, -EIO, "cannot write '%s': nothing was encoded", path);
	return files_replace(path, data, (size_t)len, mode, e);
}

int certs_write_key(EVP_PKEY *key, const char *path, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_secmem());

	if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return error_set(e, -EIO, "cannot encode the key for '%s': %s", path,
				 openssl_reason());
	return write_bio(bio, path, 0600, e);
}

static int write_certificate(X509 *cert, const char *path, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());

	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1)
		return error_set(e, -EIO, "cannot encode the certificate for '%s': %s", path,
				 openssl_reason());
	return write_bio(bio, path, 0644, e);
}

/* Pairs are written key first: a crash between the two leaves a pair that does not match, which
 * certs_fresh and identity_load_pair see. */
static int write_pair(EVP_PKEY *key, X509 *cert, const char *base, struct error *e)
{
	char key_path[PATH_MAX], cert_path[PATH_MAX];
	int r;

	if (path_of(base, ".key", key_path) == NULL || path_of(base, ".crt", cert_path) == NULL)
		return error_set(e, -ENAMETOOLONG, "the path '%.128s...' is too long", base);
	r = certs_write_key(key, key_path, e);
	return r < 0 ? r : write_certificate(cert, cert_path, e);
}

int certs_authority_load(const char *base, struct certs_authority **ret, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = calloc(1, sizeof(*a));
	char path[PATH_MAX];
	AUTO(bio_free_ptr) BIO *cert = NULL;
	AUTO(bio_free_ptr) BIO *key = NULL;

	if (a == NULL)
		return error_set(e, -ENOMEM, "cannot load the authority '%s': %m", base);
	cert = path_of(base, ".crt", path) != NULL ? BIO_new_file(path, "r") : NULL;
	a->cert = cert != NULL ? PEM_read_bio_X509(cert, NULL, NULL, NULL) : NULL;
	key = path_of(base, ".key", path) != NULL ? BIO_new_file(path, "r") : NULL;
	a->key = key != NULL ? PEM_read_bio_PrivateKey(key, NULL, NULL, (void *)"") : NULL;
	if (a->cert == NULL || a->key == NULL || X509_check_private_key(a->cert, a->key) != 1) {
		error_set(e, -ENOKEY, "cannot load the authority '%s.crt' with its key: %s", base,
			  openssl_reason());
		error_hint(e,
			   "make both authorities with 'exhibit-collector certs init --dir DIR'");
		return -ENOKEY;
	}
	*ret = TAKE(a);
	return 0;
}

/* ---- certificates ------------------------------------------------------------------------------ */

static bool set_serial(X509 *cert)
{
	AUTO(bn_free_ptr) BIGNUM *n = BN_new();

	return n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	       BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8,
					  (const unsigned char *)"Exhibit", -1, -1, 0) == 1 &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
					  (const unsigned char *)common_name, -1, -1, 0) == 1;
}

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

/* Version, serial, dates, subject, key: what every certificate has. */
static X509 *new_certificate(EVP_PKEY *key, const char *common_name, int64_t now_s,
			     uint64_t seconds)
{
	AUTO(x509_free_ptr) X509 *cert = X509_new();
	int64_t end = now_s + (int64_t)seconds;

	if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !set_serial(cert) ||
	    ASN1_TIME_set(X509_getm_notBefore(cert), now_s - BACKDATE_S) == NULL ||
	    ASN1_TIME_set(X509_getm_notAfter(cert), end) == NULL ||
	    !set_name(X509_get_subject_name(cert), common_name) || X509_set_pubkey(cert, key) != 1)
		return NULL;
	return TAKE(cert);
}

int certs_authority_make(const char *base, const char *common_name, unsigned int days,
			 int64_t now_s, struct error *e)
{
	AUTO(pkey_free_ptr) EVP_PKEY *key = EVP_EC_gen("P-256");
	AUTO(x509_free_ptr)
	X509 *cert = key != NULL ?
			     new_certificate(key, common_name, now_s, (uint64_t)days * 86400) :
			     NULL;

	if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
	    !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
	    !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
	    !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
	    X509_sign(cert, key, EVP_sha256()) == 0)
		return error_set(e, -EIO, "cannot make the authority '%s': %s", base,
				 openssl_reason());
	return write_pair(key, cert, base, e);
}

static GENERAL_NAME *general_name(int type, const char *value, size_t len)
{
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *text = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();

	if (name == NULL || text == NULL || ASN1_STRING_set(text, value, (int)len) != 1) {
		GENERAL_NAME_free(name);
		ASN1_STRING_free(text);
		return NULL;
	}
	GENERAL_NAME_set0_value(name, type, text);
	return name;
}

static bool push_name(GENERAL_NAMES *names, int type, const char *value, size_t len)
{
	GENERAL_NAME *name = general_name(type, value, len);

	if (name != NULL && sk_GENERAL_NAME_push(names, name) > 0)
		return true;
	GENERAL_NAME_free(name);
	return false;
}

/* An address where it parses as one, else a DNS name. */
static bool push_san(GENERAL_NAMES *names, const char *san)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, san, address) == 1)
		return push_name(names, GEN_IPADD, (const char *)address, 4);
	if (inet_pton(AF_INET6, san, address) == 1)
		return push_name(names, GEN_IPADD, (const char *)address, 16);
	return san[0] != '\0' && push_name(names, GEN_DNS, san, strlen(san));
}

static bool push_sans(GENERAL_NAMES *names, const char *sans)
{
	char list[SANS_MAX];
	char *rest = list, *san;

	if (sans == NULL)
		return true;
	if (snprintf(list, sizeof(list), "%s", sans) >= (int)sizeof(list))
		return false;
	while ((san = strsep(&rest, ",")) != NULL) {
		if (!push_san(names, san))
			return false;
	}
	return true;
}

static GENERAL_NAMES *leaf_names(const struct certs_leaf *leaf)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	char spiffe[IDENTITY_SPIFFE_MAX];

	identity_spiffe(&leaf->id, spiffe);
	if (names != NULL && push_name(names, GEN_URI, spiffe, strlen(spiffe)) &&
	    push_sans(names, leaf->sans))
		return names;
	GENERAL_NAMES_free(names);
	return NULL;
}

static bool add_names(X509 *cert, const struct certs_leaf *leaf)
{
	GENERAL_NAMES *names = leaf_names(leaf);
	bool good = names != NULL && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0,
						       X509V3_ADD_DEFAULT) == 1;

	GENERAL_NAMES_free(names);
	return good;
}

static bool push_role(ASN1_SEQUENCE_ANY *list, const char *role)
{
	ASN1_TYPE *value = ASN1_TYPE_new();
	ASN1_UTF8STRING *text = ASN1_UTF8STRING_new();

	if (value == NULL || text == NULL || ASN1_STRING_set(text, role, -1) != 1) {
		ASN1_TYPE_free(value);
		ASN1_UTF8STRING_free(text);
		return false;
	}
	ASN1_TYPE_set(value, V_ASN1_UTF8STRING, text);
	if (sk_ASN1_TYPE_push(list, value) > 0)
		return true;
	ASN1_TYPE_free(value);
	return false;
}

static ASN1_OCTET_STRING *encode_roles(const struct identity *id)
{
	ASN1_SEQUENCE_ANY *list = sk_ASN1_TYPE_new_null();
	ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
	unsigned char *der = NULL;
	bool good = list != NULL && data != NULL;
	int len;

	for (size_t i = 0; good && i < id->n_roles; i++)
		good = push_role(list, id->roles[i]);
	len = good ? i2d_ASN1_SEQUENCE_ANY(list, &der) : -1;
	good = len > 0 && ASN1_OCTET_STRING_set(data, der, len) == 1;
	OPENSSL_free(der);
	sk_ASN1_TYPE_pop_free(list, ASN1_TYPE_free);
	if (good)
		return data;
	ASN1_OCTET_STRING_free(data);
	return NULL;
}

static bool add_roles(X509 *cert, const struct identity *id)
{
	ASN1_OCTET_STRING *data = encode_roles(id);
	ASN1_OBJECT *oid = OBJ_txt2obj(CERTS_ROLES_OID, 1);
	X509_EXTENSION *ext = data != NULL && oid != NULL ?
				      X509_EXTENSION_create_by_OBJ(NULL, oid, 0, data) :
				      NULL;
	bool good = ext != NULL && X509_add_ext(cert, ext, -1) == 1;

	X509_EXTENSION_free(ext);
	ASN1_OBJECT_free(oid);
	ASN1_OCTET_STRING_free(data);
	return good;
}

static bool add_leaf_extensions(X509 *cert, const struct certs_authority *a,
				const struct certs_leaf *leaf)
{
	static const char *const usage[] = {
		[IDENTITY_HOST] = "clientAuth",
		[IDENTITY_RESPONDER] = "clientAuth",
		[IDENTITY_COLLECTOR] = "serverAuth,clientAuth",
	};

	return add_extension(cert, a->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(cert, a->cert, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(cert, a->cert, NID_ext_key_usage,
			     leaf->signs_orders ? "critical," ORDER_SIGNING_EKU :
						  usage[leaf->id.kind]) &&
	       add_extension(cert, a->cert, NID_authority_key_identifier, "keyid:always") &&
	       add_names(cert, leaf) && (leaf->id.n_roles == 0 || add_roles(cert, &leaf->id));
}

static X509 *sign_leaf(const struct certs_authority *a, const struct certs_leaf *leaf,
		       EVP_PKEY *key, int64_t now_s, const char *what, struct error *e)
{
	AUTO(x509_free_ptr)
	X509 *cert = key != NULL ? new_certificate(key, leaf->id.name, now_s, leaf->seconds) : NULL;

	if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(a->cert)) != 1 ||
	    !add_leaf_extensions(cert, a, leaf) || X509_sign(cert, a->key, EVP_sha256()) == 0) {
		error_set(e, -EIO, "cannot issue the certificate '%s': %s", what, openssl_reason());
		error_hint(e, "check the subject alternative names given");
		return NULL;
	}
	return TAKE(cert);
}

int certs_issue(const struct certs_authority *a, const struct certs_leaf *leaf, int64_t now_s,
		const char *base, struct error *e)
{
	AUTO(pkey_free_ptr)
	EVP_PKEY *key = leaf->signs_orders ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") :
					     EVP_EC_gen("P-256");
	AUTO(x509_free_ptr) X509 *cert = sign_leaf(a, leaf, key, now_s, base, e);

	return cert != NULL ? write_pair(key, cert, base, e) : -EIO;
}

int certs_issue_public(const struct certs_authority *a, const struct certs_leaf *leaf,
		       EVP_PKEY *public, int64_t now_s, const char *cert_file, struct error *e)
{
	AUTO(x509_free_ptr) X509 *cert = sign_leaf(a, leaf, public, now_s, cert_file, e);

	return cert != NULL ? write_certificate(cert, cert_file, e) : -EIO;
}

int certs_issue_pem(const struct certs_authority *a, const struct certs_leaf *leaf,
		    EVP_PKEY *public, int64_t now_s, char **ret, struct error *e)
{
	AUTO(x509_free_ptr) X509 *cert = sign_leaf(a, leaf, public, now_s, leaf->id.name, e);
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	if (cert == NULL)
		return -EIO;
	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1 ||
	    (len = BIO_get_mem_data(bio, &data)) <= 0)
		return error_set(e, -EIO, "cannot encode a certificate: %s", openssl_reason());
	*ret = strndup(data, (size_t)len);
	return *ret != NULL ? 0 : error_set(e, -ENOMEM, "cannot encode a certificate: %m");
}

/* ---- keeping what is still good ---------------------------------------------------------------- */

static X509 *load_certificate(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");

	return bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

static bool same_names(X509 *cert, const struct certs_leaf *leaf)
{
	GENERAL_NAMES *has = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	GENERAL_NAMES *wanted = leaf_names(leaf);
	bool same = has != NULL && wanted != NULL &&
		    sk_GENERAL_NAME_num(has) == sk_GENERAL_NAME_num(wanted);

	for (int i = 0; same && i < sk_GENERAL_NAME_num(wanted); i++)
		same = GENERAL_NAME_cmp(sk_GENERAL_NAME_value(has, i),
					sk_GENERAL_NAME_value(wanted, i)) == 0;
	GENERAL_NAMES_free(has);
	GENERAL_NAMES_free(wanted);
	return same;
}

static bool same_roles(const struct identity *a, const struct identity *b)
{
	if (a->n_roles != b->n_roles)
		return false;
	for (size_t i = 0; i < a->n_roles; i++) {
		if (strcmp(a->roles[i], b->roles[i]) != 0)
			return false;
	}
	return true;
}

static bool life_left(const struct identity *id, int64_t now_s)
{
	return id->not_after_s - now_s >= (id->not_after_s - id->not_before_s) / 3;
}

/* Key and certificate match and are good for what the leaf is for. */
static bool read_pair(const struct certs_leaf *leaf, const char *cert_path, const char *key_path,
		      int64_t now_s, struct identity *ret)
{
	struct order_signer *signer;
	struct identity_pair pair;
	int r = leaf->signs_orders ?
			order_signer_open(key_path, cert_path, &signer, NULL) :
			identity_load_pair(cert_path, key_path, NULL, now_s, &pair, NULL);

	if (r < 0)
		return false;
	*ret = leaf->signs_orders ? *order_signer_identity(signer) : pair.id;
	if (leaf->signs_orders)
		order_signer_free(signer);
	else
		identity_pair_release(&pair);
	return true;
}

bool certs_fresh(const struct certs_authority *a, const struct certs_leaf *leaf, int64_t now_s,
		 const char *base)
{
	char cert_path[PATH_MAX], key_path[PATH_MAX];
	AUTO(x509_free_ptr) X509 *cert = NULL;
	struct identity id;
	bool fresh;

	if (path_of(base, ".key", key_path) == NULL || path_of(base, ".crt", cert_path) == NULL ||
	    !read_pair(leaf, cert_path, key_path, now_s, &id))
		return false;
	cert = load_certificate(cert_path);
	fresh = cert != NULL && X509_verify(cert, a->key) == 1 && same_names(cert, leaf) &&
		same_roles(&id, &leaf->id) && life_left(&id, now_s);
	ERR_clear_error();
	return fresh;
}
