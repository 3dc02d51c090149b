/* SPDX-License-Identifier: Apache-2.0 */
/* Orders that are open: what time does to them, what hosts say of them. */
#include "tests/unit/orders_site.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	assert_int_equal(site_order(&s, 1, NULL), 0);
	host.orders = &s.o;
	host.tenant = s.ann.tenant;
	host.host = site_name(ORDERS_HOST);
	s.o.open->targets[0].state = row->before;
	step.order_id = s.o.open->order->order_id;
	step.state = row->said;
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), 0);
	struct states got = site_states(&s, 1);

	assert_int_equal(got.n, row->taken ? 3 : 2);
	if (row->taken)
		assert_int_equal(got.at[2], row->said);
	/* Another host's word is nothing. */
	host.host = site_name("h-2");
	assert_int_equal(orders_host_step(&s.o, &host, &step, NULL), 0);
	assert_int_equal(site_states(&s, 1).n, got.n);
	site_end(&s);
}

/* at: seconds, by the host's clock. */
static void say(struct site *s, struct peer *host, Exhibit__V1__OrderStep *step,
		Exhibit__V1__OrderState state, int at, bool lasting)
{
	step->state = state;
	step->wall_ns = (ORDERS_NOW + at) * SECOND;
	step->lasting = lasting;
	assert_int_equal(orders_host_step(&s->o, host, step, NULL), 0);
}

static void begin_started(struct site *s, struct peer *host, Exhibit__V1__OrderStep *step)
{
	site_begin(s);
	assert_int_equal(site_order(s, 1, NULL), 0);
	host->orders = &s->o;
	host->tenant = s->ann.tenant;
	host->host = site_name(ORDERS_HOST);
	s->o.open->targets[0].state = S(SENT);
	step->order_id = s->o.open->order->order_id;
	say(s, host, step, S(STARTED), 1, true);
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
	const struct batch_name tenant = site_name(FIXTURE_TENANT), host = site_name(ORDERS_HOST),
				other = site_name("h-2");
	struct orders_sent sent;
	uint8_t id[ORDER_ID_LEN];
	struct site s;

	(void)state;
	site_begin(&s);
	memset(id, 1, sizeof(id));
	assert_int_equal(site_order(&s, 1, NULL), 0);
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), -ENOENT);
	assert_int_equal(orders_store_step(s.o.store, 1, host.b, host.len, S(SENT),
					   (const uint8_t *)"", 0, true, NULL),
			 0);
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), 0);
	assert_int_equal(sent.kind, EXHIBIT__V1__ORDER_KIND__ORDER_CORE);
	assert_int_equal(sent.case_id.len, 5);
	assert_memory_equal(sent.case_id.b, "INC-7", 5);
	assert_false(sent.over);
	assert_int_equal(sent.max_bytes, 0);
	assert_int_equal(orders_sent(&s.o, &tenant, &other, id, &sent, NULL), -ENOENT);
	assert_int_equal(orders_sent(&s.o, &other, &host, id, &sent, NULL), -ENOENT);
	/* Over is what the host itself said; that it was silent for too long is ours. */
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(orders_store_step(s.o.store, 1, host.b, host.len,
						   i ? S(FAILED) : S(EXPIRED), (const uint8_t *)"",
						   0, true, NULL),
				 0);
		assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), 0);
		assert_int_equal(sent.over, i == 1);
	}
	id[0]++;
	assert_int_equal(orders_sent(&s.o, &tenant, &host, id, &sent, NULL), -ENOENT);
	site_end(&s);
}

/* Progress that lasts is a row and a leaf, once each however often it is said; the rest is for whoever watches. */
static void progress_that_lasts_is_kept(void **state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	struct peer host = { .who = { .kind = IDENTITY_HOST } };
	static struct site s;

	(void)state;
	begin_started(&s, &host, &step);
	size_t before = s.leaves.n;

	say(&s, &host, &step, S(PROGRESS), 2, false);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(STARTED));
	assert_int_equal(s.o.open->targets[0].state, S(PROGRESS));
	for (int twice = 0; twice < 2; twice++)
		say(&s, &host, &step, S(PROGRESS), 3, true);
	say(&s, &host, &step, S(STARTED), 1, true);
	say(&s, &host, &step, S(PROGRESS), 3, true);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(STARTED), S(PROGRESS));
	assert_int_equal(s.leaves.n, before + 1);
	assert_int_equal(s.leaves.at[before].kind, EXHIBIT__V1__LEDGER_KIND__LEDGER_STEP);
	assert_int_equal(s.leaves.at[before].state, S(PROGRESS));
	/* Nor after a restart. */
	site_close(&s);
	site_open(&s);
	host.orders = &s.o;
	step.order_id = s.o.open->order->order_id;
	say(&s, &host, &step, S(PROGRESS), 3, true);
	say(&s, &host, &step, S(PROGRESS), 4, true);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(STARTED), S(PROGRESS), S(PROGRESS));
	site_end(&s);
}

