/* SPDX-License-Identifier: Apache-2.0 */
/* What certs makes, and what authorities says of it. */
#include "tests/unit/rows.h"
#include "tests/unit/rpc_fixture.h"

#include "proto/authorities.h"
#include "proto/base/files.h"
#include "proto/certs.h"

#include "batch.pb-c.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static struct pki pki;

static int64_t now(void)
{
	return time(NULL);
}

static struct authorities *both(void)
{
	struct authorities *a = NULL;
	struct error e = { 0 };

	if (authorities_load(pki_path(&pki, "fleet", ".crt"), pki_path(&pki, "order", ".crt"), &a,
			     &e) < 0)
		fail_msg("%s", e.text);
	return a;
}

static struct certs_authority *load(const char *name)
{
	struct certs_authority *a = NULL;
	struct error e = { 0 };

	if (certs_authority_load(pki_path(&pki, name, ""), &a, &e) < 0)
		fail_msg("%s", e.text);
	return a;
}

static unsigned int mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

/* ---- leaves ------------------------------------------------------------------------------------ */

static const struct leaf_row {
	const char *name;
	const char *authority;
	enum identity_kind kind;
	int64_t seconds, look_after; /* life; when it is looked at, from now */
	int nid; /* 0: not altered */
	const char *value;
	int want;
	const char *text;
} leaf_rows[] = {
	{ "strange authority", "other", IDENTITY_HOST, 60, 0, 0, NULL, -EACCES,
	  "neither the fleet nor the order" },
	{ "responder of the fleet", "fleet", IDENTITY_RESPONDER, 60, 0, 0, NULL, -EACCES,
	  "fleet authority may not" },
	{ "collector of the fleet", "fleet", IDENTITY_COLLECTOR, 60, 0, 0, NULL, -EACCES,
	  "fleet authority may not" },
	{ "host of the order", "order", IDENTITY_HOST, 60, 0, 0, NULL, -EACCES,
	  "order authority may not" },
	{ "over", "fleet", IDENTITY_HOST, 60, 61, 0, NULL, -EKEYEXPIRED, "expired 1 s ago" },
	{ "not yet", "fleet", IDENTITY_HOST, 60, -302, 0, NULL, -EAGAIN,
	  "is not valid for another" },
	{ "no name", "fleet", IDENTITY_HOST, 60, 0, NID_subject_alt_name, "DNS:x", -EACCES,
	  "names 0 URIs" },
	{ "two names", "fleet", IDENTITY_HOST, 60, 0, NID_subject_alt_name,
	  "URI:spiffe://d/t/host/a,URI:spiffe://d/t/host/b", -EACCES, "names 2 URIs" },
	{ "name that is none", "fleet", IDENTITY_HOST, 60, 0, NID_subject_alt_name,
	  "URI:spiffe://d/t/host/..", -EACCES, "not a name of the form" },
	{ "host", "fleet", IDENTITY_HOST, 60, 0, 0, NULL, 0, "" },
	{ "host at its last second", "fleet", IDENTITY_HOST, 60, 59, 0, NULL, 0, "" },
	{ "clock five minutes behind", "fleet", IDENTITY_HOST, 60, -298, 0, NULL, 0, "" },
	{ "responder", "order", IDENTITY_RESPONDER, 60, 0, 0, NULL, 0, "" },
	{ "collector", "order", IDENTITY_COLLECTOR, 60, 0, 0, NULL, 0, "" },
};

