/* SPDX-License-Identifier: Apache-2.0 */
/* Orders at the collector without a network: what is stored, what the ledger is told, what time does to them,
 * how many there may be. The clock and the ledger are the test's. */
#include "collector/orders_internal.h"
#include "proto/base/files.h"
#include "tests/unit/orders.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word
#define SECOND ((int64_t)NSEC_PER_SEC)

static struct pki pki;
static struct authorities *authorities;
static int64_t now_ns;

struct leaves {
	size_t n;
	int fail; /* errno of the next */
	struct {
		Exhibit__V1__LedgerKind kind;
		uint32_t state;
	} at[64];
};

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

struct site {
	char dir[64];
	struct leaves leaves;
	struct orders o;
	struct peer ann;
};

/* Orders without their thread. */
static void site_open(struct site *s)
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

static void site_close(struct site *s)
{
	orders_free_open(&s->o);
	orders_free_lists(&s->o);
	orders_store_close(s->o.store);
	free(s->o.callers);
	free(s->o.by_host);
	(void)pthread_rwlock_destroy(&s->o.trust);
	(void)pthread_rwlock_destroy(&s->o.revoked);
}

static void site_begin(struct site *s)
{
	*s = (struct site){ 0 };
	now_ns = ORDERS_NOW * SECOND;
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/exhibit-orders-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	site_open(s);
}

static void site_end(struct site *s)
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

/* number: tells orders apart. */
static int order(struct site *s, uint8_t number, void (*change)(struct order_kit *t))
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

struct states {
	size_t n;
	Exhibit__V1__OrderState at[16];
};

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

static struct states states_of(struct site *s, int64_t seq)
{
	struct states got = { 0 };

	assert_int_equal(orders_store_steps(s->o.store, seq, note_state, &got, NULL), 0);
	return got;
}

static void states_are(struct site *s, int64_t seq, const Exhibit__V1__OrderState *want, size_t n)
{
	struct states got = states_of(s, seq);

	assert_int_equal(got.n, n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(got.at[i], want[i]);
}
#define STATES_ARE(s, seq, ...)                                                                    \
	states_are((s), (seq), (const Exhibit__V1__OrderState[]){ __VA_ARGS__ },                   \
		   sizeof((const Exhibit__V1__OrderState[]){ __VA_ARGS__ }) /                      \
			   sizeof(Exhibit__V1__OrderState))

static struct batch_name name_of(const char *text)
{
	struct batch_name n = { .len = (uint8_t)strlen(text) };

	memcpy(n.b, text, n.len);
	return n;
}

/* ---- failures first ------------------------------------------------------------------------------------- */

static void without_its_leaf_there_is_no_order(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	s.leaves.fail = ENOSPC;
	assert_int_equal(order(&s, 1, NULL), -ENOSPC);
	assert_null(s.o.open);
	s.leaves.fail = 0;
	assert_int_equal(order(&s, 1, NULL), 0);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	site_end(&s);
}

/* A step that the ledger does not take is tried again. */
static void without_its_leaf_there_is_no_step(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	s.leaves.fail = ENOSPC;
	now_ns += 7200 * SECOND;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	assert_non_null(s.o.open);
	s.leaves.fail = 0;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(EXPIRED));
	assert_null(s.o.open);
	site_end(&s);
}

static void another_reason(struct order_kit *t)
{
	t->o.reason = orders_text("another");
}

static void an_id_is_taken_once(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	assert_int_equal(order(&s, 1, another_reason), -EEXIST);
	assert_int_equal(order(&s, 1, NULL), 0); /* the very same */
	assert_int_equal(s.o.n_open, 1);
	assert_int_equal(order(&s, 2, NULL), 0);
	assert_int_equal(s.o.n_open, 2);
	site_end(&s);
}

static void damage_is_told(void **state)
{
	struct orders_store *store = NULL;
	struct error e = { 0 };
	char path[128];
	struct site s;

	(void)state;
	site_begin(&s);
	site_close(&s);
	(void)snprintf(path, sizeof(path), "%s/orders.sqlite", s.dir);
	assert_int_equal(files_replace(path, "no database at all, but long enough", 35, 0600, &e),
			 0);
	assert_int_equal(orders_store_open(s.dir, &store, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "orders.sqlite"));
	assert_null(store);
	assert_int_equal(unlink(path), 0);
	site_open(&s);
	site_end(&s);
}