static void an_agent_that_goes_on_says_so_once(void **state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	struct peer host = { .who = { .kind = IDENTITY_HOST } };
	static struct site s;

	(void)state;
	begin_started(&s, &host, &step);
	say(&s, &host, &step, S(PROGRESS), 2, false);
	for (int twice = 0; twice < 2; twice++)
		say(&s, &host, &step, S(STARTED), 3, true);
	STATES_ARE(&s, 1, S(MADE), S(WAITING), S(STARTED), S(STARTED));
	site_end(&s);
}

/* A hostile agent: what it says of one order costs a bounded amount. */
static void so_many_steps_are_kept(void **state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	struct peer host = { .who = { .kind = IDENTITY_HOST } };
	static struct site s;
	struct states got;

	(void)state;
	begin_started(&s, &host, &step);
	for (int i = 2; i < 1200; i++)
		say(&s, &host, &step, i % 2 ? S(STARTED) : S(PROGRESS), i, true);
	got = site_states(&s, 1);
	assert_int_equal(got.n, 1 + 1000); /* made, then those of the host */
	say(&s, &host, &step, S(DONE), 1200, true);
	got = site_states(&s, 1);
	assert_int_equal(got.n, 1002);
	assert_int_equal(got.at[1001], S(DONE));
	site_end(&s);
}

/* ---- time ------------------------------------------------------------------------------------------------ */

static void what_waits_expires_also_after_a_restart(void **state)
{
	struct site s;

	(void)state;
	site_begin(&s);
	assert_int_equal(site_order(&s, 1, NULL), 0);
	site_clock_add(3600 * SECOND);
	orders_state_tick(&s.o);
	site_close(&s);
	site_open(&s);
	assert_int_equal(s.o.n_open, 1);
	assert_int_equal(s.o.open->targets[0].state, S(WAITING));
	site_clock_add(1);
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
	assert_int_equal(site_order(&s, 1, NULL), 0);
	s.o.open->targets[0].state = S(SENT);
	site_clock_add((3600 + 15 * 60) * SECOND);
	orders_state_tick(&s.o);
	assert_non_null(s.o.open);
	site_clock_add(1);
	orders_state_tick(&s.o);
	assert_null(s.o.open);
	site_end(&s);
}

#define EIGHT_DAYS (8 * 86400 * SECOND)

/* What has begun may run for days, and be told of late; a host that is gone ends it all the same. */
static void what_has_started_expires_in_silence(void **state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;
	struct peer host = { .who = { .kind = IDENTITY_HOST } };
	struct site s;

	(void)state;
	begin_started(&s, &host, &step);
	for (int i = 0; i < 3; i++) {
		site_clock_add(EIGHT_DAYS);
		orders_state_tick(&s.o);
		assert_non_null(s.o.open);
		say(&s, &host, &step, S(PROGRESS), 2 + i, false);
	}
	/* A start of the collector's knows nothing of when it was. */
	site_close(&s);
	site_open(&s);
	site_clock_add(SECOND);
	orders_state_tick(&s.o);
	site_clock_add(EIGHT_DAYS);
	orders_state_tick(&s.o);
	assert_non_null(s.o.open);
	site_clock_add(1);
	orders_state_tick(&s.o);
	assert_null(s.o.open);
	struct states got = site_states(&s, 1);

	assert_int_equal(got.at[got.n - 1], S(EXPIRED));
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
	assert_int_equal(site_order(&s, 1, later), 0);
	STATES_ARE(&s, 1, S(MADE));
	site_clock_add(600 * SECOND);
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
	assert_int_equal(site_order(&s, 1, NULL), 0);
	STATES_ARE(&s, 1, S(MADE));
	site_clock_add(3600 * SECOND + 1);
	orders_state_tick(&s.o);
	STATES_ARE(&s, 1, S(MADE), S(EXPIRED));
	site_end(&s);
}

int main(void)
{
	static struct tests t;
	int failed;

	site_people();
	ADD_ROWS(&t, a_host_says, say_rows);
	ADD_TEST(&t, what_no_host_may_say_ends_its_stream);
	ADD_TEST(&t, an_upload_finds_its_order);
	ADD_TEST(&t, progress_that_lasts_is_kept);
	ADD_TEST(&t, an_agent_that_goes_on_says_so_once);
	ADD_TEST(&t, so_many_steps_are_kept);
	ADD_TEST(&t, what_waits_expires_also_after_a_restart);
	ADD_TEST(&t, what_was_sent_expires_late);
	ADD_TEST(&t, what_has_started_expires_in_silence);
	ADD_TEST(&t, nothing_happens_before_its_time);
	ADD_TEST(&t, approvals_are_missing);
	failed = tests_run(&t, "orders_hosts");
	site_people_end();
	return failed;
}
