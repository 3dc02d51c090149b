/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loss.h"

#include "proto/actions.h"
#include "proto/base/base.h"
#include "tests/unit/rows.h"

#define START_NS 1000
#define W LOSS_WINDOW

/* What arrives: runs of numbers; each record's time is START_NS + its number. */
struct run {
	uint64_t from, to;
};

static const struct feed_row {
	const char *name;
	struct run runs[4];
	uint64_t settle; /* 0: not */
	uint64_t want_lost, want_from, want_to, want_late;
} feed_rows[] = {
	{ "nothing", { { 0, 0 } }, 0, 0, 0, 0, 0 },
	{ "in order", { { 1, 500 } }, 500, 0, 0, 0, 0 },
	{ "the first is missing", { { 2, W + 1 } }, 0, 1, START_NS, START_NS + 2, 0 },
	{ "not certain yet", { { 1, 3 }, { 5, W + 3 } }, 0, 0, 0, 0, 0 },
	{ "certain after one", { { 1, 3 }, { 5, W + 4 } }, 0, 1, START_NS + 3, START_NS + 5, 0 },
	{ "certain when settled", { { 1, 3 }, { 5, 9 } }, 9, 1, START_NS + 3, START_NS + 5, 0 },
	{ "the last ones are missing", { { 1, 3 } }, 10, 7, START_NS + 3, START_NS + 999, 0 },
	{ "all are missing", { { 0, 0 } }, 10, 10, START_NS, START_NS + 999, 0 },
	{ "overtaken, then there", { { 1, 3 }, { 5, 9 }, { 4, 4 } }, 9, 0, 0, 0, 0 },
	{ "overtaken by a window less one", { { 2, W }, { 1, 1 } }, W, 0, 0, 0, 0 },
	{ "a long hole",
	  { { 1, 1 }, { 1000002, 1000002 + W } },
	  0,
	  1000000,
	  START_NS + 1,
	  START_NS + 1000002,
	  0 },
	{ "two holes", { { 1, 2 }, { 4, 5 }, { 8, 9 } }, 9, 3, START_NS + 2, START_NS + 8, 0 },
	{ "twice", { { 1, 3 }, { 3, 3 } }, 3, 0, 0, 0, 1 },
	{ "twice ahead", { { 1, 3 }, { 5, 5 }, { 5, 5 }, { 4, 4 } }, 5, 0, 0, 0, 1 },
	{ "after it was given up",
	  { { 1, 1 }, { 3, W + 2 }, { 2, 2 } },
	  0,
	  1,
	  START_NS + 1,
	  START_NS + 3,
	  1 },
	{ "number zero is none of ours", { { 1, 2 } }, 2, 0, 0, 0, 0 },
};

static void add(struct loss_hole *sum, const struct loss_hole *hole)
{
	if (sum->count == 0)
		sum->from_ns = hole->from_ns;
	sum->count += hole->count;
	sum->to_ns = hole->to_ns;
}

static void feed(void **state)
{
	const struct feed_row *row = *state;
	AUTO(loss_free_ptr) struct loss *l = loss_new(2, START_NS);
	struct loss_hole sum = { 0 }, hole;

	assert_non_null(l);
	for (size_t i = 0; i < ARRAY_LEN(row->runs); i++)
		for (uint64_t n = row->runs[i].from; n && n <= row->runs[i].to; n++)
			if (loss_feed(l, 1, n, START_NS + n, &hole)) {
				assert_int_equal(hole.cpu, 1);
				add(&sum, &hole);
			}
	if (row->settle && loss_settle(l, 1, row->settle, START_NS + 999, &hole))
		add(&sum, &hole);
	assert_int_equal(sum.count, row->want_lost);
	if (row->want_lost) {
		assert_int_equal(sum.from_ns, row->want_from);
		assert_int_equal(sum.to_ns, row->want_to);
	}
	assert_int_equal(loss_late(l), row->want_late);
	/* The other CPU knows nothing of it. */
	assert_false(loss_settle(l, 0, 0, 0, &hole));
}

static void strange_cpu_is_ignored(void **state)
{
	(void)state;
	AUTO(loss_free_ptr) struct loss *l = loss_new(2, START_NS);
	struct loss_hole hole;

	assert_false(loss_feed(l, 2, 1000, 1, &hole));
	assert_false(loss_feed(l, UINT32_MAX, 1000, 1, &hole));
	assert_false(loss_settle(l, 2, 1000, 1, &hole));
	assert_int_equal(hole.count, 0);
}

static void hostile_numbers_cost_nothing(void **state)
{
	(void)state;
	AUTO(loss_free_ptr) struct loss *l = loss_new(1, START_NS);
	struct loss_hole hole;

	assert_true(loss_feed(l, 0, UINT64_MAX, 5, &hole));
	assert_int_equal(hole.count, UINT64_MAX - LOSS_WINDOW);
	assert_false(loss_settle(l, 0, UINT64_MAX, 5, &hole));
}

static void shares_name_class_and_place(void **state)
{
	(void)state;
	struct counters before = { 0 }, after = { 0 };
	struct loss_share share[LOSS_SHARES_MAX];

	assert_int_equal(loss_shares(&before, &after, share), 0);
	before.class[REC_CLASS_TCP].lost_ring = 5;
	after.class[REC_CLASS_TCP].lost_ring = 7;
	after.class[REC_CLASS_FILE_OPEN].lost_scratch = 3;
	after.missed[REC_CLASS_FILE_OPEN] = 1;
	after.class[REC_CLASS_UDP].lost_scratch = 9;
	assert_int_equal(loss_shares(&before, &after, share), 3);
	assert_int_equal(share[0].class, REC_CLASS_FILE_OPEN);
	assert_int_equal(share[0].where, GAP_SCRATCH);
	assert_int_equal(share[0].count, 4);
	assert_int_equal(share[1].class, REC_CLASS_TCP);
	assert_int_equal(share[1].where, GAP_RING);
	assert_int_equal(share[1].count, 2);
	assert_int_equal(share[2].where, GAP_TABLE);
	assert_int_equal(loss_unexplained(&before, &after, 2), 0);
	assert_int_equal(loss_unexplained(&before, &after, 22), 20);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, feed, feed_rows);
	ADD_TEST(&t, strange_cpu_is_ignored);
	ADD_TEST(&t, hostile_numbers_cost_nothing);
	ADD_TEST(&t, shares_name_class_and_place);
	return tests_run(&t, "loss");
}
