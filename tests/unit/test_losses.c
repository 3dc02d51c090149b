/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's numbers, the lanes and the sealer are this test's own: it says what was counted, and looks at
 * which gaps are told of it. */
#include "agent/losses.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/actions.h"
#include "tests/unit/rows.h"

#define CPUS 2
#define START_NS 1000
#define GAPS_MAX 64

struct told {
	struct event_gap gap;
	char reason[200];
	uint64_t now_ns;
};

static struct fake {
	struct counters now; /* the kernel's */
	uint64_t numbers[REC_RINGS][CPUS];
	bool broken; /* they cannot be read */
	size_t n_told;
	struct told told[GAPS_MAX];
	size_t reached;
	enum batch_lane reached_lane;
	uint64_t reached_sequence;
	bool has_journal, has_unsaid;
	struct sealer_losses journal;
	uint64_t unsaid[16];
} fake;

/* ---- in the place of counters.c, lanes.c and sealer.c ------------------------------------------ */

size_t counters_cpus(void)
{
	return CPUS;
}

int counters_read(const struct hooks *h, struct counters *ret, struct error *e)
{
	(void)h;
	if (fake.broken)
		return error_set(e, -EIO, "the kernel's counters cannot be read");
	*ret = fake.now;
	return 0;
}

int counters_numbers(const struct hooks *h, enum rec_ring ring, uint64_t *ret, size_t n,
		     struct error *e)
{
	(void)h;
	assert_int_equal(n, CPUS);
	if (fake.broken)
		return error_set(e, -EIO, "the kernel's numbers cannot be read");
	memcpy(ret, fake.numbers[ring], sizeof(fake.numbers[ring]));
	return 0;
}

void counters_add_swept(struct counters *c, uint64_t n)
{
	c->class[REC_CLASS_UDP].seen += n;
	c->class[REC_CLASS_UDP].sent += n;
}

static void tell(const struct event_gap *gap, uint64_t now_ns)
{
	struct told *t = &fake.told[fake.n_told++];

	assert_true(fake.n_told <= GAPS_MAX);
	t->gap = *gap;
	t->now_ns = now_ns;
	(void)snprintf(t->reason, sizeof(t->reason), "%s", gap->reason != NULL ? gap->reason : "");
}

void lanes_gap(struct lanes *l, const struct event_gap *gap, uint64_t now_ns)
{
	(void)l;
	tell(gap, now_ns);
}

void lanes_event(struct lanes *l, const struct event *ev, const struct enriched *who,
		 uint64_t now_ns)
{
	(void)l;
	assert_null(who);
	tell(&ev->u.gap, now_ns);
}

void lanes_reached(struct lanes *l, enum batch_lane lane, uint32_t cpu, uint64_t sequence)
{
	(void)l;
	(void)cpu;
	fake.reached++;
	fake.reached_lane = lane;
	fake.reached_sequence = sequence;
}

bool lanes_take_unsaid(struct lanes *l, uint64_t counts[static 16])
{
	bool any = fake.has_unsaid;

	(void)l;
	memcpy(counts, fake.unsaid, sizeof(fake.unsaid));
	fake.has_unsaid = false;
	return any;
}

bool sealer_take_losses(struct sealer *s, struct sealer_losses *ret)
{
	bool any = fake.has_journal;

	(void)s;
	*ret = fake.journal;
	fake.has_journal = false;
	return any;
}

/* ---- helpers ----------------------------------------------------------------------------------- */

static struct losses *begin(void)
{
	struct losses *l = NULL;

	fake = (struct fake){ .broken = false };
	assert_int_equal(losses_new(NULL, NULL, NULL, START_NS, &l, NULL), 0);
	return l;
}

static void arrive(struct losses *l, uint8_t ring, uint32_t cpu, uint64_t seq)
{
	losses_record(l, &(struct decoded){ .ring = ring, .cpu = cpu, .seq = seq }, START_NS + seq);
}