static void leaf(void **state)
{
	const struct leaf_row *row = *state;
	AUTO(authorities_free_ptr) struct authorities *a = both();
	AUTO(free_ptr) uint8_t *pem = NULL;
	struct identity id = { 0 };
	struct error e = { 0 };
	size_t len;
	int64_t issued = now();

	pki_issue(&pki, row->authority, row->kind, "x", "leaf", row->seconds);
	if (row->nid != 0)
		pki_alter(&pki, row->authority, "leaf", row->nid, row->value);
	assert_int_equal(files_read(pki_path(&pki, "leaf", ".crt"), 65536, &pem, &len, NULL), 0);
	assert_int_equal(identity_from_leaf((const char *)pem, len, a, issued + row->look_after,
					    &id, &e),
			 row->want);
	if (strstr(e.text, row->text) == NULL)
		fail_msg("'%s' is not in '%s'", row->text, e.text);
	if (row->want == 0) {
		assert_int_equal(id.issuer,
				 row->kind == IDENTITY_HOST ? IDENTITY_FLEET : IDENTITY_ORDER);
		assert_string_equal(id.domain, FIXTURE_DOMAIN);
		assert_string_equal(id.tenant, FIXTURE_TENANT);
		assert_string_equal(id.name, "x");
		assert_int_equal(strlen(id.serial), 32);
		assert_in_range(id.not_after_s, issued + row->seconds, issued + row->seconds + 2);
	}
}

/* Issuer and key id are the fleet's, only the signature is not. */
static void leaf_signed_with_another_key_is_refused(void **state)
{
	AUTO(authorities_free_ptr) struct authorities *a = both();
	AUTO(free_ptr) uint8_t *pem = NULL;
	struct identity id;
	struct error e = { 0 };
	size_t len;

	(void)state;
	pki_issue(&pki, "fleet", IDENTITY_HOST, "x", "leaf", 60);
	pki_alter(&pki, "other", "leaf", NID_subject_alt_name, "URI:spiffe://d/t/host/x");
	assert_int_equal(files_read(pki_path(&pki, "leaf", ".crt"), 65536, &pem, &len, NULL), 0);
	assert_int_equal(identity_from_leaf((const char *)pem, len, a, now(), &id, &e), -EACCES);
	assert_non_null(strstr(e.text, "neither the fleet nor the order"));
}

static void garbage_is_no_certificate(void **state)
{
	static const char *const texts[] = {
		"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	};
	AUTO(authorities_free_ptr) struct authorities *a = both();
	struct identity id;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_int_equal(identity_from_leaf(texts[i], strlen(texts[i]), a, now(), &id,
						    NULL),
				 -EACCES);
}

static void roles_survive(void **state)
{
	struct certs_leaf leaf = { .id = { .domain = "d",
					   .tenant = "t",
					   .kind = IDENTITY_RESPONDER,
					   .name = "ann",
					   .n_roles = 3,
					   .roles = { "viewer", "acquirer", "approver" } },
				   .seconds = 60 };
	AUTO(certs_authority_free_ptr) struct certs_authority *a = load("order");
	struct identity id;

	(void)state;
	assert_int_equal(certs_issue(a, &leaf, now(), pki_path(&pki, "ann", ""), NULL), 0);
	pki_identity(&pki, "ann", &id);
	assert_int_equal(id.n_roles, 3);
	assert_true(identity_has_role(&id, "viewer"));
	assert_true(identity_has_role(&id, "approver"));
	assert_int_equal(mode_of(pki_path(&pki, "ann", ".key")), 0600);
	assert_int_equal(mode_of(pki_path(&pki, "ann", ".crt")), 0644);
}

/* ---- pairs and authorities --------------------------------------------------------------------- */

static void put(const char *name, const char *suffix, const char *from, const char *from_suffix)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;

	assert_int_equal(files_read(pki_path(&pki, from, from_suffix), 65536, &data, &len, NULL),
			 0);
	assert_int_equal(files_replace(pki_path(&pki, name, suffix), data, len, 0600, NULL), 0);
}

static void write_text(const char *name, const char *suffix, const char *text)
{
	assert_int_equal(
		files_replace(pki_path(&pki, name, suffix), text, strlen(text), 0600, NULL), 0);
}

static void spoil_missing(void)
{
	(void)unlink(pki_path(&pki, "pair", ".key"));
}
static void spoil_key(void)
{
	put("pair", ".key", "fleet", ".key");
}
static void spoil_key_text(void)
{
	write_text("pair", ".key", "no key\n");
}
static void spoil_cert_text(void)
{
	write_text("pair", ".crt", "no certificate\n");
}
static void spoil_ed25519(void)
{
	uint8_t public[32];

	(void)unlink(pki_path(&pki, "pair", ".key"));
	assert_int_equal(certs_sealing_key(pki_path(&pki, "pair", ".key"), public, NULL), 0);
}
static void spoil_nothing(void)
{
}