/* ---- time ------------------------------------------------------------------------------------------------ */

static void what_waits_expires_also_after_a_restart(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	now_ns += 3600 * SECOND;
	orders_state_tick(&s.o);
	site_close(&s);
	site_open(&s);
	assert_int_equal(s.o.n_open, 1);
	assert_int_equal(s.o.open->targets[0].state, S(WAITING));
	now_ns += 1;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(EXPIRED));
	site_close(&s);
	site_open(&s);
	assert_int_equal(s.o.n_open, 0);
	assert_int_equal(s.leaves.n, 3);
	assert_int_equal(s.leaves.at[0].kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER);
	assert_int_equal(s.leaves.at[1].state, S(WAITING));
	assert_int_equal(s.leaves.at[2].state, S(EXPIRED));
	site_end(&s);
}

/* Sent, and never heard of again: not sooner than a host may come back with its answer. */
static void what_was_sent_expires_late(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	s.o.open->targets[0].state = S(SENT);
	now_ns += (3600 + 15 * 60) * SECOND;
	orders_state_tick(&s.o);
	assert_non_null(s.o.open);
	now_ns += 1;
	orders_state_tick(&s.o);
	assert_null(s.o.open);
	site_end(&s);
}

static void what_has_started_never_expires(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	s.o.open->targets[0].state = S(STARTED);
	now_ns += 365 * 86400 * SECOND;
	orders_state_tick(&s.o);
	assert_non_null(s.o.open);
	site_end(&s);
}

static void later(struct order_kit *t)
{
	t->o.not_before_ns = t->o.made_ns + 600 * SECOND;
}

static void nothing_happens_before_its_time(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(order(&s, 1, later), 0);
	STATES_ARE(&s, 1, S(MADE));
	now_ns += 600 * SECOND;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(WAITING));
	site_end(&s);
}

static void approvals_are_missing(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	s.o.c.approvals[EXHIBIT__V1__ORDER_KIND__ORDER_CORE] = 1;
	assert_int_equal(order(&s, 1, NULL), 0);
	STATES_ARE(&s, 1, S(MADE));
	now_ns += 3600 * SECOND + 1;
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(EXPIRED));
	site_end(&s);
}

/* ---- hosts ------------------------------------------------------------------------------------------------ */

static const struct say_row {
	const char *name;
	Exhibit__V1__OrderState before, said;
	bool taken;
} say_rows[] = {
	{ "done before it was sent", S(WAITING), S(DONE), false },
	{ "refused before it was sent", S(WAITING), S(REFUSED), false },
	{ "refused", S(SENT), S(REFUSED), true },
	{ "started", S(SENT), S(STARTED), true },
	{ "failed at once", S(SENT), S(FAILED), true },
	{ "done", S(STARTED), S(DONE), true },
	{ "done after progress", S(PROGRESS), S(DONE), true },
	{ "started twice", S(STARTED), S(STARTED), false },
	{ "refused once it had started", S(STARTED), S(REFUSED), false },
	{ "failed once it was done", S(DONE), S(FAILED), false },
	{ "done once it was refused", S(REFUSED), S(DONE), false },
	{ "done once it had expired", S(EXPIRED), S(DONE), false },
};

static void a_host_says(void **state)
{
	const struct say_row *row = *state;
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	struct peer host = { .who = { .kind = IDENTITY_HOST } };
	struct site s;

	site_begin(&s);
	assert_int_equal(order(&s, 1, NULL), 0);
	host.orders = &s.o;
	host.tenant = s.ann.tenant;
	host.host = name_of(ORDERS_HOST);
	s.o.open->targets[0].state = row->before;
	step.order_id = s.o.open->order->order_id;
	step.state = row->said;
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), 0);
	struct states got = states_of(&s, 1);

	assert_int_equal(got.n, row->taken ? 3 : 2);
	if (row->taken)
		assert_int_equal(got.at[2], row->said);
	/* Another host's word is nothing. */
	host.host = name_of("h-2");
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), 0);
	assert_int_equal(states_of(&s, 1).n, got.n);
	site_end(&s);
}