static void assert_told(size_t i, uint32_t where, uint32_t class, uint64_t count, uint64_t from_ns,
			uint64_t to_ns)
{
	const struct event_gap *g = &fake.told[i].gap;

	assert_true(i < fake.n_told);
	assert_int_equal(g->where, where);
	assert_int_equal(g->class, class);
	assert_int_equal(g->has_count, count > 0);
	assert_int_equal(g->count, count);
	assert_int_equal(g->from_ns, from_ns);
	assert_int_equal(g->to_ns, to_ns);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static const struct kernel_row {
	const char *name;
	enum rec_class rec;
	uint64_t ring, scratch, missed;
	uint32_t where, class;
} kernel_rows[] = {
	{ "exec, ring full", REC_CLASS_EXEC, 7, 0, 0, GAP_RING, CLASS_EXEC },
	{ "exec, no buffer", REC_CLASS_EXEC, 0, 7, 0, GAP_SCRATCH, CLASS_EXEC },
	{ "exec, run skipped", REC_CLASS_EXEC, 0, 0, 7, GAP_SCRATCH, CLASS_EXEC },
	{ "fork, both kinds", REC_CLASS_FORK, 0, 3, 4, GAP_SCRATCH, CLASS_FORK },
	{ "exit", REC_CLASS_EXIT, 7, 0, 0, GAP_RING, CLASS_EXIT },
	{ "file", REC_CLASS_FILE_OPEN, 7, 0, 0, GAP_RING, CLASS_FILE_OPEN },
	{ "tcp", REC_CLASS_TCP, 7, 0, 0, GAP_RING, CLASS_TCP },
	{ "accept is tcp", REC_CLASS_TCP_ACCEPT, 7, 0, 0, GAP_RING, CLASS_TCP },
	{ "udp, table full", REC_CLASS_UDP, 0, 7, 0, GAP_TABLE, CLASS_UDP },
	{ "stock of processes", REC_CLASS_STOCK_PROCESS, 7, 0, 0, GAP_RING, CLASS_EXEC },
	{ "stock of sockets", REC_CLASS_STOCK_SOCKET, 7, 0, 0, GAP_RING, CLASS_TCP },
};

static void kernel_loss_is_told_once_by_class(void **state)
{
	const struct kernel_row *row = *state;
	struct losses *l = begin();

	assert_false(losses_check(l, true, 2000));
	fake.now.class[row->rec].lost_ring = row->ring;
	fake.now.class[row->rec].lost_scratch = row->scratch;
	fake.now.missed[row->rec] = row->missed;
	assert_true(losses_check(l, false, 3000));
	assert_int_equal(fake.n_told, 1);
	assert_told(0, row->where, row->class, 7, 2000, 3000);
	assert_false(losses_check(l, false, 4000));
	assert_int_equal(fake.n_told, 1);
	losses_free(l);
}

static void time_is_from_the_start_at_first(void **state)
{
	struct losses *l = begin();

	(void)state;
	fake.now.class[REC_CLASS_EXEC].lost_ring = 1;
	assert_true(losses_check(l, false, 5000));
	assert_told(0, GAP_RING, CLASS_EXEC, 1, START_NS, 5000);
	losses_free(l);
}

/* What was lost while nobody could look is told as soon as somebody can. */
static void unreadable_counters_hide_no_loss(void **state)
{
	struct losses *l = begin();

	(void)state;
	assert_false(losses_check(l, true, 2000));
	fake.now.class[REC_CLASS_EXIT].lost_ring = 5;
	fake.broken = true;
	assert_false(losses_check(l, true, 3000));
	assert_int_equal(fake.n_told, 0);
	fake.broken = false;
	assert_true(losses_check(l, true, 4000));
	assert_int_equal(fake.n_told, 1);
	assert_int_equal(fake.told[0].gap.count, 5);
	losses_free(l);
}

/* A hole that certainly is one, and no class lost anything. */
static void stolen_records_are_an_alarm_of_their_own(void **state)
{
	struct losses *l = begin();

	(void)state;
	arrive(l, REC_RING_CRITICAL, 0, 1);
	for (uint64_t seq = 5; seq <= 5 + LOSS_WINDOW; seq++)
		arrive(l, REC_RING_CRITICAL, 0, seq);
	assert_true(losses_check(l, false, 2000));
	assert_int_equal(fake.n_told, 1);
	assert_told(0, GAP_RING, 0, 3, START_NS, 2000);
	assert_non_null(strstr(fake.told[0].reason, "somebody took them"));
	assert_false(losses_check(l, false, 3000));
	losses_free(l);
}

static void lost_records_are_not_stolen(void **state)
{
	struct losses *l = begin();

	(void)state;
	arrive(l, REC_RING_BULK, 1, 1);
	for (uint64_t seq = 5; seq <= 5 + LOSS_WINDOW; seq++)
		arrive(l, REC_RING_BULK, 1, seq);
	fake.now.class[REC_CLASS_FILE_OPEN].lost_ring = 3;
	assert_true(losses_check(l, false, 2000));
	assert_int_equal(fake.n_told, 1);
	assert_told(0, GAP_RING, CLASS_FILE_OPEN, 3, START_NS, 2000);
	losses_free(l);
}

static const struct settle_row {
	const char *name;
	bool drained;
	size_t want;
} settle_rows[] = {
	{ "read empty", true, 1 },
	{ "not read empty", false, 0 },
};

/* Numbers that the kernel gave before the last check have had a whole drain to arrive in. */
static void tail_is_settled_only_after_a_drain(void **state)
{
	const struct settle_row *row = *state;
	struct losses *l = begin();

	arrive(l, REC_RING_CRITICAL, 0, 1);
	fake.numbers[REC_RING_CRITICAL][0] = 4;
	assert_false(losses_check(l, true, 2000));
	assert_int_equal(losses_check(l, row->drained, 3000), row->want > 0);
	assert_int_equal(fake.n_told, row->want);
	if (row->want > 0)
		assert_told(0, GAP_RING, 0, 3, 2000, 3000);
	losses_free(l);
}

static void record_tells_its_lane_how_far_it_is(void **state)
{
	struct losses *l = begin();

	(void)state;
	arrive(l, REC_RING_CRITICAL, 1, 9);
	assert_int_equal(fake.reached_lane, BATCH_LANE_CRITICAL);
	assert_int_equal(fake.reached_sequence, 9);
	arrive(l, REC_RING_BULK, 1, 8);
	assert_int_equal(fake.reached_lane, BATCH_LANE_BULK);
	arrive(l, REC_RING_NONE, 0, 3); /* from no ring */
	arrive(l, REC_RING_BULK, 0, 0); /* without a number */
	assert_int_equal(fake.reached, 2);
	losses_free(l);
}

static void journal_loss_is_told_by_class(void **state)
{
	struct losses *l = begin();

	(void)state;
	fake.has_journal = true;
	fake.journal = (struct sealer_losses){ .from_ns = 1100, .to_ns = 1200, .unknown = true };
	fake.journal.counts[CLASS_EXEC] = 4;
	fake.journal.counts[CLASS_UDP] = 2;
	assert_true(losses_check(l, false, 2000));
	assert_int_equal(fake.n_told, 3);
	assert_told(0, GAP_JOURNAL, CLASS_EXEC < CLASS_UDP ? CLASS_EXEC : CLASS_UDP,
		    CLASS_EXEC < CLASS_UDP ? 4 : 2, 1100, 1200);
	assert_told(2, GAP_JOURNAL, 0, 0, 1100, 1200);
	assert_false(losses_check(l, false, 3000));
	assert_int_equal(fake.n_told, 3);
	losses_free(l);
}

static void unread_batches_are_told_with_lane_and_position(void **state)
{
	struct losses *l = begin();

	(void)state;
	fake.has_journal = true;
	fake.journal = (struct sealer_losses){ .unread = 2,
					       .unread_lane = BATCH_LANE_BULK,
					       .unread_position = 17 };
	assert_true(losses_check(l, false, 2000));
	assert_int_equal(fake.n_told, 1);
	assert_told(0, GAP_JOURNAL, 0, 0, 0, 2000);
	assert_non_null(strstr(fake.told[0].reason, "2 sealed batches"));
	assert_non_null(strstr(fake.told[0].reason, "position 17 of the bulk lane"));
	losses_free(l);
}

static void what_cannot_be_decoded_is_told_once(void **state)
{
	struct losses *l = begin();

	(void)state;
	losses_undecoded(l, "too short", 1500);
	losses_undecoded(l, "too long", 1600);
	assert_true(losses_check(l, false, 2000));
	assert_int_equal(fake.n_told, 1);
	assert_int_equal(fake.told[0].gap.count, 2);
	assert_int_equal(fake.told[0].gap.from_ns, 1500);
	assert_int_equal(fake.told[0].gap.to_ns, 1600);
	assert_false(losses_check(l, false, 3000));
	losses_free(l);
}

static void what_had_no_memory_is_told(void **state)
{
	struct losses *l = begin();

	(void)state;
	assert_false(losses_check(l, false, 2000));
	fake.has_unsaid = true;
	fake.unsaid[CLASS_EXIT] = 6;
	assert_true(losses_check(l, false, 3000));
	assert_int_equal(fake.n_told, 1);
	assert_told(0, GAP_QUEUE, CLASS_EXIT, 6, 2000, 3000);
	losses_free(l);
}

static void counters_add_up(void **state)
{
	struct coverage c = { .n = 4,
			      .row = { { .class = CLASS_TCP },
				       { .class = CLASS_TCP },
				       { .class = CLASS_UDP },
				       { .class = 15 } } };
	struct encode_counters got[4];
	struct losses *l = begin();

	(void)state;
	fake.now.class[REC_CLASS_TCP] = (struct rec_counters){ 10, 1, 2, 4, 2, 1 };
	fake.now.class[REC_CLASS_TCP_ACCEPT] = (struct rec_counters){ 5, 0, 0, 5, 0, 0 };
	fake.now.missed[REC_CLASS_TCP] = 3;
	fake.now.class[REC_CLASS_UDP] = (struct rec_counters){ 8, 0, 8, 0, 0, 0 };
	losses_swept(l, 2);
	losses_filtered(l, CLASS_TCP);
	assert_true(losses_check(l, false, 2000));
	losses_counters(l, &c, got);
	assert_true(got[0].known);
	assert_int_equal(got[0].seen, 10 + 5 + 3);
	assert_int_equal(got[0].filtered, 1 + 1);
	assert_int_equal(got[0].aggregated, 2);
	assert_int_equal(got[0].sent, 4 + 5 - 1);
	assert_int_equal(got[0].lost, 2 + 1 + 3);
	assert_int_equal(got[0].seen,
			 got[0].filtered + got[0].aggregated + got[0].sent + got[0].lost);
	assert_false(got[1].known); /* a class is counted in its first row */
	assert_int_equal(got[1].seen, 0);
	assert_int_equal(got[2].sent, 2);
	assert_int_equal(got[2].seen, 10);
	assert_false(got[3].known); /* the kernel counts no such class */
	losses_free(l);
}

static void a_class_that_is_none_overruns_nothing(void **state)
{
	struct coverage c = { .n = 1, .row = { { .class = UINT32_MAX } } };
	struct encode_counters got[1];
	struct losses *l = begin();

	(void)state;
	losses_filtered(l, UINT32_MAX);
	losses_counters(l, &c, got);
	assert_false(got[0].known);
	losses_free(l);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, kernel_loss_is_told_once_by_class, kernel_rows);
	ADD_TEST(&t, time_is_from_the_start_at_first);
	ADD_TEST(&t, unreadable_counters_hide_no_loss);
	ADD_TEST(&t, stolen_records_are_an_alarm_of_their_own);
	ADD_TEST(&t, lost_records_are_not_stolen);
	ADD_ROWS(&t, tail_is_settled_only_after_a_drain, settle_rows);
	ADD_TEST(&t, record_tells_its_lane_how_far_it_is);
	ADD_TEST(&t, journal_loss_is_told_by_class);
	ADD_TEST(&t, unread_batches_are_told_with_lane_and_position);
	ADD_TEST(&t, what_cannot_be_decoded_is_told_once);
	ADD_TEST(&t, what_had_no_memory_is_told);
	ADD_TEST(&t, counters_add_up);
	ADD_TEST(&t, a_class_that_is_none_overruns_nothing);
	return tests_run(&t, "losses");
}
