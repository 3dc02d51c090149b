/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc_fixture.h"

#include "proto/authorities.h"
#include "proto/certs.h"
#include "proto/openssl_util.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

const char *pki_path(const struct pki *p, const char *name, const char *suffix)
{
	static char ring[8][PATH_MAX];
	static unsigned int at;
	char *buf = ring[at++ % ARRAY_LEN(ring)];

	assert_true(snprintf(buf, PATH_MAX, "%s/%s%s", p->dir, name, suffix) < PATH_MAX);
	return buf;
}

static void make_authority(const struct pki *p, const char *name)
{
	struct error e = { 0 };

	if (certs_authority_make(pki_path(p, name, ""), name, 30, time(NULL), &e) < 0)
		fail_msg("%s", e.text);
}

void pki_make(struct pki *p)
{
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/exhibit-pki-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	make_authority(p, "fleet");
	make_authority(p, "order");
	make_authority(p, "other");
}

void pki_remove(struct pki *p)
{
	DIR *dir = opendir(p->dir);
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	(void)closedir(dir);
	assert_int_equal(rmdir(p->dir), 0);
}

void pki_issue(const struct pki *p, const char *authority, enum identity_kind kind, const char *id,
	       const char *name, int64_t seconds)
{
	struct certs_leaf leaf = {
		.id = { .domain = FIXTURE_DOMAIN, .tenant = FIXTURE_TENANT, .kind = kind },
		.seconds = seconds > 0 ? (uint64_t)seconds : 60
	};
	int64_t now = time(NULL) + (seconds > 0 ? 0 : seconds - 60);
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	struct error e = { 0 };

	(void)snprintf(leaf.id.name, sizeof(leaf.id.name), "%s", id);
	if (kind == IDENTITY_COLLECTOR)
		leaf.sans = "localhost,127.0.0.1";
	if (kind == IDENTITY_RESPONDER) {
		leaf.id.n_roles = 1;
		(void)snprintf(leaf.id.roles[0], sizeof(leaf.id.roles[0]), "viewer");
	}
	if (certs_authority_load(pki_path(p, authority, ""), &a, &e) < 0 ||
	    certs_issue(a, &leaf, now, pki_path(p, name, ""), &e) < 0)
		fail_msg("%s", e.text);
}

static X509 *read_cert(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");
	X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	assert_non_null(cert);
	return cert;
}

static EVP_PKEY *read_key(const char *path)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	assert_non_null(key);
	return key;
}

void pki_alter(const struct pki *p, const char *authority, const char *name, int nid,
	       const char *value)
{
	AUTO(x509_free_ptr) X509 *cert = read_cert(pki_path(p, name, ".crt"));
	AUTO(pkey_free_ptr) EVP_PKEY *key = read_key(pki_path(p, authority, ".key"));
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	AUTO(bio_free_ptr) BIO *out = NULL;

	assert_non_null(ext);
	X509_EXTENSION_free(X509_delete_ext(cert, X509_get_ext_by_NID(cert, nid, -1)));
	assert_int_equal(X509_add_ext(cert, ext, -1), 1);
	X509_EXTENSION_free(ext);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	out = BIO_new_file(pki_path(p, name, ".crt"), "w");
	assert_non_null(out);
	assert_int_equal(PEM_write_bio_X509(out, cert), 1);
}

void pki_identity(const struct pki *p, const char *name, struct identity *ret)
{
	struct identity_pair pair;
	struct error e = { 0 };

	if (identity_load_pair(pki_path(p, name, ".crt"), pki_path(p, name, ".key"), NULL,
			       time(NULL), &pair, &e) < 0)
		fail_msg("%s", e.text);
	*ret = pair.id;
	identity_pair_release(&pair);
}
