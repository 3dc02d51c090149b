/* SPDX-License-Identifier: Apache-2.0 */
/* From events to closed batches and into a journal, without a kernel: what comes out of the journal is what
 * went in, or a loss with its number. */
#include "agent/lanes.h"

#include <stdio.h>
#include <string.h>

#include "proto/actions.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

#define BOOT "bootbootbootboo"
#define AGE_NS 1000

struct world {
	struct sealing s;
	struct sealer *sealer;
	struct enricher enricher;
	struct lanes *lanes;
};

static int fill(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 7, len);
	return 0;
}

static struct journal *open_journal(struct world *w, uint64_t max_bytes)
{
	struct journal_config c = { .max_bytes = max_bytes,
				    .policy = JOURNAL_DROP_NEW,
				    .random = fill };
	struct journal_recovery found;
	struct journal *j = NULL;
	char dir[96];

	(void)snprintf(dir, sizeof(dir), "%s/journal", w->s.dir);
	c.dir = dir;
	assert_int_equal(journal_open(&c, &j, &found, NULL), 0);
	return j;
}

static void begin(struct world *w, uint64_t journal_bytes)
{
	struct sealer_config c = { .tenant = { .len = 7, .b = "default" },
				   .host_id = { .len = 4, .b = "host" },
				   .boot_id = BOOT };
	char key[96];

	*w = (struct world){ .sealer = NULL };
	sealing_begin(&w->s);
	(void)snprintf(key, sizeof(key), "%s/seal.pem", w->s.dir);
	assert_int_equal(seal_key_load(key, &c.key, NULL), 0);
	c.journal = open_journal(w, journal_bytes);
	assert_int_equal(sealer_start(&c, &w->sealer, NULL), 0);
	assert_int_equal(lanes_new(&(struct lanes_config){ .enricher = &w->enricher,
							   .sealer = w->sealer,
							   .n_cpu = 2,
							   .next_sequence = { 1, 1, 1 },
							   .max_age_ns = AGE_NS },
				   &w->lanes, NULL),
			 0);
}

/* Stop, and look at where a lane's chain stands. */
static struct journal_tail finish(struct world *w, enum batch_lane lane)
{
	struct journal_tail tail;

	sealer_stop(w->sealer);
	lanes_free(w->lanes);
	struct journal *j = open_journal(w, MiB(4));

	journal_tail(j, lane, &tail);
	journal_close(j);
	sealing_end(&w->s);
	return tail;
}

static void say(struct world *w, uint32_t class, uint64_t now_ns)
{
	struct event ev = { .action = ACTION_UNLINK, .class = class, .boottime_ns = now_ns };

	lanes_event(w->lanes, &ev, NULL, now_ns);
}

static const struct lane_row {
	const char *name;
	uint32_t class;
	enum batch_lane lane, other;
} lane_rows[] = {
	{ "exec", CLASS_EXEC, BATCH_LANE_CRITICAL, BATCH_LANE_BULK },
	{ "agent", CLASS_AGENT, BATCH_LANE_CRITICAL, BATCH_LANE_BULK },
	{ "file", CLASS_FILE_CHANGE, BATCH_LANE_BULK, BATCH_LANE_CRITICAL },
	{ "TCP", CLASS_TCP, BATCH_LANE_BULK, BATCH_LANE_CRITICAL },
};

static void puts_each_class_into_its_lane(void **state)
{
	const struct lane_row *row = *state;
	struct world w;

	begin(&w, MiB(4));
	say(&w, row->class, 5);
	lanes_flush(w.lanes, 9);
	struct journal_tail tail = finish(&w, row->lane);

	assert_int_equal(tail.last_sequence, 1);
	assert_int_equal(tail.watermark_ns, 9);
	begin(&w, MiB(4));
	say(&w, row->class, 5);
	lanes_flush(w.lanes, 9);
	tail = finish(&w, row->other);
	assert_int_equal(tail.last_sequence, 0);
}

