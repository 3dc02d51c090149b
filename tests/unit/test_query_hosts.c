/* SPDX-License-Identifier: Apache-2.0 */
/* What listings of hosts (hosts, coverage, status) say of their own completeness: the hosts as of the end of the
 * time asked for, what was lost in that time, and nothing of other times. */
#include "tests/unit/query_world.h"

#define DAY_NS (24 * 3600 * (int64_t)NSEC_PER_SEC)

static int64_t three_days_later(void)
{
	return FAKE_OFFSET + 1000000 + 3 * DAY_NS;
}

static void keep(struct world *w, const Exhibit__V1__Completeness *c)
{
	w->complete = true;
	w->missing = c->missing_total;
	w->since_ns = c->since_ns;
	w->until_ns = c->until_ns;
	w->reason[0] = '\0';
	for (size_t i = 0; i < c->n_missing; i++)
		(void)snprintf(w->reason + strlen(w->reason), sizeof(w->reason) - strlen(w->reason),
			       "%.*s: %.*s|", (int)c->missing[i]->host_name.len,
			       (const char *)c->missing[i]->host_name.data,
			       (int)c->missing[i]->reason.len,
			       (const char *)c->missing[i]->reason.data);
}

static int take_hosts(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__HostsReply *m = exhibit__v1__hosts_reply__unpack(NULL, len, data);

	assert_non_null(m);
	if (m->kind_case == EXHIBIT__V1__HOSTS_REPLY__KIND_COMPLETENESS)
		keep(w, m->completeness);
	else
		w->n_out++;
	exhibit__v1__hosts_reply__free_unpacked(m, NULL);
	free(data);
	return 0;
}

static int take_coverage(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__CoverageReply *m = exhibit__v1__coverage_reply__unpack(NULL, len, data);

	assert_non_null(m);
	if (m->kind_case == EXHIBIT__V1__COVERAGE_REPLY__KIND_COMPLETENESS)
		keep(w, m->completeness);
	else
		w->n_out++;
	exhibit__v1__coverage_reply__free_unpacked(m, NULL);
	free(data);
	return 0;
}

static int64_t lag; /* of the last host of a status; -1: none */

static int take_status(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__StatusReply *m = exhibit__v1__status_reply__unpack(NULL, len, data);

	assert_non_null(m);
	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_HOST)
		lag = m->host->has_lag_case == EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS ?
			      (int64_t)m->host->lag_ns :
			      -1;
	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_COMPLETENESS)
		keep(w, m->completeness);
	else
		w->n_out++;
	exhibit__v1__status_reply__free_unpacked(m, NULL);
	free(data);
	return 0;
}

enum listing { HOSTS_LISTING, COVERAGE_LISTING, STATUS_LISTING, LISTINGS };

struct ask {
	enum listing listing;
	const char *host; /* NULL: all */
	int64_t since_ns, until_ns;
	int64_t (*now)(void);
};

static int list(struct world *w, const struct ask *a, struct error *e)
{
	int (*const takers[])(void *, uint8_t *, size_t) = { take_hosts, take_coverage,
							     take_status };
	struct query_env env = {
		.store = w->store, .hosts = &w->hosts, .live = w->live, .now = a->now
	};
	struct query q = { .env = &env,
			   .tenant = fake_name("t"),
			   .sink = { takers[a->listing], never, w } };
	Exhibit__V1__HostsRequest hosts = EXHIBIT__V1__HOSTS_REQUEST__INIT;
	Exhibit__V1__CoverageRequest coverage = EXHIBIT__V1__COVERAGE_REQUEST__INIT;
	Exhibit__V1__StatusRequest status = EXHIBIT__V1__STATUS_REQUEST__INIT;
	ProtobufCBinaryData name = a->host ? text(a->host) : (ProtobufCBinaryData){ 0 };

	w->n_out = 0;
	w->complete = false;
	hosts.hosts = coverage.hosts = status.hosts = &name;
	hosts.n_hosts = coverage.n_hosts = status.n_hosts = a->host != NULL;
	hosts.since_ns = coverage.since_ns = status.since_ns = a->since_ns;
	hosts.until_ns = coverage.until_ns = status.until_ns = a->until_ns;
	switch (a->listing) {
	case COVERAGE_LISTING:
		return query_coverage(&q, &coverage, e);
	case STATUS_LISTING:
		return query_status(&q, &status, e);
	case HOSTS_LISTING:
	case LISTINGS:
		break;
	}
	return query_hosts(&q, &hosts, e);
}