static void what_no_host_may_say_ends_its_stream(void **state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	static uint8_t bytes[2000];
	struct peer host = { 0 };
	struct site s;

	(void)state;
	site_begin(&s);
	host.orders = &s.o;
	step.order_id = orders_bytes(bytes, 15);
	step.state = S(DONE);
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), -EBADMSG);
	step.order_id.len = 16;
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), 0);
	for (int state_ = -1; state_ < 12; state_++) {
		bool may = state_ >= S(REFUSED) && state_ <= S(FAILED);

		step.state = (Exhibit__V1__OrderState)state_;
		assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), may ? 0 : -EBADMSG);
	}
	step.state = S(FAILED);
	step.reason = orders_bytes(bytes, 1001);
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), -EBADMSG);
	step.reason.len = 0;
	step.exhibit_id = orders_bytes(bytes, 17);
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), -EBADMSG);
	step.exhibit_id.len = 0;
	step.manifest_sha256 = orders_bytes(bytes, 31);
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), -EBADMSG);
	site_end(&s);
}

/* The vault takes what an order asked this host for, and nothing else. */
static void an_upload_finds_its_order(void **state)
{
	const struct batch_name tenant = name_of(FIXTURE_TENANT), host = name_of(ORDERS_HOST),
				other = name_of("h-2");
	struct orders_sent sent;
	uint8_t id[ORDER_ID_LEN];
	struct site s;

	(void)state;
	site_begin(&s);
	memset(id, 1, sizeof(id));
	assert_int_equal(order(&s, 1, NULL), 0);
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), -ENOENT);
	assert_int_equal(orders_store_step(s.o.store, 1, host.b, host.len, S(SENT),
					   (const uint8_t *)"", 0, true, NULL),
			 0);
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), 0);
	assert_int_equal(sent.kind, EXHIBIT__V1__ORDER_KIND__ORDER_CORE);
	assert_int_equal(sent.case_id.len, 5);
	assert_memory_equal(sent.case_id.b, "INC-7", 5);
	assert_int_equal(orders_sent(&s.o, &tenant, &other, id, &sent, NULL), -ENOENT);
	assert_int_equal(orders_sent(&s.o, &other, &host, id, &sent, NULL), -ENOENT);
	id[0]++;
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), -ENOENT);
	site_end(&s);
}

/* ---- limits ----------------------------------------------------------------------------------------------- */

static void a_caller_has_so_many_a_minute(void **state)
{
	struct identity ann = { .kind = IDENTITY_RESPONDER, .name = "ann" }, many = ann;
	struct error e = { 0 };
	struct site s;

	(void)state;
	site_begin(&s);
	for (int i = 0; i < 60; i++)
		assert_int_equal(orders_limit_caller(&s.o, &ann, &e), 0);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	assert_non_null(strstr(e.text, "more than 60 orders within a minute"));
	assert_non_null(strstr(e.hint, "wait "));
	now_ns += SECOND;
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), 0);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	/* A clock that goes back and forth refills nothing that had not been refilled. */
	now_ns -= 3600 * SECOND;
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	/* Others have their own, however many they are. */
	for (int i = 0; i < ORDERS_CALLERS + 10; i++) {
		now_ns += 1;
		(void)snprintf(many.name, sizeof(many.name), "m%d", i);
		assert_int_equal(orders_limit_caller(&s.o, &many, &e), 0);
	}
	site_end(&s);
}

static void a_host_has_so_many_open(void **state)
{
	const struct batch_name tenant = name_of(FIXTURE_TENANT), other = name_of("other");
	struct error e = { 0 };
	struct order_kit t;
	struct site s;

	(void)state;
	site_begin(&s);
	orders_init(&t);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), 0);
	assert_int_equal(order(&s, 1, NULL), 0);
	assert_int_equal(order(&s, 2, NULL), 0);
	orders_init(&t);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), -EDQUOT);
	assert_non_null(strstr(e.text, "2 orders for host 'h-1' are open already"));
	assert_int_equal(orders_limit_hosts(&s.o, &other, &t.o, &e), 0);
	s.o.open->targets[0].state = S(DONE);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), 0);
	site_end(&s);
}

