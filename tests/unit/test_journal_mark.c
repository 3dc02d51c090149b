/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal_mark.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "proto/base/writer.h"
#include "tests/unit/journal_world.h"
#include "tests/unit/rows.h"

/* ---- the marks as bytes ---- */

static void slot(uint8_t out[static JOURNAL_MARK_LEN], uint64_t file, uint64_t length,
		 uint64_t position, uint32_t lane)
{
	struct writer w = writer_init(out, JOURNAL_MARK_LEN);

	writer_u64(&w, file);
	writer_u64(&w, length);
	writer_u64(&w, position);
	writer_u32(&w, lane);
	writer_u32(&w, (uint32_t)crc32(0, out, JOURNAL_MARK_LEN - 4));
}

static const struct slot_row {
	const char *name;
	struct journal_mark written[2]; /* of the critical lane */
	size_t len; /* of what is read; 0: all */
	int flip; /* a byte; -1: none */
	uint32_t lane; /* that the slots say; 0: the right one */
	struct journal_mark want;
} slot_rows[] = {
	{ "nothing", { { 0 } }, 1, -1, 0, { 0 } },
	{ "cut within the first", { { 3, 900, 7 }, { 0 } }, 31, -1, 0, { 0 } },
	{ "the other lane's", { { 3, 900, 7 }, { 3, 800, 6 } }, 0, -1, 2, { 0 } },
	{ "a position beyond all", { { 3, 900, 1ull << 62 }, { 0 } }, 0, -1, 0, { 0 } },
	{ "both torn are none", { { 3, 900, 7 }, { 0 } }, 0, 5, 0, { 0 } },
	{ "the newer is torn", { { 3, 900, 7 }, { 3, 800, 6 } }, 0, 9, 0, { 3, 800, 6 } },
	{ "the older is torn", { { 3, 900, 7 }, { 3, 800, 6 } }, 0, 40, 0, { 3, 900, 7 } },
	{ "the second is newer", { { 3, 900, 7 }, { 4, 100, 8 } }, 0, -1, 0, { 4, 100, 8 } },
};

static void newest_whole_slot_is_taken(void **state)
{
	const struct slot_row *row = *state;
	uint8_t bytes[JOURNAL_MARKS_LEN] = { 0 };
	struct journal_mark found[BATCH_LANES];

	for (size_t i = 0; i < 2; i++)
		slot(bytes + i * JOURNAL_MARK_LEN, row->written[i].file, row->written[i].length,
		     row->written[i].position, row->lane ? row->lane : 1);
	if (row->flip >= 0)
		bytes[row->flip] ^= 4;
	journal_marks_read(bytes, row->len ? row->len : sizeof(bytes), found);
	assert_memory_equal(&found[0], &row->want, sizeof(row->want));
	assert_int_equal(found[1].file, 0);
}

/* ---- what was durable and is not there ---- */

#define NEWEST "critical-0000000000000001.jrn"

/* Two frames and a newest one, which lies from *ret_from to *ret_to; closed. */
static void begin_with_newest(struct journal_world *w, off_t *ret_from, off_t *ret_to)
{
	struct seal_hash hashes[2], hash;

	journal_world_begin(w);
	journal_world_append_many(w, BATCH_LANE_CRITICAL, 2, hashes);
	*ret_from = journal_world_size(w, NEWEST);
	assert_int_equal(journal_world_append(w, BATCH_LANE_CRITICAL, 3, &hash), 0);
	*ret_to = journal_world_size(w, NEWEST);
	journal_world_close(w);
}

