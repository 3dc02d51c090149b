/* SPDX-License-Identifier: Apache-2.0 */
/* What answers say is missing: damage, floods, gaps, what is unknown, what was removed. */
#include "tests/unit/query_world.h"

/* A host whose batches all claim the same time must not make the others unreachable. */
static void a_flood_of_claims_is_left_out(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	size_t before = w->store->n;

	for (uint64_t i = 0; i < 60; i++) {
		fake_begin(w->builder, "c", 99, BATCH_LANE_BULK, i + 1, i * 2 + 1);
		add_process(w, w->builder);
		add_event(w, w->builder, 0);
		add_event(w, w->builder, 900);
		fake_end(w->builder, w->store);
	}
	w->store->max = 59;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "claim the same minute; the host is left out"));
	assert_true(w->n_out > 100);
	for (size_t i = 0; i < w->n_out; i++)
		assert_int_not_equal(w->out[i].host, 'c');
	m.limit = 10;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_int_equal(w->n_out, 10);
	w->store->max = 0;
	while (w->store->n > before) {
		w->store->n--;
		free(w->store->batches[w->store->n].bytes);
		free(w->store->batches[w->store->n].tokens);
	}
}

static void a_damaged_batch_is_told_and_the_rest_shown(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	uint8_t *bytes = w->store->batches[3].bytes;

	w->store->batches[3].bytes = NULL;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "segment x is damaged at byte 7"));
	w->store->batches[3].bytes = bytes;
	assert_true(w->n_out > 100);
}

/* Two gaps of one place and class are one row; what the question's classes exclude is not missing. */
static void gaps_are_summed_and_told(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[] = { &term };
	size_t before = w->store->n;

	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	for (uint64_t i = 0; i < 2; i++) {
		Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
		Exhibit__V1__Gap gap = EXHIBIT__V1__GAP__INIT;

		gap.where = EXHIBIT__V1__GAP_WHERE__GAP_RING;
		gap.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
		gap.has_count_case = EXHIBIT__V1__GAP__HAS_COUNT_COUNT;
		gap.count = 5 + i;
		gap.from_ns = 100 + i;
		gap.to_ns = 110 + i;
		e.action = EXHIBIT__V1__ACTION__ACTION_GAP;
		e.boottime_ns = 300;
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
		e.gap = &gap;
		fake_event(w->builder, &e);
	}
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(
		strstr(w->reason,
		       "11 exec events lost in the kernel's ring, 1970-01-01T00:00:01.000Z to"));
	m.since_ns = FAKE_OFFSET + 200; /* told later than they were: both ended before */
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	m.since_ns = 0;
	m.until_ns = FAKE_OFFSET + 105; /* told after the time asked for */
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	term.field = text("event.action");
	term.value = text("connect");
	m.terms = terms;
	m.n_terms = 1;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	free(w->store->batches[before].bytes);
	free(w->store->batches[before].tokens);
	w->store->n = before;
}

/* Shown as unknown, told once with their number; entries of an unknown kind likewise. */
static void what_is_unknown_is_counted(void **state)
{
	static const uint8_t later_kind[] = { 4, 9 << 3 | 2, 2, 1, 2 };
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	size_t without;

	m.limit = 1000;
	assert_int_equal(run(w, &m, NULL), 0);
	without = w->n_out;
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	add_action(w, 9999);
	add_action(w, ACTION_EXEC);
	add_action(w, 9998);
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->n_out, without + 3);
	assert_int_equal(w->missing, 1);
	assert_non_null(
		strstr(w->reason, "2 stored events have an action that this collector does not"));
	forget_last(w);
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	add_action(w, ACTION_EXEC);
	writer_bytes(&w->builder->w, later_kind, sizeof(later_kind));
	w->builder->h.entries++;
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->n_out, without + 1);
	assert_int_equal(w->missing, 1);
	assert_string_equal(w->reason, "1 stored entries cannot be read by this collector");
	forget_last(w);
}

/* An answer cut to its newest rows is about those alone. */
static void removal_is_told_where_it_matters(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;

	w->store->removed = (struct store_removed){ .segments = 1,
						    .events = 12,
						    .first_wall_ns = 5,
						    .last_wall_ns = FAKE_OFFSET,
						    .reason = "size" };
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "removed by retention (size), 12 events between"));
	m.limit = 5;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_true(w->cut);
	assert_int_equal(w->missing, 0);
	m.limit = 0;
	m.since_ns = FAKE_OFFSET + 1;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	w->store->removed = (struct store_removed){ 0 };
}

/* What a tail that was stopped asks: the same completeness, and no row. */
static void without_rows_the_same_is_missing(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;

	m.no_rows = true;
	w->store->reads = 0;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_true(w->complete);
	assert_int_equal(w->n_out, 0);
	assert_int_equal(w->missing, 0);
	assert_int_equal(w->store->reads, 0);
	w->hosts.items[1].connected = false;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	w->store->streams[2].watermark_wall_ns -= 1000;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "the host is not connected"));
	w->store->streams[2].watermark_wall_ns += 1000;
	w->hosts.items[1].connected = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flood_of_claims_is_left_out),
		cmocka_unit_test(a_damaged_batch_is_told_and_the_rest_shown),
		cmocka_unit_test(gaps_are_summed_and_told),
		cmocka_unit_test(what_is_unknown_is_counted),
		cmocka_unit_test(removal_is_told_where_it_matters),
		cmocka_unit_test(without_rows_the_same_is_missing),
	};

	return cmocka_run_group_tests_name("query_scope", tests, setup, teardown);
}
