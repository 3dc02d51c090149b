/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

struct world {
	struct sealing s;
	struct batch_tombstone t;
	struct batch_dropped dropped[3];
	struct batch_idle idle;
	struct error e;
};

static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	sealing_begin(&w->s);
	w->t = (struct batch_tombstone){
		.tenant = { .len = 1, .b = "t" },
		.host_id = { .len = 1, .b = "h" },
		.boot_id = "bootbootbootboo",
		.epoch = "epochepochepoch",
		.lane = BATCH_LANE_BULK,
		.wall_ns = 1700000000000000000,
		.offset_ns = -5,
		.boottime_ns = 99,
		.reason = "journal full",
		.n_dropped = 3,
		.dropped = w->dropped,
	};
	for (uint64_t i = 0; i < 3; i++) {
		w->dropped[i] = (struct batch_dropped){
			.number = 7 + i,
			.first_sequence = 1 + 10 * i,
			.last_sequence = 10 + 10 * i,
			.first_boottime_ns = i,
			.last_boottime_ns = i + 1,
			.has_previous = true,
			.counts = { [4] = 6, [8] = 4 },
		};
		w->dropped[i].header_hash.b[0] = (uint8_t)(i + 1);
		w->dropped[i].previous.b[0] = (uint8_t)i;
	}
	w->idle = (struct batch_idle){
		.tenant = { .len = 1, .b = "t" },
		.host_id = { .len = 1, .b = "h" },
		.boot_id = "bootbootbootboo",
		.epoch = "epochepochepoch",
		.lane = BATCH_LANE_CRITICAL,
		.number = 3,
		.watermark_ns = 5,
		.boottime_ns = 6,
		.wall_ns = -7,
		.synchronised = true,
		.has_hash = true,
		.header_hash = { .b = { 9 } },
	};
}

static void no_number(struct world *w)
{
	w->dropped[0].number = 0;
}
static void a_hole(struct world *w)
{
	w->dropped[2].number++;
}
static void a_broken_chain(struct world *w)
{
	w->dropped[1].previous.b[5] ^= 1;
}
static void no_previous(struct world *w)
{
	w->dropped[0].has_previous = false;
}
static void sequences_backwards(struct world *w)
{
	w->dropped[1].last_sequence = 2;
}
static void half_a_sequence(struct world *w)
{
	w->dropped[1].first_sequence = 0;
}
static void too_many_counted(struct world *w)
{
	w->dropped[1].counts[1] = 1;
}
static void times_backwards(struct world *w)
{
	w->dropped[1].first_boottime_ns = 100;
}
static void none_dropped(struct world *w)
{
	w->t.n_dropped = 0;
}
static void lane_3(struct world *w)
{
	w->t.lane = 3;
}
static void no_host(struct world *w)
{
	w->t.host_id.len = 0;
}
static void far_offset(struct world *w)
{
	w->t.offset_ns = INT64_MAX;
}

static const struct tombstone_row {
	const char *name;
	void (*spoil)(struct world *w);
	const char *says;
} tombstone_rows[] = {
	{ "no number", no_number, "number 0" },
	{ "a hole", a_hole, "does not continue" },
	{ "a broken chain", a_broken_chain, "does not continue" },
	{ "no previous", no_previous, "without a previous" },
	{ "sequences backwards", sequences_backwards, "false sequences" },
	{ "half a sequence", half_a_sequence, "false sequences" },
	{ "more counted than sequences", too_many_counted, "counts more" },
	{ "times backwards", times_backwards, "false times" },
	{ "none dropped", none_dropped, "from 1 to 1024" },
	{ "lane 3", lane_3, "lane 3" },
	{ "no host", no_host, "host_id is empty" },
	{ "offset beyond 2^62", far_offset, "out of range" },
};

static void tombstone_is_refused(void **state)
{
	const struct tombstone_row *row = *state;
	static struct world w;
	const uint8_t *bytes;
	size_t len;

	begin(&w);
	row->spoil(&w);
	assert_int_equal(batch_seal_tombstone(w.s.key, &w.t, w.s.arena, &bytes, &len, &w.e),
			 -EINVAL);
	assert_non_null(strstr(w.e.text, row->says));
	sealing_end(&w.s);
}

static void tombstone_comes_back_as_it_went(void **state)
{
	static struct world w;
	struct batch_tombstone t;
	const uint8_t *bytes;
	size_t len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal_tombstone(w.s.key, &w.t, w.s.arena, &bytes, &len, NULL), 0);
	assert_int_equal(batch_open_tombstone(bytes, len, w.s.verifier, w.s.arena, &t, NULL), 0);
	assert_string_equal(t.reason, "journal full");
	assert_memory_equal(t.dropped, w.dropped, sizeof(w.dropped));
	t.reason = w.t.reason;
	t.dropped = w.dropped;
	assert_int_not_equal(t.key_id[0], 0);
	memcpy(w.t.key_id, t.key_id, sizeof(t.key_id)); /* the sealer's */
	assert_memory_equal(&t, &w.t, sizeof(t));
	sealing_end(&w.s);
}

static void idle_comes_back_as_it_went(void **state)
{
	static struct world w;
	struct batch_idle idle;
	const uint8_t *bytes;
	size_t len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal_idle(w.s.key, &w.idle, w.s.arena, &bytes, &len, NULL), 0);
	assert_int_equal(batch_open_idle(bytes, len, w.s.verifier, w.s.arena, &idle, NULL), 0);
	assert_int_not_equal(idle.key_id[0], 0);
	memcpy(w.idle.key_id, idle.key_id, sizeof(idle.key_id)); /* the sealer's */
	assert_memory_equal(&idle, &w.idle, sizeof(idle));
	w.idle.has_hash = false;
	assert_int_equal(batch_seal_idle(w.s.key, &w.idle, w.s.arena, &bytes, &len, &w.e), -EINVAL);
	sealing_end(&w.s);
}

/* Neither message passes for the other, and no bit can change. */
static void every_flipped_bit_is_found(void **state)
{
	static struct world w;
	const uint8_t *bytes;
	uint8_t copy[KiB(4)];
	struct batch_tombstone t;
	struct batch_idle idle;
	size_t len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal_tombstone(w.s.key, &w.t, w.s.arena, &bytes, &len, NULL), 0);
	assert_true(len < sizeof(copy));
	memcpy(copy, bytes, len);
	assert_int_equal(batch_open_idle(copy, len, w.s.verifier, w.s.arena, &idle, NULL),
			 -EBADMSG);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		arena_reset(w.s.arena);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(batch_open_tombstone(copy, len, w.s.verifier, w.s.arena, &t, NULL),
				 -EBADMSG);
		/* Unsigned it may say anything, as long as it is in range. */
		(void)!batch_open_tombstone(copy, len, NULL, w.s.arena, &t, NULL);
		copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(batch_open_tombstone(copy, len, w.s.verifier, w.s.arena, &t, NULL), 0);
	assert_int_equal(batch_open_tombstone(copy, len - 1, NULL, w.s.arena, &t, NULL), -EBADMSG);
	assert_int_equal(batch_open_tombstone(copy, 0, NULL, w.s.arena, &t, NULL), -EBADMSG);
	sealing_end(&w.s);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, tombstone_is_refused, tombstone_rows);
	ADD_TEST(&t, every_flipped_bit_is_found);
	ADD_TEST(&t, tombstone_comes_back_as_it_went);
	ADD_TEST(&t, idle_comes_back_as_it_went);
	return tests_run(&t, "batch_tombstone");
}
