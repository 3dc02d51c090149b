/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/journal_frame.h"
#include "proto/base/files.h"
#include "tests/unit/journal_world.h"
#include "tests/unit/rows.h"

/* ---- failures ---- */

static void second_agent_is_refused(void **state)
{
	static struct journal_world w;
	struct journal_recovery rec;
	struct journal *second = NULL;

	(void)state;
	journal_world_begin(&w);
	assert_int_equal(journal_open(&w.c, &second, &rec, &w.e), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(w.e.hint, "another agent"));
	journal_world_end(&w);
}

static void batch_out_of_order_is_refused(void **state)
{
	static struct journal_world w;
	struct seal_hash hash;
	struct batch_header h;
	uint64_t counts[16] = { 0 };

	(void)state;
	journal_world_begin(&w);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_BULK, 5, &hash), 0);
	sealing_header(&h, BATCH_LANE_BULK, 1, 0);
	memcpy(h.epoch, journal_epoch(w.j), sizeof(h.epoch));
	assert_int_equal(journal_append(w.j, &h, &hash, counts, "x", 1, &w.e),
			 -ESTALE); /* follows nothing */
	h.has_previous = true;
	h.previous = hash;
	h.epoch[0] ^= 1;
	assert_int_equal(journal_append(w.j, &h, &hash, counts, "x", 1, &w.e),
			 -ESTALE); /* another epoch */
	journal_world_assert_range(&w, BATCH_LANE_BULK, 1, 1);
	journal_world_end(&w);
}

static void false_acknowledgement_is_ignored(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3];

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 3, hashes);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 2, &hashes[0], NULL), -ENOENT);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 4, &hashes[2], NULL), -ENOENT);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_BULK, 1, &hashes[0], NULL), -ENOENT);
	journal_world_assert_range(&w, BATCH_LANE_CRITICAL, 1, 3);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 2, &hashes[1], NULL), 0);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 1, &hashes[0], NULL),
			 -ENOENT); /* stale */
	journal_world_assert_range(&w, BATCH_LANE_CRITICAL, 3, 3);
	journal_world_end(&w);
}

static void full_journal_that_drops_new_says_so(void **state)
{
	static struct journal_world w;
	struct batch_tombstone t = { .dropped = w.dropped };
	struct seal_hash hash;
	int r;

	(void)state;
	journal_world_begin(&w);
	w.c.policy = JOURNAL_DROP_NEW;
	journal_world_reopen(&w);
	while ((r = journal_world_append(&w, BATCH_LANE_BULK, 400, &hash)) == 0)
		;
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(journal_must_drop(w.j, BATCH_LANE_CRITICAL, 10000, &t, BATCH_DROPPED_MAX),
			 0);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 400, &hash), -ENOSPC);
	journal_world_end(&w);
}

static const struct damage_row {
	const char *name;
	const char *file; /* of ten frames in two files and more */
	off_t at;
	bool new_epoch;
	uint64_t torn, damaged; /* at least */
	size_t frames; /* that can still be read, of the 20 */
} damage_rows[] = {
	{ "epoch file", "epoch", 20, true, 0, 0, 20 },
	{ "file header", "critical-0000000000000001.jrn", 20, false, 0, 1, 20 },
	{ "frame header in the middle", "critical-0000000000000001.jrn",
	  JOURNAL_FILE_HEADER_LEN + 10, true, 0, 1, 19 },
	{ "frame body in the middle", "critical-0000000000000001.jrn",
	  JOURNAL_FILE_HEADER_LEN + 500, true, 0, 1, 19 },
	{ "end of an older file", "critical-0000000000000001.jrn", -1, true, 0, 1, 19 },
	{ "end of the newest file", "critical-0000000000000002.jrn", -1, true, 0, 1, 19 },
	{ "marks", "marks", 3, false, 0, 0, 20 },
};

static void flipped_bit_costs_one_frame(void **state)
{
	const struct damage_row *row = *state;
	static struct journal_world w;
	struct seal_hash hashes[20], hash;
	struct journal_tail tail;

	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 20, hashes);
	assert_true(journal_world_exists(&w, "critical-0000000000000002.jrn"));
	assert_false(journal_world_exists(&w, "critical-0000000000000003.jrn"));
	journal_close(w.j);
	w.j = NULL;
	journal_world_flip(&w, row->file, row->at);
	journal_world_reopen(&w);
	assert_int_equal(w.rec.new_epoch, row->new_epoch);
	assert_true(w.rec.torn_bytes >= row->torn && w.rec.damaged_files >= row->damaged);
	assert_int_equal(journal_world_readable(&w, BATCH_LANE_CRITICAL), row->frames);
	journal_tail(w.j, BATCH_LANE_CRITICAL, &tail);
	assert_int_equal(tail.has_hash, !row->new_epoch);
	/* It goes on, also after the next start. */
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	journal_tail(w.j, BATCH_LANE_CRITICAL, &tail);
	assert_memory_equal(&tail.hash, &hash, sizeof(hash));
	journal_world_end(&w);
}

