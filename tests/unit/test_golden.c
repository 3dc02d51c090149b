/* SPDX-License-Identifier: Apache-2.0 */
/* What version 1 wrote, byte for byte in tests/unit/golden/v1, is read by today's code for ever.
 * GOLDEN_WRITE=1 test_golden makes the files (from the fixed key of sealing.c); only for a new folder of
 * a new version. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/journal_frame.h"
#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

#define FOLDER "tests/unit/golden/v1"
#define EVENTS 4

struct world {
	struct sealing s;
	uint8_t raw[1024];
	size_t raw_len;
	struct batch_header h;
	struct batch_dropped dropped;
	struct batch_tombstone tombstone;
	struct batch_idle idle;
	uint8_t *data; /* of the golden file */
	size_t len;
};

static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	sealing_begin(&w->s);
	sealing_header(&w->h, BATCH_LANE_BULK, 2, EVENTS);
	memset(w->h.previous.b, 0x11, SEAL_HASH_LEN);
	w->raw_len = sealing_entries(w->raw, sizeof(w->raw), EVENTS);
	w->dropped = (struct batch_dropped){
		.number = 9,
		.first_sequence = 5,
		.last_sequence = 6,
		.last_boottime_ns = 1,
		.has_previous = true,
		.counts = { [6] = 2 },
		.header_hash = { .b = { 1 } },
		.previous = { .b = { 2 } },
	};
	w->tombstone = (struct batch_tombstone){
		.tenant = w->h.tenant,
		.host_id = w->h.host_id,
		.lane = BATCH_LANE_BULK,
		.wall_ns = 3,
		.offset_ns = 4,
		.boottime_ns = 5,
		.reason = "journal full",
		.n_dropped = 1,
		.dropped = &w->dropped,
	};
	w->idle = (struct batch_idle){
		.tenant = w->h.tenant,
		.host_id = w->h.host_id,
		.lane = BATCH_LANE_CRITICAL,
		.number = 1,
		.watermark_ns = 2,
		.boottime_ns = 3,
		.wall_ns = 4,
		.has_hash = true,
		.header_hash = { .b = { 5 } },
	};
}

static void end(struct world *w)
{
	free(w->data);
	sealing_end(&w->s);
}

/* Makes the file first when asked to. */
static void load(struct world *w, const char *name, const void *fresh, size_t fresh_len)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", FOLDER, name);
	if (getenv("GOLDEN_WRITE")) {
		assert_int_equal(files_mkdirs(FOLDER, 0755, NULL), 0);
		assert_int_equal(files_replace(path, fresh, fresh_len, 0644, NULL), 0);
	}
	free(w->data);
	w->data = NULL;
	assert_int_equal(files_read(path, KiB(16), &w->data, &w->len, NULL), 0);
}

static void batch(void **state)
{
	static struct world w;
	struct batch_view view;
	struct seal_hash hash;
	const uint8_t *bytes, *raw;
	size_t len, raw_len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal(w.s.sealer, &w.h, w.raw, w.raw_len, &bytes, &len, &hash, NULL),
			 0);
	load(&w, "batch.bin", bytes, len);
	assert_int_equal(batch_parse(w.data, w.len, w.s.arena, &view, NULL), 0);
	assert_int_equal(batch_open(w.s.opener, &view, w.s.verifier, &raw, &raw_len, NULL), 0);
	assert_int_equal(raw_len, w.raw_len);
	assert_memory_equal(raw, w.raw, raw_len);
	/* Another zstd may pack the same entries into other bytes; nothing else may differ. */
	view.header.rings = w.h.rings;
	view.header.compressed_bytes = w.h.compressed_bytes;
	view.header.compressed_sha256 = w.h.compressed_sha256;
	assert_memory_equal(&view.header, &w.h, sizeof(w.h));
	end(&w);
}

static void tombstone(void **state)
{
	static struct world w;
	struct batch_tombstone t;
	const uint8_t *bytes;
	size_t len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal_tombstone(w.s.key, &w.tombstone, w.s.arena, &bytes, &len, NULL),
			 0);
	load(&w, "tombstone.bin", bytes, len);
	assert_int_equal(w.len, len);
	assert_memory_equal(w.data, bytes, len);
	assert_int_equal(batch_open_tombstone(w.data, w.len, w.s.verifier, w.s.arena, &t, NULL), 0);
	assert_memory_equal(t.dropped, &w.dropped, sizeof(w.dropped));
	end(&w);
}

