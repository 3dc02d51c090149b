/* SPDX-License-Identifier: Apache-2.0 */
/* Drives agent/journal.h for tests that cut the power under it, or let calls fail.
 *
 * driver_journal append DIR KEY BYTES COUNT SEED: appends COUNT batches in both lanes, drops what has to
 *	go, acknowledges now and then. Marks, each before or after what it tells of:
 *	"try LANE HASH"   before the append      "ack LANE POSITION HASH"  after it returned
 *	"gone LANE HASH"  before the drop        "release LANE POSITION"   before the acknowledgement
 * driver_journal dump DIR KEY BYTES: opens, prints "recovery NEW_EPOCH TORN DAMAGED", every frame
 *	("frame LANE POSITION HASH PREVIOUS", "dropped LANE POSITION HASH"), verifying each, and appends
 *	one more batch to each lane that has room.
 * An error is one sentence on standard error and exit status 1. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/journal.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"
#include "tests/system/marks.h"

#define ENTRIES_MAX 64

struct driver {
	struct journal *j;
	struct journal_recovery recovery;
	struct seal_key *key;
	struct seal_verifier *verifier;
	struct batch_sealer *sealer;
	struct batch_opener *opener;
	struct arena *arena;
	struct batch_dropped dropped[BATCH_DROPPED_MAX];
	uint64_t rng, clock_ns;
	bool failed; /* an append failed and was reported: the program goes on */
};

/* Bytes that differ from run to run of one test, and stay the same for one seed. */
static int fill(void *ctx, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)next_random(ctx);
	return 0;
}

static const char *lane_text(enum batch_lane lane)
{
	return lane == BATCH_LANE_CRITICAL ? "critical" : "bulk";
}

static size_t make_entries(struct driver *d, uint8_t *raw, size_t size, uint32_t entries)
{
	struct writer w = writer_init(raw, size);
	uint8_t entry[256];

	for (uint32_t i = 0; i < entries; i++) {
		size_t len = 20 + next_random(&d->rng) % 200;

		(void)fill(&d->rng, entry, len);
		writer_varint(&w, len);
		writer_bytes(&w, entry, len);
	}
	return w.done;
}

static void next_header(struct driver *d, enum batch_lane lane, uint32_t entries,
			struct batch_header *h)
{
	struct journal_tail tail;

	journal_tail(d->j, lane, &tail);
	d->clock_ns += 1000;
	*h = (struct batch_header){
		.tenant = { .len = 7, .b = "default" },
		.host_id = { .len = 4, .b = "host" },
		.boot_id = "0123456789abcde",
		.lane = lane,
		.number = tail.number + 1,
		.count = entries,
		.entries = entries,
		.first_sequence = entries > 0 ? tail.last_sequence + 1 : 0,
		.last_sequence = entries > 0 ? tail.last_sequence + entries : 0,
		.first_boottime_ns = d->clock_ns,
		.last_boottime_ns = d->clock_ns,
		.sealed_boottime_ns = d->clock_ns,
		.sealed_wall_ns = 1700000000000000000,
		.watermark_ns = d->clock_ns,
		.has_previous = tail.has_hash,
		.previous = tail.hash,
	};
	memcpy(h->epoch, journal_epoch(d->j), sizeof(h->epoch));
}