/* Every byte of the newest frame, its header and its body: none of them is taken for a torn write. */
static void any_bit_of_the_newest_frame_counts(void **state)
{
	static struct journal_world w;
	off_t from, to;

	(void)state;
	begin_with_newest(&w, &from, &to);
	for (off_t at = from; at < to; at++) {
		journal_world_flip(&w, NEWEST, at);
		journal_world_reopen(&w);
		if (!w.rec.new_epoch || w.rec.torn_bytes != 0 || w.rec.damaged_files != 1 ||
		    w.rec.lost_frames != 1 || journal_world_size(&w, NEWEST) != to)
			fail_msg("byte %ld: torn %lu damaged %lu lost %lu", (long)at,
				 (unsigned long)w.rec.torn_bytes,
				 (unsigned long)w.rec.damaged_files,
				 (unsigned long)w.rec.lost_frames);
		assert_int_equal(journal_world_readable(&w, BATCH_LANE_CRITICAL), 2);
		journal_world_assert_range(&w, BATCH_LANE_CRITICAL, 1, 3);
		journal_world_end(&w);
		begin_with_newest(&w, &from, &to);
	}
	journal_world_reopen(&w);
	journal_world_end(&w);
}

/* It is counted as lost once, and the bytes stay for whoever looks into them. */
static void damaged_end_is_told_once_and_kept(void **state)
{
	static struct journal_world w;
	struct seal_hash hash;
	off_t from, to;

	(void)state;
	begin_with_newest(&w, &from, &to);
	journal_world_flip(&w, NEWEST, from + 3);
	journal_world_reopen(&w);
	assert_int_equal(w.rec.lost_frames, 1);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(w.rec.lost_frames, 0);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
	journal_world_assert_frame(&w, BATCH_LANE_CRITICAL, 4, &hash);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(w.rec.damaged_files, 1);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 4, &hash, NULL), 0);
	for (int i = 0; i < 70; i++)
		assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 0, &hash), 0);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 74, &hash, NULL), 0);
	assert_int_equal(journal_world_size(&w, NEWEST ".damaged"), to);
	journal_world_end(&w);
}

static const struct end_row {
	const char *name;
	size_t frames; /* durable, in one file */
	off_t size; /* the file afterwards; below 0: so much less than it was */
	bool gone; /* the file itself */
	bool keep_marks;
	uint64_t torn, damaged, lost;
	bool new_epoch;
} end_rows[] = {
	{ "the newest frame is cut off", 3, -200, false, true, 0, 1, 1, true },
	{ "two frames are cut off", 3, JOURNAL_FILE_HEADER_LEN + 2000, false, true, 0, 1, 2, true },
	{ "nothing but the file's header is left", 2, JOURNAL_FILE_HEADER_LEN, false, true,
	  JOURNAL_FILE_HEADER_LEN, 0, 2, true },
	{ "the first frame is cut", 1, JOURNAL_FILE_HEADER_LEN + 300, false, true, 0, 1, 1, true },
	{ "the newest file is gone", 3, 0, true, true, 0, 0, 3, true },
	/* Without marks nobody can tell it from a write that was under way. */
	{ "the newest frame is cut off, without marks", 3, -200, false, false, 1, 0, 0, false },
};

static void missing_end_is_lost_not_torn(void **state)
{
	const struct end_row *row = *state;
	static struct journal_world w;
	struct seal_hash hashes[3], hash;
	off_t size;

	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, row->frames, hashes);
	journal_world_close(&w);
	size = row->size < 0 ? journal_world_size(&w, NEWEST) + row->size : row->size;
	if (row->gone)
		assert_int_equal(unlink(journal_world_path(&w, NEWEST)), 0);
	else
		assert_int_equal(truncate(journal_world_path(&w, NEWEST), size), 0);
	if (!row->keep_marks)
		assert_int_equal(unlink(journal_world_path(&w, "marks")), 0);
	journal_world_reopen(&w);
	assert_int_equal(w.rec.new_epoch, row->new_epoch);
	assert_true(row->torn ? w.rec.torn_bytes >= row->torn : w.rec.torn_bytes == 0);
	assert_int_equal(w.rec.damaged_files, row->damaged);
	assert_int_equal(w.rec.lost_frames, row->lost);
	/* Told once, and it goes on. */
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(w.rec.lost_frames, 0);
	assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	journal_world_end(&w);
}