static const struct approvals_row {
	const char *name;
	const char *words[3];
	int want, memory, disk;
} approvals_rows[] = {
	{ "none", { NULL }, 0, 0, 0 },
	{ "one kind", { "memory=2" }, 0, 2, 0 },
	{ "all", { "all=1" }, 0, 1, 1 },
	{ "all but one", { "all=1", "disk=0" }, 0, 1, 0 },
	{ "no number", { "memory" }, -EINVAL, 0, 0 },
	{ "empty number", { "memory=" }, -EINVAL, 0, 0 },
	{ "too many", { "memory=9" }, -EINVAL, 0, 0 },
	{ "two digits", { "memory=10" }, -EINVAL, 0, 0 },
	{ "no kind", { "=1" }, -EINVAL, 0, 0 },
	{ "unknown kind", { "shell=1" }, -EINVAL, 0, 0 },
	{ "a long word", { "memorymemorymemorymemorymemorymemory=1" }, -EINVAL, 0, 0 },
};

static void approvals_are_parsed(void **state)
{
	const struct approvals_row *row = *state;
	struct option_list list = { 0 };
	uint8_t got[ORDERS_KINDS_MAX];
	struct error e = { 0 };

	for (; row->words[list.n]; list.n++)
		list.item[list.n] = (char *)(uintptr_t)row->words[list.n];
	assert_int_equal(orders_parse_approvals(&list, got, &e), row->want);
	if (row->want < 0) {
		assert_non_null(strstr(e.text, row->words[0]));
		return;
	}
	assert_int_equal(got[EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY], row->memory);
	assert_int_equal(got[EXHIBIT__V1__ORDER_KIND__ORDER_DISK], row->disk);
}

/* Deny by default: each method has its row, and people's methods their roles. */
static void every_method_has_a_row(void **state)
{
	static const char *const paths[] = {
		"/exhibit.v1.Orders/Submit", "/exhibit.v1.Orders/Approve",
		"/exhibit.v1.Orders/List", "/exhibit.v1.Orders/Publish", "/exhibit.v1.Agent/Orders"
	};
	size_t n = 0;

	(void)state;
	for (; orders_method_path(n); n++) {
		bool people = strncmp(orders_method_path(n), "/exhibit.v1.Orders/", 19) == 0;

		assert_true(n < ARRAY_LEN(paths));
		assert_string_equal(orders_method_path(n), paths[n]);
		assert_int_equal(people, orders_method_roles(n) != NULL);
	}
	assert_int_equal(n, ARRAY_LEN(paths));
	assert_string_equal(orders_method_roles(0)[0], "acquirer");
	assert_null(orders_method_roles(0)[1]);
	assert_string_equal(orders_method_roles(1)[0], "approver");
	assert_null(orders_method_roles(1)[1]);
}

int main(void)
{
	static struct tests t;
	struct error e = { 0 };
	int failed;

	pki_make(&pki);
	orders_person(&pki, "ann", "acquirer");
	if (authorities_load(NULL, pki_path(&pki, "order", ".crt"), &authorities, &e) < 0)
		return 1;
	ADD_TEST(&t, without_its_leaf_there_is_no_order);
	ADD_TEST(&t, without_its_leaf_there_is_no_step);
	ADD_TEST(&t, an_id_is_taken_once);
	ADD_TEST(&t, damage_is_told);
	ADD_TEST(&t, what_waits_expires_also_after_a_restart);
	ADD_TEST(&t, what_was_sent_expires_late);
	ADD_TEST(&t, what_has_started_never_expires);
	ADD_TEST(&t, nothing_happens_before_its_time);
	ADD_TEST(&t, approvals_are_missing);
	ADD_ROWS(&t, a_host_says, say_rows);
	ADD_TEST(&t, what_no_host_may_say_ends_its_stream);
	ADD_TEST(&t, an_upload_finds_its_order);
	ADD_TEST(&t, a_caller_has_so_many_a_minute);
	ADD_TEST(&t, a_host_has_so_many_open);
	ADD_ROWS(&t, approvals_are_parsed, approvals_rows);
	ADD_TEST(&t, every_method_has_a_row);
	failed = tests_run(&t, "orders_begin");
	authorities_free(authorities);
	pki_remove(&pki);
	return failed;
}