static void expect(struct world *w, struct ask a, uint64_t missing, const char *reason)
{
	struct error e = { 0 };

	if (list(w, &a, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(w->complete);
	if (w->missing != missing || (reason && !strstr(w->reason, reason)))
		fail_msg("listing %d: %llu missing: %s", (int)a.listing,
			 (unsigned long long)w->missing, w->reason);
}

/* A gap of host a, told and ended just after the beginning of time. */
static void add_gap(struct world *w)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Gap gap = EXHIBIT__V1__GAP__INIT;

	gap.where = EXHIBIT__V1__GAP_WHERE__GAP_RING;
	gap.class_ = EXHIBIT__V1__CLASS__CLASS_FILE_CHANGE;
	gap.has_count_case = EXHIBIT__V1__GAP__HAS_COUNT_COUNT;
	gap.count = 7;
	gap.from_ns = 100;
	gap.to_ns = 110;
	e.action = EXHIBIT__V1__ACTION__ACTION_GAP;
	e.boottime_ns = 300;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
	e.gap = &gap;
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	fake_event(w->builder, &e);
	fake_end(w->builder, w->store);
	w->store->streams[0].gaps = 1;
}

static void drop_gap(struct world *w)
{
	forget_last(w);
	w->store->streams[0].gaps = 0;
}

static void set_watermarks(struct world *w, int64_t wall_ns)
{
	for (size_t i = 0; i < w->store->n_streams; i++)
		w->store->streams[i].watermark_wall_ns = wall_ns;
}

/* The hosts of the world that nobody asked for their coverage: each is untold. */
static uint64_t untold(enum listing listing, uint64_t hosts)
{
	return listing == COVERAGE_LISTING ? hosts : 0;
}

static void a_gap_of_the_time_is_told(void **state)
{
	struct world *w = *state;

	for (enum listing l = 0; l < LISTINGS; l++) {
		expect(w, (struct ask){ .listing = l, .now = now }, untold(l, 3), NULL);
		assert_int_equal(w->n_out, l == STATUS_LISTING ? 4 : 3);
		assert_int_equal(w->since_ns, now() - DAY_NS);
		assert_int_equal(w->until_ns, now());
	}
	add_gap(w);
	for (enum listing l = 0; l < LISTINGS; l++)
		expect(w, (struct ask){ .listing = l, .now = now }, untold(l, 3) + 1,
		       "a: 7 file_change events lost in the kernel's ring");
	/* Another host's answer does not lack it. */
	expect(w, (struct ask){ HOSTS_LISTING, "b", .now = now }, 0, NULL);
	expect(w, (struct ask){ HOSTS_LISTING, "a", .now = now }, 1, "a: 7 file_change events");
	drop_gap(w);
}

static void one_of_another_time_is_not(void **state)
{
	struct world *w = *state;

	add_gap(w);
	set_watermarks(w, three_days_later());
	for (enum listing l = 0; l < LISTINGS; l++) {
		expect(w, (struct ask){ .listing = l, .now = three_days_later }, untold(l, 3),
		       NULL);
		expect(w,
		       (struct ask){ l, NULL, three_days_later() - 4 * DAY_NS, 0,
				     three_days_later },
		       untold(l, 3) + 1, "a: 7 file_change events lost");
		expect(w,
		       (struct ask){ l, NULL, 0, FAKE_OFFSET + 2 * (int64_t)NSEC_PER_SEC,
				     three_days_later },
		       untold(l, 3) + 1, "a: 7 file_change events lost");
	}
	set_watermarks(w, now());
	drop_gap(w);
}

static void a_host_that_fell_silent_is_told(void **state)
{
	struct world *w = *state;

	for (enum listing l = 0; l < LISTINGS; l++) {
		expect(w, (struct ask){ .listing = l, .now = three_days_later }, untold(l, 3) + 6,
		       "a: the host is behind: its critical lane is known only");
		/* At that time it spoke. */
		expect(w, (struct ask){ l, NULL, 0, now(), three_days_later }, untold(l, 3), NULL);
	}
	w->hosts.items[1].connected = false;
	expect(w, (struct ask){ HOSTS_LISTING, "b", .now = three_days_later }, 2,
	       "b: the host is not connected");
	w->hosts.items[1].connected = true;
}

static void a_host_without_coverage_is_told(void **state)
{
	struct world *w = *state;

	expect(w, (struct ask){ COVERAGE_LISTING, "a", .now = now }, 1,
	       "a: no coverage of the host is stored");
	w->hosts.items[0].last_seen_ns = 0;
	expect(w, (struct ask){ COVERAGE_LISTING, "a", .now = now }, 0, NULL);
	w->hosts.items[0].last_seen_ns = 1;
}

/* The sum of lost events is not silently too small. */
static void more_gaps_than_are_read_are_told(void **state)
{
	struct world *w = *state;

	w->store->streams[0].gaps = 2;
	for (uint64_t i = 0; i < 2; i++) {
		fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9 + i, 1000 + i);
		add_action(w, ACTION_GAP);
		fake_end(w->builder, w->store);
	}
	expect(w, (struct ask){ HOSTS_LISTING, .now = now }, 0, NULL);
	w->store->max = 1;
	expect(w, (struct ask){ HOSTS_LISTING, .now = now }, 2, "is not in the sum of lost events");
	w->store->max = 0;
	w->store->streams[0].gaps = 0;
	forget_last(w);
	forget_last(w);
}