static const struct pair_row {
	const char *name;
	void (*spoil)(void);
	int want;
	const char *text;
} pair_rows[] = {
	{ "key missing", spoil_missing, -ENOENT, "pair.key" },
	{ "key of another", spoil_key, -EINVAL, "does not belong to the certificate" },
	{ "key that is none", spoil_key_text, -EINVAL, "cannot read the key in" },
	{ "certificate that is none", spoil_cert_text, -EINVAL, "cannot read a certificate in" },
	{ "key not P-256", spoil_ed25519, -EINVAL, "is not a P-256 key" },
	{ "good", spoil_nothing, 0, "" },
};

static void pair(void **state)
{
	const struct pair_row *row = *state;
	AUTO(authorities_free_ptr) struct authorities *a = both();
	struct identity_pair p = { 0 };
	struct error e = { 0 };

	pki_issue(&pki, "fleet", IDENTITY_HOST, "h", "pair", 60);
	row->spoil();
	assert_int_equal(identity_load_pair(pki_path(&pki, "pair", ".crt"),
					    pki_path(&pki, "pair", ".key"), a, now(), &p, &e),
			 row->want);
	if (strstr(e.text, row->text) == NULL)
		fail_msg("'%s' is not in '%s'", row->text, e.text);
	identity_pair_release(&p);
}

static void leaf_is_no_authority(void **state)
{
	struct authorities *a = NULL;
	struct error e = { 0 };

	(void)state;
	pki_issue(&pki, "fleet", IDENTITY_HOST, "h", "pair", 60);
	assert_int_equal(authorities_load(pki_path(&pki, "pair", ".crt"), NULL, &a, &e), -EINVAL);
	assert_non_null(strstr(e.text, "not an authority's"));
	write_text("junk", ".crt", "junk\n");
	assert_int_equal(authorities_load(NULL, pki_path(&pki, "junk", ".crt"), &a, &e), -EINVAL);
	assert_non_null(strstr(e.text, "holds no certificate"));
	assert_int_equal(authorities_load(NULL, NULL, &a, &e), -EINVAL);
}

/* ---- renewal ----------------------------------------------------------------------------------- */

static const struct fresh_row {
	const char *name;
	int64_t after; /* of a life of 3,000 s that began 300 s ago */
	const char *tenant, *sans;
	bool want;
} fresh_rows[] = {
	{ "less than a third left", 1950, "t", "localhost", false },
	{ "over", 3001, "t", "localhost", false },
	{ "another tenant", 0, "u", "localhost", false },
	{ "another SAN", 0, "t", "localhost,::1", false },
	{ "no SAN", 0, "t", NULL, false },
	{ "half is left", 1500, "t", "localhost", true },
	{ "new", 0, "t", "localhost", true },
};

static void fresh(void **state)
{
	const struct fresh_row *row = *state;
	struct certs_leaf leaf = {
		.id = { .domain = "d", .tenant = "t", .kind = IDENTITY_COLLECTOR, .name = "c" },
		.sans = "localhost",
		.seconds = 3000
	};
	AUTO(certs_authority_free_ptr) struct certs_authority *order = load("order");
	AUTO(certs_authority_free_ptr) struct certs_authority *other = load("other");
	const char *base = pki_path(&pki, "fresh", "");
	int64_t start = now();

	assert_int_equal(certs_issue(order, &leaf, start, base, NULL), 0);
	(void)snprintf(leaf.id.tenant, sizeof(leaf.id.tenant), "%s", row->tenant);
	leaf.sans = row->sans;
	assert_int_equal(certs_fresh(order, &leaf, start + row->after, base), row->want);
	assert_false(certs_fresh(other, &leaf, start + row->after, base));
}

static void nothing_is_not_fresh(void **state)
{
	struct certs_leaf leaf = {
		.id = { .domain = "d", .tenant = "t", .kind = IDENTITY_HOST, .name = "c" }
	};
	AUTO(certs_authority_free_ptr) struct certs_authority *a = load("fleet");

	(void)state;
	assert_false(certs_fresh(a, &leaf, now(), pki_path(&pki, "nowhere", "")));
}