static int make_room(struct driver *d, enum batch_lane lane, size_t len, struct error *e)
{
	struct batch_tombstone t = { .dropped = d->dropped };
	size_t n;

	while ((n = journal_must_drop(d->j, lane, len, &t, BATCH_DROPPED_MAX)) > 0) {
		const uint8_t *bytes;
		size_t bytes_len;
		int r;

		arena_reset(d->arena);
		t.reason = "journal full";
		r = batch_seal_tombstone(d->key, &t, d->arena, &bytes, &bytes_len, e);
		if (r < 0)
			return r;
		for (size_t i = 0; i < n; i++)
			say("gone %s %s\n", lane_text(t.lane), hex(&t.dropped[i].header_hash).text);
		r = journal_drop(d->j, n, bytes, bytes_len, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int append_one(struct driver *d, enum batch_lane lane, struct error *e)
{
	uint8_t raw[ENTRIES_MAX * 256];
	uint32_t entries = (uint32_t)(next_random(&d->rng) % ENTRIES_MAX);
	uint64_t counts[16] = { [1] = entries };
	uint64_t first, last;
	struct batch_header h;
	struct seal_hash hash;
	const uint8_t *bytes;
	size_t len, raw_len = make_entries(d, raw, sizeof(raw), entries);
	int r;

	next_header(d, lane, entries, &h);
	r = batch_seal(d->sealer, &h, raw, raw_len, &bytes, &len, &hash, e);
	if (r == 0)
		r = make_room(d, lane, len, e);
	if (r < 0)
		return r;
	say("try %s %s\n", lane_text(lane), hex(&hash).text);
	r = journal_append(d->j, &h, &hash, counts, bytes, len, e);
	if (r < 0)
		return r;
	journal_range(d->j, lane, &first, &last);
	say("ack %s %" PRIu64 " %s\n", lane_text(lane), last, hex(&hash).text);
	return 0;
}

/* What the frame at position says of itself, verified. */
static int describe(struct driver *d, enum batch_lane lane, uint64_t position,
		    struct seal_hash *ret_hash, bool print, struct error *e)
{
	enum journal_kind kind;
	struct batch_view view;
	struct batch_tombstone t;
	const uint8_t *bytes, *raw;
	size_t len, raw_len;
	int r = journal_read(d->j, lane, position, &kind, &bytes, &len, e);

	if (r < 0)
		return r;
	arena_reset(d->arena);
	if (kind == JOURNAL_TOMBSTONE) {
		r = batch_open_tombstone(bytes, len, d->verifier, d->arena, &t, e);
		if (r < 0)
			return r;
		*ret_hash = t.dropped[t.n_dropped - 1].header_hash;
		for (size_t i = 0; print && i < t.n_dropped; i++)
			say("dropped %s %" PRIu64 " %s\n", lane_text(lane), position,
			    hex(&t.dropped[i].header_hash).text);
		return 0;
	}
	r = batch_parse(bytes, len, d->arena, &view, e);
	if (r == 0)
		r = batch_open(d->opener, &view, d->verifier, &raw, &raw_len, e);
	if (r < 0)
		return r;
	*ret_hash = view.hash;
	if (print)
		say("frame %s %" PRIu64 " %s %s\n", lane_text(lane), position, hex(&view.hash).text,
		    view.header.has_previous ? hex(&view.header.previous).text : "-");
	return 0;
}

/* The collector has some of what waits. */
static int acknowledge(struct driver *d, enum batch_lane lane, struct error *e)
{
	struct seal_hash hash;
	uint64_t first, last, position;
	int r;

	journal_range(d->j, lane, &first, &last);
	if (first > last)
		return 0;
	position = journal_next(d->j, lane, first + next_random(&d->rng) % (last - first + 1));
	if (position > last)
		return 0;
	r = describe(d, lane, position, &hash, false, e);
	if (r < 0)
		return r;
	say("release %s %" PRIu64 "\n", lane_text(lane), position);
	return journal_ack(d->j, lane, position, &hash, e);
}

static void append_all(struct driver *d, unsigned long count)
{
	/* One seed in three has a collector that never answers, so that frames have to be dropped. */
	bool answers = next_random(&d->rng) % 3 != 0;

	for (unsigned long i = 0; i < count; i++) {
		uint64_t dice = next_random(&d->rng);
		enum batch_lane lane = dice & 1 ? BATCH_LANE_BULK : BATCH_LANE_CRITICAL;
		struct error step = { 0 };

		report(append_one(d, lane, &step), &step, &d->failed);
		if (answers && dice % 7 == 0)
			report(acknowledge(d, lane, &step), &step, &d->failed);
	}
}

static int dump_lane(struct driver *d, enum batch_lane lane, struct error *e)
{
	struct seal_hash hash;
	uint64_t first, last;

	journal_range(d->j, lane, &first, &last);
	for (uint64_t p = journal_next(d->j, lane, 1); p <= last;
	     p = journal_next(d->j, lane, p + 1)) {
		int r = describe(d, lane, p, &hash, true, e);

		if (r < 0)
			return r;
	}
	return 0;
}

static int dump(struct driver *d, struct error *e)
{
	int r = 0;

	say("recovery %d %" PRIu64 " %" PRIu64 "\n", d->recovery.new_epoch, d->recovery.torn_bytes,
	    d->recovery.damaged_files);
	for (int lane = BATCH_LANE_CRITICAL; r == 0 && lane <= BATCH_LANE_BULK; lane++)
		r = dump_lane(d, (enum batch_lane)lane, e);
	for (int lane = BATCH_LANE_CRITICAL; r == 0 && lane <= BATCH_LANE_BULK; lane++) {
		r = append_one(d, (enum batch_lane)lane, e);
		if (r == -ENOSPC)
			r = 0;
	}
	return r;
}

static int prepare(struct driver *d, const char *key, struct error *e)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	int r = seal_key_load(key, &d->key, e);

	if (r < 0)
		return r;
	seal_key_public(d->key, public);
	r = seal_verifier_new(public, &d->verifier, e);
	if (r == 0)
		r = batch_sealer_new(d->key, &d->sealer, e);
	if (r == 0)
		r = batch_opener_new(&d->opener, e);
	d->arena = arena_new(MiB(16), MiB(1));
	if (r == 0 && !d->arena)
		r = error_set(e, -ENOMEM, "cannot prepare: %m");
	return r;
}

static void release(struct driver *d)
{
	journal_close(d->j);
	batch_sealer_free(d->sealer);
	batch_opener_free(d->opener);
	seal_verifier_free(d->verifier);
	seal_key_free(d->key);
	arena_free(d->arena);
	free(d);
}

static int drive(struct driver *d, int argc, char **argv, struct error *e)
{
	struct journal_config c = { .dir = argv[2], .random = fill, .random_ctx = &d->rng };
	int r = prepare(d, argv[3], e);

	if (r < 0)
		return r;
	c.max_bytes = strtoul(argv[4], NULL, 10);
	count_from_here();
	d->rng = argc > 6 ? strtoul(argv[6], NULL, 10) : (unsigned long)getpid();
	r = journal_open(&c, &d->j, &d->recovery, e);
	if (r < 0)
		return r;
	if (strcmp(argv[1], "dump") == 0)
		return dump(d, e);
	append_all(d, strtoul(argv[5], NULL, 10));
	return 0;
}

int main(int argc, char **argv)
{
	struct driver *d = calloc(1, sizeof(*d));
	struct error e = { 0 };
	bool failed;

	if (!d || argc < 5 || (strcmp(argv[1], "append") == 0 && argc < 7))
		return 2;
	report(drive(d, argc, argv, &e), &e, &d->failed);
	failed = d->failed;
	release(d);
	return failed ? 1 : 0;
}