/* Another host's fault is none of the answer's. */
static void only_the_host_asked_for(void **state)
{
	struct world *w = *state;

	w->hosts.items[0].connected = false;
	for (enum listing l = 0; l < LISTINGS; l++) {
		struct ask nobody = { l, "nosuch", .now = now };
		struct error e = { 0 };

		expect(w, (struct ask){ l, "b", .now = now }, untold(l, 1), NULL);
		assert_int_equal(w->n_out, l == STATUS_LISTING ? 2 : 1);
		assert_int_equal(list(w, &nobody, &e), -ENOENT);
		assert_string_equal(e.text, "no host is called 'nosuch'");
	}
	w->hosts.items[0].connected = true;
}

/* The lane that is further behind counts. */
static void lag_is_of_the_slower_lane(void **state)
{
	struct world *w = *state;
	struct error e = { 0 };
	struct ask a = { STATUS_LISTING, "c", .now = now };

	for (size_t i = 0; i < w->store->n_streams; i++)
		w->store->streams[i].watermark_wall_ns =
			now() - (w->store->streams[i].lane == BATCH_LANE_BULK ? 70 : 7);
	assert_int_equal(list(w, &a, &e), 0);
	assert_int_equal(lag, 70);
	set_watermarks(w, now() + 5);
	assert_int_equal(list(w, &a, &e), 0);
	assert_int_equal(lag, 0);
	set_watermarks(w, 0);
	assert_int_equal(list(w, &a, &e), 0);
	assert_int_equal(lag, -1);
	set_watermarks(w, now());
}

static void add_stop(struct world *w, uint64_t number, uint64_t from_ns, uint64_t to_ns)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__Gap gap = EXHIBIT__V1__GAP__INIT;

	gap.where = EXHIBIT__V1__GAP_WHERE__GAP_AGENT_DOWN;
	gap.from_ns = from_ns;
	gap.to_ns = to_ns;
	e.action = EXHIBIT__V1__ACTION__ACTION_GAP;
	e.boottime_ns = to_ns;
	e.detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
	e.gap = &gap;
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, number, 1000 + number);
	fake_event(w->builder, &e);
	fake_end(w->builder, w->store);
}

/* Between two stops something is known: they are no one stretch. */
static void gaps_apart_are_told_apart(void **state)
{
	struct world *w = *state;
	size_t stops = 0;

	add_stop(w, 9 + stops++, NSEC_PER_MSEC, 2 * NSEC_PER_MSEC);
	add_stop(w, 9 + stops++, 5 * NSEC_PER_MSEC, 6 * NSEC_PER_MSEC);
	/* Touches the one before: one stretch. */
	add_stop(w, 9 + stops++, 6 * NSEC_PER_MSEC, 7 * NSEC_PER_MSEC);
	set_watermarks(w, three_days_later());
	for (size_t i = 0; i < 2; i++) {
		expect(w,
		       (struct ask){ HOSTS_LISTING, "a", three_days_later() - 4 * DAY_NS, 0,
				     three_days_later },
		       2,
		       i ? "lost while the agent was not running, 1970-01-01T00:00:01.005Z to "
			   "1970-01-01T00:00:01.007Z" :
			   "lost while the agent was not running, 1970-01-01T00:00:01.001Z to "
			   "1970-01-01T00:00:01.002Z");
	}
	for (uint64_t at = 10; at < 30; at += 2)
		add_stop(w, 9 + stops++, at * NSEC_PER_MSEC, (at + 1) * NSEC_PER_MSEC);
	expect(w,
	       (struct ask){ HOSTS_LISTING, "a", three_days_later() - 4 * DAY_NS, 0,
			     three_days_later },
	       1,
	       "lost while the agent was not running, in 13 gaps between "
	       "1970-01-01T00:00:01.001Z and 1970-01-01T00:00:01.029Z");
	set_watermarks(w, now());
	while (stops--)
		forget_last(w);
}

static void a_time_that_ends_before_it_begins(void **state)
{
	struct world *w = *state;

	for (enum listing l = 0; l < LISTINGS; l++) {
		struct ask a = { l, NULL, 9, 9, now };
		struct error e = { 0 };

		assert_int_equal(list(w, &a, &e), -EINVAL);
		assert_string_equal(e.text, "the time asked for ends before it begins");
	}
}

static int setup_seen(void **state)
{
	struct world *w;

	assert_int_equal(setup(state), 0);
	w = *state;
	for (size_t i = 0; i < w->hosts.n; i++)
		w->hosts.items[i].last_seen_ns = 1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_time_that_ends_before_it_begins),
		cmocka_unit_test(a_gap_of_the_time_is_told),
		cmocka_unit_test(one_of_another_time_is_not),
		cmocka_unit_test(a_host_that_fell_silent_is_told),
		cmocka_unit_test(a_host_without_coverage_is_told),
		cmocka_unit_test(more_gaps_than_are_read_are_told),
		cmocka_unit_test(gaps_apart_are_told_apart),
		cmocka_unit_test(only_the_host_asked_for),
		cmocka_unit_test(lag_is_of_the_slower_lane),
	};

	return cmocka_run_group_tests_name("query_hosts", tests, setup_seen, teardown);
}