/* ---- host records ------------------------------------------------------------------------------ */

static Exhibit__V1__SignedHostRecord *make_record(const char *authority)
{
	const struct identity id = {
		.domain = "d", .tenant = "t", .kind = IDENTITY_HOST, .name = "h"
	};
	AUTO(certs_authority_free_ptr) struct certs_authority *a = load(authority);
	AUTO(free_ptr) uint8_t *data = NULL;
	uint8_t public[32];
	size_t len;
	Exhibit__V1__SignedHostRecord *record;

	assert_int_equal(certs_sealing_key(pki_path(&pki, "h", ".seal.key"), public, NULL), 0);
	assert_int_equal(certs_host_record(a, &id, "name", public, 42,
					   pki_path(&pki, "h", ".record"), NULL),
			 0);
	assert_int_equal(files_read(pki_path(&pki, "h", ".record"), 65536, &data, &len, NULL), 0);
	record = exhibit__v1__signed_host_record__unpack(NULL, len, data);
	assert_non_null(record);
	return record;
}

static int verify(const Exhibit__V1__SignedHostRecord *r)
{
	AUTO(authorities_free_ptr) struct authorities *a = both();

	return authorities_verify_host_record(a, r->record.data, r->record.len, r->signature.data,
					      r->signature.len, NULL);
}

static void record_of_the_order_authority_is_refused(void **state)
{
	Exhibit__V1__SignedHostRecord *r = make_record("order");

	(void)state;
	assert_int_equal(verify(r), -EBADMSG);
	exhibit__v1__signed_host_record__free_unpacked(r, NULL);
}

static void changed_record_is_refused(void **state)
{
	Exhibit__V1__SignedHostRecord *r = make_record("fleet");

	(void)state;
	for (size_t i = 0; i < r->record.len; i++) {
		r->record.data[i] ^= 1;
		assert_int_equal(verify(r), -EBADMSG);
		r->record.data[i] ^= 1;
	}
	assert_int_equal(verify(r), 0);
	exhibit__v1__signed_host_record__free_unpacked(r, NULL);
}

static void record_says_who_seals(void **state)
{
	Exhibit__V1__SignedHostRecord *r = make_record("fleet");
	Exhibit__V1__HostRecord *h =
		exhibit__v1__host_record__unpack(NULL, r->record.len, r->record.data);
	uint8_t public[32];

	(void)state;
	assert_non_null(h);
	assert_int_equal(certs_sealing_key(pki_path(&pki, "h", ".seal.key"), public, NULL), 0);
	assert_int_equal(h->sealing_key.len, 32);
	assert_memory_equal(h->sealing_key.data, public, 32);
	assert_int_equal(h->key_id.len, 8);
	assert_int_equal(h->valid_from_ns, 42);
	assert_memory_equal(h->host_id.data, "h", h->host_id.len);
	assert_int_equal(mode_of(pki_path(&pki, "h", ".seal.key")), 0600);
	exhibit__v1__host_record__free_unpacked(h, NULL);
	exhibit__v1__signed_host_record__free_unpacked(r, NULL);
}

int main(void)
{
	static struct tests t;
	int failed;

	ADD_ROWS(&t, leaf, leaf_rows);
	ADD_TEST(&t, leaf_signed_with_another_key_is_refused);
	ADD_TEST(&t, garbage_is_no_certificate);
	ADD_TEST(&t, roles_survive);
	ADD_ROWS(&t, pair, pair_rows);
	ADD_TEST(&t, leaf_is_no_authority);
	ADD_ROWS(&t, fresh, fresh_rows);
	ADD_TEST(&t, nothing_is_not_fresh);
	ADD_TEST(&t, record_of_the_order_authority_is_refused);
	ADD_TEST(&t, changed_record_is_refused);
	ADD_TEST(&t, record_says_who_seals);
	pki_make(&pki);
	failed = tests_run(&t, "certs");
	pki_remove(&pki);
	return failed;
}
