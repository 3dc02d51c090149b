/* SPDX-License-Identifier: Apache-2.0 */
/* Which signed orders count: the drill of a stolen collector, and what honest people do wrong. */
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "proto/certs.h"

#define S(s) ((int64_t)(s) * (int64_t)NSEC_PER_SEC)
#define PEOPLE(...)                                                                                \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static struct pki pki;
static struct authorities *authorities;

/* ---- people ------------------------------------------------------------------------------------ */

/* As orders_person, with what makes it a false one. */
static void odd_person(const char *authority, const char *name, struct certs_leaf leaf)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	struct error e = { 0 };

	if (leaf.id.domain[0] == '\0')
		(void)snprintf(leaf.id.domain, sizeof(leaf.id.domain), "%s", FIXTURE_DOMAIN);
	if (leaf.id.tenant[0] == '\0')
		(void)snprintf(leaf.id.tenant, sizeof(leaf.id.tenant), "%s", FIXTURE_TENANT);
	if (leaf.id.name[0] == '\0')
		(void)snprintf(leaf.id.name, sizeof(leaf.id.name), "ann");
	leaf.seconds = 3600;
	leaf.id.n_roles = 1;
	(void)snprintf(leaf.id.roles[0], sizeof(leaf.id.roles[0]), "acquirer");
	if (certs_authority_load(pki_path(&pki, authority, ""), &a, &e) < 0 ||
	    certs_issue(a, &leaf, ORDERS_NOW, pki_path(&pki, name, ".sign"), &e) < 0)
		fail_msg("%s", e.text);
}

static int begin(void **state)
{
	const struct certs_leaf responder = { .id = { .kind = IDENTITY_RESPONDER },
					      .signs_orders = true };
	struct certs_leaf leaf;
	struct error e = { 0 };

	(void)state;
	pki_make(&pki);
	orders_person(&pki, "ann", "viewer,acquirer");
	orders_person(&pki, "bob", "approver");
	orders_person(&pki, "carl", "viewer,approver");
	orders_person(&pki, "all", "viewer,acquirer,approver");
	orders_person(&pki, "viewer", "viewer");
	orders_person_at(&pki, "order", "ann", "ann-approver", "approver", ORDERS_NOW, 3600);
	orders_person_at(&pki, "order", "ann", "ann-viewer", "viewer,approver", ORDERS_NOW, 3600);
	orders_person_at(&pki, "order", "ann", "ann-over", "acquirer", ORDERS_NOW - 7200, 3600);
	orders_person_at(&pki, "order", "ann", "ann-later", "acquirer", ORDERS_NOW + 3600, 3600);
	orders_person_at(&pki, "order", "ann", "ann-long", "acquirer", ORDERS_NOW, 48 * 3600);
	orders_person_at(&pki, "order", "bob", "bob-long", "approver", ORDERS_NOW, 48 * 3600);
	orders_person_at(&pki, "order", "bob", "bob-over", "approver", ORDERS_NOW - 7200, 3600);
	/* A stolen collector holds the fleet authority's key and its own certificate's. */
	orders_person_at(&pki, "fleet", "ann", "ann-fleet", "acquirer", ORDERS_NOW, 3600);
	orders_person_at(&pki, "fleet", "bob", "bob-fleet", "approver", ORDERS_NOW, 3600);
	orders_person_at(&pki, "other", "ann", "ann-other", "acquirer", ORDERS_NOW, 3600);
	leaf = responder;
	leaf.signs_orders = false;
	odd_person("order", "ann-tls", leaf);
	leaf = responder;
	leaf.id.kind = IDENTITY_COLLECTOR;
	odd_person("order", "collector", leaf);
	leaf = responder;
	(void)snprintf(leaf.id.tenant, sizeof(leaf.id.tenant), "evil");
	odd_person("order", "ann-tenant", leaf);
	leaf = responder;
	(void)snprintf(leaf.id.domain, sizeof(leaf.id.domain), "evil.org");
	odd_person("order", "ann-domain", leaf);
	/* pki_alter expects dir/NAME.crt and an authority. */
	odd_person("order", "ann-two-uses", responder);
	pki_alter(&pki, "order", "ann-two-uses.sign", NID_ext_key_usage,
		  "clientAuth," ORDER_SIGNING_EKU);
	odd_person("order", "ann-ca", responder);
	pki_alter(&pki, "order", "ann-ca.sign", NID_basic_constraints, "critical,CA:TRUE");
	odd_person("order", "ann-usage", responder);
	pki_alter(&pki, "order", "ann-usage.sign", NID_key_usage, "critical,keyAgreement");
	if (authorities_load(pki_path(&pki, "fleet", ".crt"), pki_path(&pki, "order", ".crt"),
			     &authorities, &e) < 0)
		fail_msg("%s", e.text);
	return 0;
}