static const struct tick_row {
	const char *name;
	uint32_t events;
	uint64_t after_ns; /* the tick comes */
	uint64_t want_batches;
} tick_rows[] = {
	{ "too young", 3, AGE_NS - 1, 0 },
	{ "old enough", 3, AGE_NS, 1 },
	{ "full before the tick", BATCH_EVENTS_CLOSE, 0, 1 },
	{ "one more than full", BATCH_EVENTS_CLOSE + 1, 0, 1 },
	{ "twice full", 2 * BATCH_EVENTS_CLOSE, 0, 2 },
};

static void closes_what_is_due(void **state)
{
	const struct tick_row *row = *state;
	struct world w;

	begin(&w, MiB(4));
	for (uint32_t i = 0; i < row->events; i++)
		say(&w, CLASS_TCP, 10);
	lanes_tick(w.lanes, 5, false, 10 + row->after_ns);
	struct journal_tail tail = finish(&w, BATCH_LANE_BULK);

	assert_int_equal(tail.has_hash ? tail.number : 0, row->want_batches);
}

/* What was lost, once the seal thread has dealt with all that was put; adds to sum. */
static bool take(struct world *w, struct sealer_losses *ret)
{
	bool any = false;

	for (int i = 0; i < 300 && !any; i++) {
		any = sealer_take_losses(w->sealer, ret);
		if (!any)
			(void)usleep(10000);
	}
	return any;
}

/* Until not even a batch of one entry fits. */
static void fill_journal(struct world *w)
{
	static uint8_t noise[KiB(48)];
	struct sealer_losses lost;
	uint32_t sequence = 1;
	uint32_t state = 1; /* of a linear congruential generator: noise does not compress */

	for (size_t i = 0; i < sizeof(noise); i++) {
		state = state * 1664525 + 1013904223;
		noise[i] = (uint8_t)(state >> 24);
	}
	for (uint32_t n = sizeof(noise) / 128; n > 0; n /= 4) {
		bool full = false;

		for (int k = 0; k < 200 && !full; k++) {
			struct batch_closed *b = calloc(1, sizeof(*b));

			assert_non_null(b);
			b->raw = malloc(n * 128U);
			assert_non_null(b->raw);
			memcpy(b->raw, noise, n * 128U);
			for (uint32_t e = 0; e < n; e++)
				b->raw[e * 128U] = 127; /* an entry's length */
			b->raw_len = n * 128U;
			b->lane = BATCH_LANE_BULK;
			b->count = b->entries = n;
			b->counts[CLASS_TCP] = n;
			b->first_sequence = sequence;
			sequence += n;
			b->last_sequence = sequence - 1;
			b->first_boottime_ns = b->last_boottime_ns = 1;
			sealer_put(w->sealer, b);
			(void)usleep(1000);
			full = sealer_take_losses(w->sealer, &lost);
		}
		(void)usleep(200000);
		(void)!sealer_take_losses(w->sealer, &lost);
	}
}

/* A full journal: what gap events told is told again when they are lost. */
static void keeps_what_lost_gaps_told(void **state)
{
	struct event_gap gap = {
		.class = CLASS_TCP, .has_count = true, .count = 5000, .from_ns = 3, .to_ns = 4
	};
	struct sealer_losses lost;
	struct world w;

	(void)state;
	begin(&w, MiB(1));
	fill_journal(&w);
	lanes_gap(w.lanes, &gap, 10);
	lanes_flush(w.lanes, 20);
	assert_true(take(&w, &lost));
	assert_int_equal(lost.counts[CLASS_TCP], 5000);
	assert_int_equal(lost.counts[CLASS_AGENT], 0);
	assert_false(lost.unknown);
	gap.has_count = false;
	lanes_gap(w.lanes, &gap, 30);
	lanes_flush(w.lanes, 40);
	assert_true(take(&w, &lost));
	assert_true(lost.unknown);
	assert_int_equal(lost.counts[CLASS_TCP], 0);
	assert_int_equal(lost.from_ns, 3);
	(void)finish(&w, BATCH_LANE_CRITICAL);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, keeps_what_lost_gaps_told);
	ADD_ROWS(&t, puts_each_class_into_its_lane, lane_rows);
	ADD_ROWS(&t, closes_what_is_due, tick_rows);
	return tests_run(&t, "lanes");
}