static void frame_changed_while_running_begins_a_new_epoch(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3], hash;
	enum journal_kind kind;
	const uint8_t *bytes;
	uint8_t before[BATCH_EPOCH_LEN];
	size_t len;

	(void)state;
	journal_world_begin(&w);
	memcpy(before, journal_epoch(w.j), sizeof(before));
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 3, hashes);
	journal_world_flip(&w, "critical-0000000000000001.jrn", JOURNAL_FILE_HEADER_LEN + 300);
	assert_int_equal(journal_read(w.j, BATCH_LANE_CRITICAL, 1, &kind, &bytes, &len, &w.e),
			 -EBADMSG);
	assert_int_equal(journal_next(w.j, BATCH_LANE_CRITICAL, 1), 2);
	assert_memory_not_equal(journal_epoch(w.j), before, sizeof(before));
	journal_world_assert_frame(&w, BATCH_LANE_CRITICAL, 2, &hashes[1]);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
	/* An acknowledgement in the new epoch releases what came before; the damaged file is kept. */
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 4, &hash, NULL), 0);
	for (int i = 0; i < 70; i++)
		assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 74, &hash, NULL), 0);
	assert_true(journal_world_exists(&w, "critical-0000000000000001.jrn.damaged"));
	journal_world_end(&w);
}

/* ---- what works ---- */

static void tail_and_frames_survive_a_restart(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[20], idle;
	struct journal_tail tail;

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 20, hashes);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 0, &idle),
			 0); /* sealed while idle */
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(w.rec.torn_bytes + w.rec.damaged_files, 0);
	journal_world_assert_range(&w, BATCH_LANE_CRITICAL, 1, 21);
	journal_world_assert_range(&w, BATCH_LANE_BULK, 1, 0);
	for (uint64_t i = 0; i < 20; i++)
		journal_world_assert_frame(&w, BATCH_LANE_CRITICAL, i + 1, &hashes[i]);
	journal_tail(w.j, BATCH_LANE_CRITICAL, &tail);
	assert_memory_equal(&tail.hash, &idle, sizeof(idle));
	assert_int_equal(tail.number, 21);
	assert_int_equal(tail.last_sequence,
			 1000); /* an empty batch does not begin the sequence anew */
	assert_int_equal(tail.watermark_ns, 250);
	journal_world_end(&w);
}

static void deleted_journal_begins_a_new_epoch(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3];
	char moved[128];

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 3, hashes);
	journal_close(w.j);
	w.j = NULL;
	(void)snprintf(moved, sizeof(moved), "%s.gone", w.dir);
	assert_int_equal(rename(w.dir, moved), 0);
	journal_world_reopen(&w);
	assert_true(w.rec.new_epoch);
	assert_int_equal(journal_epoch(w.j)[0], 2);
	journal_world_assert_range(&w, BATCH_LANE_CRITICAL, 1, 0);
	journal_world_end(&w);
}

static void acknowledged_files_go_and_the_last_frames_stay(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[100];
	struct journal_stats stats;

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_BULK, 100, hashes);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_BULK, 100, &hashes[99], NULL), 0);
	journal_world_assert_range(&w, BATCH_LANE_BULK, 101, 100);
	assert_false(journal_world_exists(&w, "bulk-0000000000000001.jrn"));
	journal_stats(w.j, BATCH_LANE_BULK, &stats);
	assert_int_equal(stats.unacknowledged, 0);
	assert_true(stats.frames >= JOURNAL_KEEP && stats.frames < 100);
	journal_world_assert_frame(&w, BATCH_LANE_BULK, 100 - JOURNAL_KEEP + 1,
				   &hashes[100 - JOURNAL_KEEP]);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	journal_world_assert_range(&w, BATCH_LANE_BULK, 101, 100);
	journal_world_end(&w);
}

static size_t make_room(struct journal_world *w, enum batch_lane lane, size_t len)
{
	struct batch_tombstone t = { .dropped = w->dropped };
	const uint8_t *bytes;
	size_t n, all = 0, bytes_len;

	while ((n = journal_must_drop(w->j, lane, len, &t, BATCH_DROPPED_MAX)) > 0) {
		arena_reset(w->s.arena);
		t.reason = "journal full";
		assert_int_equal(batch_seal_tombstone(w->s.key, &t, w->s.arena, &bytes, &bytes_len,
						      &w->e),
				 0);
		assert_int_equal(t.lane, BATCH_LANE_BULK);
		assert_int_equal(t.offset_ns, 1700000000000000000 - 300);
		assert_int_equal(journal_drop(w->j, n + 1, bytes, bytes_len, NULL), -EINVAL);
		assert_int_equal(journal_drop(w->j, n, bytes, bytes_len, NULL), 0);
		assert_int_equal(journal_drop(w->j, n, bytes, bytes_len, NULL), -EINVAL); /* once */
		all += n;
	}
	return all;
}