static int end(void **state)
{
	(void)state;
	authorities_free(authorities);
	pki_remove(&pki);
	return 0;
}

static struct order_context context(void)
{
	return (struct order_context){ .authorities = authorities,
				       .domain = FIXTURE_DOMAIN,
				       .tenant = FIXTURE_TENANT,
				       .host_id = ORDERS_HOST,
				       .now_ns = S(ORDERS_NOW + 60) };
}

/* ---- refusals ---------------------------------------------------------------------------------- */

static void nothing(struct order_kit *t, struct order_context *c)
{
	(void)t;
	(void)c;
}
static void other_host(struct order_kit *t, struct order_context *c)
{
	(void)t;
	c->host_id = "h-2";
}
static void longer_host(struct order_kit *t, struct order_context *c)
{
	(void)t;
	c->host_id = ORDERS_HOST "x";
}
static void other_tenant(struct order_kit *t, struct order_context *c)
{
	(void)c;
	t->o.tenant = orders_text("other");
}
static void order_of_tenant(struct order_kit *t, struct order_context *c)
{
	t->o.tenant = orders_text("evil");
	c->tenant = "evil";
}
static void expired(struct order_kit *t, struct order_context *c)
{
	c->now_ns = t->o.expires_ns + 1;
}
static void beyond_skew(struct order_kit *t, struct order_context *c)
{
	c->clock_skew_ns = S(30);
	c->now_ns = t->o.expires_ns + S(30) + 1;
}
static void not_before(struct order_kit *t, struct order_context *c)
{
	t->o.not_before_ns = c->now_ns + 1;
}
static void made_later(struct order_kit *t, struct order_context *c)
{
	c->now_ns = t->o.made_ns - 1;
}
static void one_approval(struct order_kit *t, struct order_context *c)
{
	(void)t;
	c->approvals = 1;
}
static void two_approvals(struct order_kit *t, struct order_context *c)
{
	(void)t;
	c->approvals = 2;
}
static void of_all(struct order_kit *t, struct order_context *c)
{
	(void)c;
	t->o.requester =
		orders_text("spiffe://" FIXTURE_DOMAIN "/" FIXTURE_TENANT "/responder/all");
}
static void of_viewer(struct order_kit *t, struct order_context *c)
{
	(void)c;
	t->o.requester =
		orders_text("spiffe://" FIXTURE_DOMAIN "/" FIXTURE_TENANT "/responder/viewer");
}
static void malformed(struct order_kit *t, struct order_context *c)
{
	(void)c;
	t->o.case_id = orders_text("");
}

