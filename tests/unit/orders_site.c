/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/orders_site.h"

#include "tests/unit/rows.h"

#include <stdio.h>
#include <string.h>

static struct pki pki;
static struct authorities *authorities;
static int64_t now_ns;

void site_people(void)
{
	struct error e = { 0 };

	pki_make(&pki);
	orders_person(&pki, "ann", "acquirer");
	if (authorities_load(NULL, pki_path(&pki, "order", ".crt"), &authorities, &e) < 0) {
		(void)fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
}

void site_people_end(void)
{
	authorities_free(authorities);
	pki_remove(&pki);
}

void site_clock_add(int64_t ns)
{
	now_ns += ns;
}

static int64_t now(void)
{
	return now_ns;
}

static int leaf(void *ctx, const Exhibit__V1__LedgerEntry *entry, struct error *e)
{
	struct leaves *l = ctx;

	if (l->fail)
		return error_set(e, -l->fail, "the ledger is full");
	assert_true(l->n < ARRAY_LEN(l->at));
	assert_int_equal(entry->object.len, SEAL_HASH_LEN);
	l->at[l->n].kind = entry->kind;
	l->at[l->n++].state = entry->state;
	return 0;
}

/* Orders without their thread. */
void site_open(struct site *s)
{
	struct error e = { 0 };

	s->o = (struct orders){ .c = { .authorities = authorities,
				       .per_minute = 60,
				       .per_host = 2,
				       .now = now,
				       .leaf = leaf,
				       .ledger_ctx = &s->leaves } };
	(void)pthread_rwlock_init(&s->o.trust, NULL);
	(void)pthread_rwlock_init(&s->o.revoked, NULL);
	s->o.callers = calloc(ORDERS_CALLERS, sizeof(*s->o.callers));
	s->o.by_host = calloc(ORDERS_BUCKETS, sizeof(struct peer *));
	assert_non_null(s->o.callers);
	assert_non_null(s->o.by_host);
	if (orders_store_open(s->dir, &s->o.store, &e) < 0 || orders_load_lists(&s->o, &e) < 0 ||
	    orders_load_open(&s->o, &e) < 0)
		fail_msg("%s", e.text);
	s->ann = (struct peer){ .orders = &s->o, .who = { .kind = IDENTITY_RESPONDER } };
	(void)snprintf(s->ann.who.domain, sizeof(s->ann.who.domain), FIXTURE_DOMAIN);
	(void)snprintf(s->ann.who.tenant, sizeof(s->ann.who.tenant), FIXTURE_TENANT);
	(void)snprintf(s->ann.who.name, sizeof(s->ann.who.name), "ann");
	s->ann.tenant.len = sizeof(FIXTURE_TENANT) - 1;
	memcpy(s->ann.tenant.b, FIXTURE_TENANT, s->ann.tenant.len);
}

void site_close(struct site *s)
{
	orders_free_open(&s->o);
	orders_free_lists(&s->o);
	orders_store_close(s->o.store);
	free(s->o.callers);
	free(s->o.by_host);
	(void)pthread_rwlock_destroy(&s->o.trust);
	(void)pthread_rwlock_destroy(&s->o.revoked);
}

void site_begin(struct site *s)
{
	*s = (struct site){ 0 };
	now_ns = ORDERS_NOW * SECOND;
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/exhibit-orders-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	site_open(s);
}

void site_end(struct site *s)
{
	static const char *const names[] = { "orders.sqlite", "orders.sqlite-wal",
					     "orders.sqlite-shm" };
	char path[128];

	site_close(s);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", s->dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(s->dir), 0);
}

int site_order(struct site *s, uint8_t number, void (*change)(struct order_kit *t))
{
	static uint8_t id[ORDER_ID_LEN];
	struct order_context c = { .authorities = authorities,
				   .domain = FIXTURE_DOMAIN,
				   .tenant = FIXTURE_TENANT,
				   .now_ns = now_ns };
	struct order_checked checked;
	struct error e = { 0 };
	struct order_kit t;
	int64_t seq;
	size_t len;
	int r;

	orders_init(&t);
	memset(id, number, sizeof(id));
	t.o.order_id.data = id;
	if (change)
		change(&t);
	AUTO(free_ptr) uint8_t *data = orders_sign(&pki, &t, "ann", NULL, &len);

	if (order_check(&c, data, len, &checked, &e) < 0)
		fail_msg("%s", e.text);
	r = orders_begin(&s->o, &s->ann, data, len, &checked, &seq, &e);
	order_checked_release(&checked);
	return r;
}

static int note_state(void *ctx, const uint8_t *data, size_t len)
{
	Exhibit__V1__OrderStep *step = exhibit__v1__order_step__unpack(NULL, len, data);
	struct states *s = ctx;

	assert_non_null(step);
	assert_true(s->n < ARRAY_LEN(s->at));
	s->at[s->n++] = step->state;
	exhibit__v1__order_step__free_unpacked(step, NULL);
	return 0;
}

struct states site_states(struct site *s, int64_t seq)
{
	struct states got = { 0 };

	assert_int_equal(orders_store_steps(s->o.store, seq, note_state, &got, NULL), 0);
	return got;
}

void site_states_are(struct site *s, int64_t seq, const Exhibit__V1__OrderState *want, size_t n)
{
	struct states got = site_states(s, seq);

	assert_int_equal(got.n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got.at[i], want[i]);
}

struct batch_name site_name(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}