static void critical_takes_from_bulk_under_a_tombstone(void **state)
{
	static struct journal_world w;
	struct journal_stats stats;
	struct seal_hash first, hash;
	enum journal_kind kind;
	struct batch_tombstone t;
	const uint8_t *bytes;
	uint64_t from, last, bulk = 1;
	size_t len, dropped = 0;

	(void)state;
	journal_world_begin(&w);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_BULK, 200, &first), 0);
	while (journal_world_append(&w, BATCH_LANE_BULK, 200, &hash) == 0)
		bulk++;
	for (int i = 0; i < 10; i++) {
		dropped += make_room(&w, BATCH_LANE_CRITICAL, 10000);
		assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 200, &hash), 0);
	}
	assert_true(dropped > 0 && dropped < bulk);
	for (int round = 0; round < 2; round++) {
		journal_range(w.j, BATCH_LANE_BULK, &from, &last);
		assert_int_equal(last, bulk);
		assert_int_equal(
			journal_read(w.j, BATCH_LANE_BULK, from, &kind, &bytes, &len, NULL), 0);
		assert_int_equal(kind, JOURNAL_TOMBSTONE);
		arena_reset(w.s.arena);
		assert_int_equal(
			batch_open_tombstone(bytes, len, w.s.verifier, w.s.arena, &t, NULL), 0);
		assert_memory_equal(&t.dropped[0].header_hash, &first, sizeof(first));
		assert_int_equal(t.dropped[0].counts[4], 200);
		assert_int_equal(from, t.n_dropped); /* it stands where the last of them stood */
		assert_int_equal(journal_read(w.j, BATCH_LANE_BULK, 1, &kind, &bytes, &len, NULL),
				 from == 1 ? 0 : -ENOENT);
		journal_stats(w.j, BATCH_LANE_BULK, &stats);
		assert_int_equal(stats.dropped_frames, round == 0 ? dropped : 0);
		journal_world_reopen(&w);
		assert_false(w.rec.new_epoch);
	}
	/* Acknowledged by the last dropped hash. */
	assert_int_equal(journal_ack(w.j, BATCH_LANE_BULK, from,
				     &t.dropped[t.n_dropped - 1].header_hash, NULL),
			 0);
	journal_world_end(&w);
}

static void budget_holds_on_disk(void **state)
{
	static struct journal_world w;
	struct journal_stats critical, bulk;
	struct seal_hash hash;

	(void)state;
	journal_world_begin(&w);
	for (int i = 0; i < 250; i++) {
		(void)make_room(&w, BATCH_LANE_BULK, 10000);
		assert_int_equal(journal_world_append(&w, BATCH_LANE_BULK, 200, &hash), 0);
		journal_stats(w.j, BATCH_LANE_CRITICAL, &critical);
		journal_stats(w.j, BATCH_LANE_BULK, &bulk);
		assert_true(critical.bytes + bulk.bytes <= JOURNAL_WORLD_BUDGET);
	}
	journal_world_end(&w);
}

static void old_copy_continues_an_old_number(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3], again;
	struct journal_tail tail;
	char command[2][128];

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 2, hashes);
	journal_close(w.j);
	w.j = NULL;
	(void)snprintf(command[0], sizeof(command[0]), "%s/critical-0000000000000001.jrn", w.dir);
	(void)snprintf(command[1], sizeof(command[1]), "%s/copy", w.s.dir);
	assert_int_equal(rename(command[0], command[1]), 0); /* a copy for later */
	assert_int_equal(link(command[1], command[0]), 0);
	journal_world_reopen(&w);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hashes[2]), 0);
	journal_close(w.j);
	w.j = NULL;
	assert_int_equal(unlink(journal_world_path(&w, "critical-0000000000000002.jrn")),
			 0); /* as the copy had it, */
	assert_int_equal(unlink(journal_world_path(&w, "marks")), 0); /* and no later mark */
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &again), 0);
	journal_tail(w.j, BATCH_LANE_CRITICAL, &tail);
	assert_int_equal(tail.number,
			 3); /* taken already, with another hash: the collector's conflict */
	assert_memory_not_equal(&again, &hashes[2], sizeof(again));
	journal_world_end(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, second_agent_is_refused);
	ADD_TEST(&t, batch_out_of_order_is_refused);
	ADD_TEST(&t, false_acknowledgement_is_ignored);
	ADD_TEST(&t, full_journal_that_drops_new_says_so);
	ADD_ROWS(&t, flipped_bit_costs_one_frame, damage_rows);
	ADD_TEST(&t, frame_changed_while_running_begins_a_new_epoch);
	ADD_TEST(&t, tail_and_frames_survive_a_restart);
	ADD_TEST(&t, deleted_journal_begins_a_new_epoch);
	ADD_TEST(&t, acknowledged_files_go_and_the_last_frames_stay);
	ADD_TEST(&t, critical_takes_from_bulk_under_a_tombstone);
	ADD_TEST(&t, budget_holds_on_disk);
	ADD_TEST(&t, old_copy_continues_an_old_number);
	return tests_run(&t, "journal");
}