static const struct bad_row {
	const char *name;
	void (*spoil)(struct order_kit *t, struct order_context *c);
	const char *requester;
	const char *const *approvers;
	int want;
	const char *text;
} bad_rows[] = {
	{ "malformed", malformed, "ann", NULL, -EBADMSG, "its case" },
	{ "for another host", other_host, "ann", NULL, -EACCES, "for other hosts" },
	{ "for a host whose id is longer", longer_host, "ann", NULL, -EACCES, "for other hosts" },
	{ "for another tenant", other_tenant, "ann", NULL, -EACCES,
	  "the order is of tenant 'other'" },
	{ "the fleet made a person", nothing, "ann-fleet", NULL, -EACCES,
	  "fleet authority may not issue a certificate for a responder" },
	{ "strange authority", nothing, "ann-other", NULL, -EACCES,
	  "neither the fleet nor the order" },
	{ "certificate for TLS", nothing, "ann-tls", NULL, -EACCES, "not one for signing orders" },
	{ "certificate for TLS too", nothing, "ann-two-uses", NULL, -EACCES,
	  "not one for signing orders" },
	{ "key usage without signatures", nothing, "ann-usage", NULL, -EACCES,
	  "not one for signing orders" },
	{ "certificate of an authority", nothing, "ann-ca", NULL, -EACCES, "an authority's" },
	{ "certificate of a collector", nothing, "collector", NULL, -EACCES, "is a collector's" },
	{ "certificate of another tenant", order_of_tenant, "ann", NULL, -EACCES,
	  "certificate is of tenant 'acme'" },
	{ "order of another tenant", nothing, "ann-tenant", NULL, -EACCES, "of tenant 'evil'" },
	{ "certificate of another domain", nothing, "ann-domain", NULL, -EACCES, "in 'evil.org'" },
	{ "certificate over", nothing, "ann-over", NULL, -EKEYEXPIRED, "expired" },
	/* By a host's own clock: a collector may have sent it in good faith. */
	{ "certificate not yet valid", nothing, "ann-later", NULL, -EAGAIN, "not valid for" },
	{ "certificate for two days", nothing, "ann-long", NULL, -EACCES, "at most 12 are" },
	{ "approver's certificate for two days", one_approval, "ann", PEOPLE("bob-long"), -EACCES,
	  "at most 12 are" },
	{ "in another's name", nothing, "all", NULL, -EACCES, "in the name of" },
	{ "viewer", of_viewer, "viewer", NULL, -EACCES, "role 'acquirer'" },
	{ "right name without the role", nothing, "ann-viewer", NULL, -EACCES, "role 'acquirer'" },
	{ "expired", expired, "ann", NULL, -EKEYEXPIRED, "order expired" },
	{ "expired beyond the skew", beyond_skew, "ann", NULL, -EKEYEXPIRED, "order expired" },
	{ "before its time", not_before, "ann", NULL, -EAGAIN, "not valid for another" },
	{ "made later than now", made_later, "ann", NULL, -EAGAIN, "not valid for another" },
	{ "approval missing", one_approval, "ann", NULL, -EPERM,
	  "takes 1 approvals here, it has 0" },
	{ "second approval missing", two_approvals, "ann", PEOPLE("bob"), -EPERM,
	  "takes 2 approvals here, it has 1" },
	{ "approved by the requester", one_approval, "ann", PEOPLE("ann-approver"), -EPERM,
	  "of their own" },
	{ "approved by the requester, who may approve", of_all, "all", PEOPLE("all"), -EPERM,
	  "of their own" },
	{ "approved twice by one", two_approvals, "ann", PEOPLE("bob", "bob"), -EPERM, "twice" },
	{ "approved by a viewer", one_approval, "ann", PEOPLE("viewer"), -EPERM,
	  "role 'approver'" },
	{ "approved by whom the fleet made", one_approval, "ann", PEOPLE("bob-fleet"), -EACCES,
	  "approver's certificate is refused" },
	{ "approver's certificate over", one_approval, "ann", PEOPLE("bob-over"), -EKEYEXPIRED,
	  "approver's certificate is refused" },
	{ "false approval that nobody asked for", nothing, "ann", PEOPLE("viewer"), -EPERM,
	  "role 'approver'" },
	{ "nine approvals", nothing, "ann",
	  PEOPLE("bob", "bob", "bob", "bob", "bob", "bob", "bob", "bob", "bob"), -EBADMSG,
	  "more than 8" },
};

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	struct order_context c = context();
	struct order_checked got;
	struct error e = { 0 };
	struct order_kit t;
	size_t len;

	orders_init(&t);
	row->spoil(&t, &c);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, row->requester, row->approvers, &len);

	assert_int_equal(order_check(&c, data, len, &got, &e), row->want);
	assert_null(got.order);
	if (strstr(e.text, row->text) == NULL)
		fail_msg("'%s' does not say '%s'", e.text, row->text);
}

/* Each byte of what was signed and of the signature counts: whoever carries it can alter nothing. */
static void any_altered_byte_is_refused(void **state)
{
	struct order_context c = context();
	struct order_checked got;
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	c.approvals = 1;
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", PEOPLE("bob"), &len);

	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
	for (size_t i = 0; i < len; i++) {
		data[i] ^= 0x10;
		if (order_check(&c, data, len, &got, NULL) == 0) {
			/* Outside of what is signed stand only tags that protobuf lets one write twice. */
			assert_memory_equal(got.id, t.o.order_id.data, ORDER_ID_LEN);
			assert_int_equal(got.n_approvers, 1);
			fail_msg("byte %zu of %zu may be anything", i, len);
		}
		data[i] ^= 0x10;
	}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_not_equal(order_check(&c, data, cut, &got, NULL), 0);
}