/* The newest of two files: gone as a whole, or without one good frame. */
static void newest_of_two_files_is_lost(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[20], hash;
	uint64_t first, last;

	(void)state;
	for (int empty = 0; empty < 2; empty++) {
		const char *const second = "critical-0000000000000002.jrn";
		size_t left;

		journal_world_begin(&w);
		journal_world_append_many(&w, BATCH_LANE_CRITICAL, 20, hashes);
		assert_true(journal_world_exists(&w, second));
		journal_world_close(&w);
		if (empty)
			assert_int_equal(truncate(journal_world_path(&w, second),
						  JOURNAL_FILE_HEADER_LEN + 300),
					 0);
		else
			assert_int_equal(unlink(journal_world_path(&w, second)), 0);
		journal_world_reopen(&w);
		assert_true(w.rec.new_epoch);
		left = journal_world_readable(&w, BATCH_LANE_CRITICAL);
		assert_in_range(left, 1, 19);
		assert_int_equal(w.rec.lost_frames, 20 - left);
		assert_int_equal(w.rec.damaged_files, empty);
		assert_int_equal(w.rec.torn_bytes, 0);
		/* Told once, and it goes on, whether or not something was appended meanwhile. */
		journal_world_reopen(&w);
		assert_false(w.rec.new_epoch);
		assert_int_equal(journal_world_append(&w, BATCH_LANE_CRITICAL, 5, &hash), 0);
		journal_world_reopen(&w);
		assert_false(w.rec.new_epoch);
		journal_range(w.j, BATCH_LANE_CRITICAL, &first, &last);
		assert_int_equal(last, left + 1);
		journal_world_assert_frame(&w, BATCH_LANE_CRITICAL, last, &hash);
		journal_world_end(&w);
	}
}

/* What was never synced is cut as before: bytes behind what the mark says. */
static void torn_write_is_no_loss(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3];
	off_t size;
	int fd;

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 3, hashes);
	journal_world_close(&w);
	size = journal_world_size(&w, NEWEST);
	fd = open(journal_world_path(&w, NEWEST), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "EXJF and then the power went", 28), 28);
	(void)close(fd);
	journal_world_reopen(&w);
	assert_false(w.rec.new_epoch);
	assert_int_equal(w.rec.torn_bytes, 28);
	assert_int_equal(w.rec.damaged_files + w.rec.lost_frames, 0);
	assert_int_equal(journal_world_size(&w, NEWEST), size);
	journal_world_assert_frame(&w, BATCH_LANE_CRITICAL, 3, &hashes[2]);
	journal_world_end(&w);
}

/* The newest acknowledged frame: the collector has it, but the chain cannot go on from it. */
static void acknowledged_end_is_no_loss(void **state)
{
	static struct journal_world w;
	struct seal_hash hashes[3];

	(void)state;
	journal_world_begin(&w);
	journal_world_append_many(&w, BATCH_LANE_CRITICAL, 3, hashes);
	assert_int_equal(journal_ack(w.j, BATCH_LANE_CRITICAL, 3, &hashes[2], NULL), 0);
	journal_world_close(&w);
	journal_world_flip(&w, NEWEST, -1);
	journal_world_reopen(&w);
	assert_true(w.rec.new_epoch);
	assert_int_equal(w.rec.damaged_files, 1);
	assert_int_equal(w.rec.lost_frames, 0);
	journal_world_end(&w);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, newest_whole_slot_is_taken, slot_rows);
	ADD_TEST(&t, any_bit_of_the_newest_frame_counts);
	ADD_TEST(&t, damaged_end_is_told_once_and_kept);
	ADD_ROWS(&t, missing_end_is_lost_not_torn, end_rows);
	ADD_TEST(&t, newest_of_two_files_is_lost);
	ADD_TEST(&t, torn_write_is_no_loss);
	ADD_TEST(&t, acknowledged_end_is_no_loss);
	return tests_run(&t, "journal_mark");
}