static void idle(void **state)
{
	static struct world w;
	struct batch_idle t;
	const uint8_t *bytes;
	size_t len;

	(void)state;
	begin(&w);
	assert_int_equal(batch_seal_idle(w.s.key, &w.idle, w.s.arena, &bytes, &len, NULL), 0);
	load(&w, "idle.bin", bytes, len);
	assert_int_equal(w.len, len);
	assert_memory_equal(w.data, bytes, len);
	assert_int_equal(batch_open_idle(w.data, w.len, w.s.verifier, w.s.arena, &t, NULL), 0);
	assert_int_equal(t.watermark_ns, w.idle.watermark_ns);
	end(&w);
}

static void journal_file(void **state)
{
	static struct world w;
	struct journal_file_header h = {
		.lane = BATCH_LANE_CRITICAL, .epoch = "epochepochepoch", .first = 7, .number = 2
	};
	struct journal_file_header got;
	struct journal_frame frame = { .kind = JOURNAL_BATCH,
				       .position = 7,
				       .covers = 1,
				       .sequence = 40,
				       .hash = { .b = { 3 } },
				       .counts = { [2] = 4 },
				       .body = (const uint8_t *)"frame",
				       .len = 5 };
	struct journal_frame read;
	struct journal_scan s;
	uint8_t file[JOURNAL_FILE_HEADER_LEN + JOURNAL_FRAME_HEADER_LEN + 5];

	(void)state;
	begin(&w);
	journal_file_header_write(&h, file);
	journal_frame_write(&frame, &h, file + JOURNAL_FILE_HEADER_LEN);
	memcpy(file + JOURNAL_FILE_HEADER_LEN + JOURNAL_FRAME_HEADER_LEN, "frame", 5);
	load(&w, "journal.jrn", file, sizeof(file));
	assert_int_equal(w.len, sizeof(file));
	assert_memory_equal(w.data, file, sizeof(file));
	assert_int_equal(journal_file_header_read(w.data, w.len, &got), 0);
	assert_memory_equal(&got, &h, sizeof(h));
	journal_scan_init(&s, w.data, w.len, &got);
	assert_true(journal_scan_next(&s, &read));
	assert_memory_equal(read.body, "frame", 5);
	read.body = frame.body;
	assert_memory_equal(&read, &frame, sizeof(frame));
	assert_false(journal_scan_next(&s, &read));
	assert_int_equal(s.bad_from, 0);
	end(&w);
}

static void journal_notes(void **state)
{
	static struct world w;
	uint8_t note[JOURNAL_NOTE_LEN], epoch[BATCH_EPOCH_LEN];
	uint64_t acked[BATCH_LANES] = { 5, 1ull << 40 }, got[BATCH_LANES];

	(void)state;
	begin(&w);
	journal_acks_write(acked, note);
	load(&w, "acks.bin", note, sizeof(note));
	assert_memory_equal(w.data, note, sizeof(note));
	assert_int_equal(journal_acks_read(w.data, w.len, got), 0);
	assert_memory_equal(got, acked, sizeof(acked));
	journal_epoch_write((const uint8_t *)"epochepochepoch", note);
	load(&w, "epoch.bin", note, sizeof(note));
	assert_memory_equal(w.data, note, sizeof(note));
	assert_int_equal(journal_epoch_read(w.data, w.len, epoch), 0);
	assert_memory_equal(epoch, "epochepochepoch", sizeof(epoch));
	for (size_t bit = 0; bit < 8 * sizeof(note); bit++) {
		note[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(journal_epoch_read(note, sizeof(note), epoch), -EBADMSG);
		note[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(journal_epoch_read(note, sizeof(note) - 1, epoch), -EBADMSG);
	end(&w);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, batch);
	ADD_TEST(&t, tombstone);
	ADD_TEST(&t, idle);
	ADD_TEST(&t, journal_file);
	ADD_TEST(&t, journal_notes);
	return tests_run(&t, "golden");
}