/* A requester's signature is no approval, and the other way round. */
static void domains_are_apart(void **state)
{
	struct order_context c = context();
	Exhibit__V1__OrderSignature s;
	struct identity who;
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	AUTO(free_ptr) uint8_t *data = orders_pack(&t, &len);

	orders_signature(&pki, "bob", ORDER_DOMAIN, data, len, &s);
	assert_int_equal(order_check_approval(&c, data, len, &s, &who, NULL), -EBADMSG);
	order_signature_release(&s);
	orders_signature(&pki, "bob", ORDER_DOMAIN_APPROVAL, data, len, &s);
	assert_int_equal(order_check_approval(&c, data, len, &s, &who, NULL), 0);
	assert_string_equal(who.name, "bob");
	/* The approval of one order is not that of another. */
	data[len - 1] ^= 1;
	assert_int_not_equal(order_check_approval(&c, data, len, &s, &who, NULL), 0);
	order_signature_release(&s);
}

static void unsigned_is_refused(void **state)
{
	Exhibit__V1__SignedOrder s = EXHIBIT__V1__SIGNED_ORDER__INIT;
	Exhibit__V1__OrderSignature empty = EXHIBIT__V1__ORDER_SIGNATURE__INIT;
	struct order_context c = context();
	struct order_checked got;
	uint8_t data[4096];
	struct order_kit t;

	(void)state;
	orders_init(&t);
	s.order.data = orders_pack(&t, &s.order.len);
	assert_int_equal(order_check(&c, data, exhibit__v1__signed_order__pack(&s, data), &got,
				     NULL),
			 -EBADMSG);
	s.requester = &empty;
	assert_int_equal(order_check(&c, data, exhibit__v1__signed_order__pack(&s, data), &got,
				     NULL),
			 -EBADMSG);
	free(s.order.data);
	assert_int_equal(order_check(&c, data, 0, &got, NULL), -EBADMSG);
	assert_int_equal(order_check(&c, "\xff\xff", 2, &got, NULL), -EBADMSG);
}

/* ---- what counts ------------------------------------------------------------------------------- */

