/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's clock beside ours, from exchanges in which everything may lie. */
#include "agent/clock_offset.h"

#include <errno.h>

#include "tests/unit/rows.h"

#define S(s) ((int64_t)(s) * (int64_t)NSEC_PER_SEC)
#define WALL S(1700000000)
#define BOOT S(1000)

/* A collector that is ahead by `ahead`, the way there and back in ns. */
static struct clock_sample exchange(int64_t at, int64_t ahead, int64_t there, int64_t back)
{
	return (struct clock_sample){ .sent_ns = WALL + at,
				      .received_ns = WALL + at + there + ahead,
				      .answered_ns = WALL + at + there + ahead + 10,
				      .elapsed_ns = (uint64_t)(there + 10 + back),
				      .boottime_ns = (uint64_t)(BOOT + at) };
}

static const struct bad_row {
	const char *name;
	struct clock_sample s;
} bad_rows[] = {
	{ "nothing", { 0 } },
	{ "answered before it was received", { 1, 20, 19, 30, 1 } },
	{ "longer there than it took", { 1, 20, 60, 39, 1 } },
	{ "a collector before 1970", { 1, -1, 1, 30, 1 } },
	{ "the end of time", { 1, INT64_MAX, INT64_MAX, 30, 1 } },
	{ "sent at the end of time", { INT64_MAX, 1, 1, 30, 1 } },
	{ "an hour on its way", { 1, 20, 20, 3600 * NSEC_PER_SEC, 1 } },
	{ "longer than all time", { 1, 20, 20, UINT64_MAX, 1 } },
	{ "of a boot without end", { 1, 20, 20, 30, UINT64_MAX } },
};

static void is_refused(void **state)
{
	const struct bad_row *row = *state;
	struct clock_offsets c = { 0 };
	struct clock_offset got;

	assert_int_equal(clock_offset_take(&c, &row->s), -EINVAL);
	assert_false(clock_offset_at(&c, WALL, (uint64_t)BOOT, &got));
}

static void take(struct clock_offsets *c, struct clock_sample s)
{
	assert_int_equal(clock_offset_take(c, &s), 0);
}

static const struct way_row {
	const char *name;
	int64_t ahead, there, back;
} way_rows[] = {
	{ "equal clocks, equal ways", 0, 500, 500 },    { "ahead by an hour", S(3600), 500, 500 },
	{ "behind by a year", -S(31536000), 500, 500 }, { "all of the way there", S(1), 1000, 0 },
	{ "all of the way back", S(1), 0, 1000 },       { "no way at all", 7, 0, 0 },
};

/* Whatever the ways are, the truth lies within half the round trip. */
static void the_truth_is_within_the_bound(void **state)
{
	const struct way_row *row = *state;
	struct clock_offsets c = { 0 };
	struct clock_offset got;

	take(&c, exchange(0, row->ahead, row->there, row->back));
	assert_true(clock_offset_at(&c, WALL, (uint64_t)BOOT, &got));
	assert_int_equal(got.round_trip_ns, row->there + row->back);
	assert_true(2 * llabs(got.offset_ns - row->ahead) <= (int64_t)got.round_trip_ns + 1);
	if (row->there == row->back)
		assert_int_equal(got.offset_ns, row->ahead);
}

static void the_shortest_of_the_young_counts(void **state)
{
	struct clock_offsets c = { 0 };
	struct clock_offset got;

	(void)state;
	take(&c, exchange(0, 1, 10, 10));
	take(&c, exchange(S(300), 2, 50, 50));
	take(&c, exchange(S(301), 3, 90, 90));
	assert_true(clock_offset_at(&c, WALL + S(600), (uint64_t)(BOOT + S(600)), &got));
	assert_int_equal(got.offset_ns, 1);
	assert_true(clock_offset_at(&c, WALL + S(601), (uint64_t)(BOOT + S(601)), &got));
	assert_int_equal(got.offset_ns, 2);
	assert_true(clock_offset_at(&c, WALL + S(901), (uint64_t)(BOOT + S(901)), &got));
	assert_int_equal(got.offset_ns, 3);
	assert_false(clock_offset_at(&c, WALL + S(902), (uint64_t)(BOOT + S(902)), &got));
	/* More than are kept: the oldest go. */
	take(&c, exchange(S(1000), 4, 1, 1));
	for (int i = 0; i < CLOCK_OFFSET_SAMPLES; i++)
		take(&c, exchange(S(1001), 5, 2, 2));
	assert_true(clock_offset_at(&c, WALL + S(1002), (uint64_t)(BOOT + S(1002)), &got));
	assert_int_equal(got.offset_ns, 5);
}

/* This host's clock is set by 5 s afterwards: the collector's did not move. */
static void a_clock_that_is_set_changes_the_offset(void **state)
{
	struct clock_offsets c = { 0 };
	struct clock_offset got;

	(void)state;
	take(&c, exchange(0, S(2), 10, 10));
	assert_true(clock_offset_at(&c, WALL + S(6), (uint64_t)(BOOT + S(1)), &got));
	assert_int_equal(got.offset_ns, -S(3));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_ROWS(&t, the_truth_is_within_the_bound, way_rows);
	ADD_TEST(&t, the_shortest_of_the_young_counts);
	ADD_TEST(&t, a_clock_that_is_set_changes_the_offset);
	return tests_run(&t, "clock_offset");
}