static void a_good_order_counts(void **state)
{
	struct order_context c = context();
	struct order_checked got;
	struct error e = { 0 };
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	c.approvals = 2;
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", PEOPLE("bob", "carl"), &len);

	if (order_check(&c, data, len, &got, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(got.order->kind, EXHIBIT__V1__ORDER_KIND__ORDER_CORE);
	assert_memory_equal(got.id, t.o.order_id.data, ORDER_ID_LEN);
	assert_string_equal(got.requester.name, "ann");
	assert_int_equal(got.n_approvers, 2);
	assert_string_equal(got.approvers[1].name, "carl");
	order_checked_release(&got);
}

static void keeps(const struct order_context *c, struct order_kit *t, const char *who,
		  const char *const *approvers, int want, int approved)
{
	struct order_checked got;
	struct seal_hash none = { { 0 } };
	size_t len;
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, t, who, approvers, &len);

	assert_int_equal(order_check_keep(c, data, len, &got, NULL), want);
	assert_int_equal(got.requester_good, approved >= 0);
	assert_int_equal(got.order != NULL, approved >= 0);
	assert_int_equal(got.n_approvers, approved < 0 ? 0 : approved);
	if (approved >= 0)
		assert_memory_not_equal(got.requester_certificate.b, none.b, SEAL_HASH_LEN);
	for (int i = 0; i < approved; i++)
		assert_memory_not_equal(got.approver_certificates[i].b, none.b, SEAL_HASH_LEN);
	order_checked_release(&got);
}

/* Who stands behind an order is known also where it does not count yet, or no longer; of what is false, nothing. */
static void what_was_verified_is_kept(void **state)
{
	struct order_context c = context(), late = context(), early = context();
	struct order_kit t, other;

	(void)state;
	orders_init(&t);
	orders_init(&other);
	other.o.tenant = orders_text("other");
	late.now_ns = t.o.expires_ns + S(1);
	early.now_ns = t.o.made_ns - S(30);
	c.approvals = 2;
	keeps(&c, &t, "ann", PEOPLE("bob", "carl"), 0, 2);
	keeps(&c, &t, "ann", PEOPLE("bob"), -EPERM, 1);
	keeps(&c, &t, "ann", PEOPLE("bob", "bob"), -EPERM, 1);
	keeps(&late, &t, "ann", PEOPLE("bob"), -EKEYEXPIRED, 0);
	keeps(&early, &t, "ann", NULL, -EAGAIN, 0);
	keeps(&c, &other, "ann", PEOPLE("bob", "carl"), -EACCES, -1);
	keeps(&c, &t, "bob", NULL, -EACCES, -1);
}

static void the_skew_is_tolerated(void **state)
{
	struct order_context c = context();
	struct order_checked got;
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", NULL, &len);

	c.clock_skew_ns = S(30);
	c.now_ns = t.o.expires_ns + S(30);
	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
	c.now_ns = t.o.made_ns - S(30);
	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
}

/* The collector holds orders for hosts of all names, and before their time. */
static void the_collector_takes_more(void **state)
{
	struct order_context c = context();
	struct order_checked got;
	struct order_kit t;
	size_t len;

	(void)state;
	orders_init(&t);
	t.o.not_before_ns = c.now_ns + S(600);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", NULL, &len);

	assert_int_equal(order_check(&c, data, len, &got, NULL), -EAGAIN);
	c.host_id = NULL;
	assert_int_equal(order_check(&c, data, len, &got, NULL), 0);
	order_checked_release(&got);
}

/* What the CLI signs; by the clock of now, since a signer looks at it. */
static void a_signer_is_believed(void **state)
{
	struct order_context c = context();
	Exhibit__V1__OrderSignature s;
	struct order_signer *signer = NULL;
	struct identity who;
	struct error e = { 0 };
	struct order_kit t;
	size_t len;

	(void)state;
	orders_person_at(&pki, "order", "dora", "dora", "approver", time(NULL), 3600);
	c.now_ns = S(time(NULL));
	orders_init(&t);
	t.o.made_ns = c.now_ns;
	t.o.expires_ns = c.now_ns + S(60);
	AUTO(free_ptr) uint8_t *data = orders_pack(&t, &len);

	if (order_signer_open(pki_path(&pki, "dora", ".sign.key"),
			      pki_path(&pki, "dora", ".sign.crt"), &signer, &e) != 0 ||
	    order_sign(signer, ORDER_DOMAIN_APPROVAL, data, len, &s, &e) != 0)
		fail_msg("%s", e.text);
	assert_string_equal(order_signer_identity(signer)->name, "dora");
	order_signer_free(signer);
	if (order_check_approval(&c, data, len, &s, &who, &e) != 0)
		fail_msg("%s", e.text);
	order_signature_release(&s);
}

static const struct signer_row {
	const char *name;
	const char *key, *certificate;
	int want;
	const char *text;
} signer_rows[] = {
	{ "no certificate", "dora", "nobody", -ENOENT, "certificate" },
	{ "no key", "nobody", "dora", -ENOENT, "key" },
	{ "key of another", "bob", "dora", -EINVAL, "does not belong" },
	{ "certificate over", "over", "over", -EKEYEXPIRED, "cannot sign with" },
	{ "certificate for TLS", "ann-tls", "ann-tls", -EACCES, "not one for signing" },
};

static void signer_refuses(void **state)
{
	const struct signer_row *row = *state;
	struct order_signer *signer = NULL;
	struct error e = { 0 };

	orders_person_at(&pki, "order", "dora", "dora", "approver", time(NULL), 3600);
	orders_person_at(&pki, "order", "over", "over", "approver", time(NULL) - 7200, 3600);
	assert_int_equal(order_signer_open(pki_path(&pki, row->key, ".sign.key"),
					   pki_path(&pki, row->certificate, ".sign.crt"), &signer,
					   &e),
			 row->want);
	assert_null(signer);
	if (strstr(e.text, row->text) == NULL)
		fail_msg("'%s' does not say '%s'", e.text, row->text);
}

int main(void)
{
	static struct tests t;
	int r;

	(void)begin(NULL);
	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_TEST(&t, any_altered_byte_is_refused);
	ADD_TEST(&t, domains_are_apart);
	ADD_TEST(&t, unsigned_is_refused);
	ADD_ROWS(&t, signer_refuses, signer_rows);
	ADD_TEST(&t, a_good_order_counts);
	ADD_TEST(&t, what_was_verified_is_kept);
	ADD_TEST(&t, the_skew_is_tolerated);
	ADD_TEST(&t, the_collector_takes_more);
	ADD_TEST(&t, a_signer_is_believed);
	r = tests_run(&t, "order_check");
	(void)end(NULL);
	return r;
}
