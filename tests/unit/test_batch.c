/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "proto/base/reader.h"
#include "proto/batch_header.h"
#include "tests/unit/rows.h"
#include "tests/unit/sealing.h"

#define ENTRIES 100
#define RAW_SIZE KiB(64)
#define MESSAGE_SIZE KiB(128)

struct world {
	struct sealing s;
	struct batch_header h;
	uint8_t raw[RAW_SIZE];
	size_t raw_len;
	uint8_t message[MESSAGE_SIZE]; /* a copy of what was sealed */
	size_t len;
	struct seal_hash hash;
	struct error e;
};

static void seal(struct world *w)
{
	const uint8_t *bytes;

	assert_int_equal(batch_seal(w->s.sealer, &w->h, w->raw, w->raw_len, &bytes, &w->len,
				    &w->hash, NULL),
			 0);
	assert_true(w->len <= sizeof(w->message));
	memcpy(w->message, bytes, w->len);
}

static void begin(struct world *w, uint32_t n)
{
	memset(w, 0, sizeof(*w));
	sealing_begin(&w->s);
	sealing_header(&w->h, BATCH_LANE_CRITICAL, 1, n);
	w->raw_len = sealing_entries(w->raw, sizeof(w->raw), n);
}

static int open_message(struct world *w, struct batch_view *view, const uint8_t **raw,
			size_t *raw_len)
{
	int r = batch_parse(w->message, w->len, w->s.arena, view, &w->e);

	return r < 0 ? r : batch_open(w->s.opener, view, w->s.verifier, raw, raw_len, &w->e);
}

/* ---- what the header may not say: a lawful sealer refuses, a reader refuses ---- */

static void no_tenant(struct batch_header *h)
{
	h->tenant.len = 0;
}
static void no_host(struct batch_header *h)
{
	h->host_id.len = 0;
}
static void lane_0(struct batch_header *h)
{
	h->lane = 0;
}
static void lane_3(struct batch_header *h)
{
	h->lane = 3;
}
static void number_0(struct batch_header *h)
{
	h->number = 0;
}
static void no_previous(struct batch_header *h)
{
	h->number = 2;
}
static void more_events_than_entries(struct batch_header *h)
{
	h->entries = h->count - 1;
}
static void more_gaps_than_events(struct batch_header *h)
{
	h->gaps = h->count + 1;
}
static void too_many_events(struct batch_header *h)
{
	h->count = h->entries = BATCH_EVENTS_MAX + 1;
	h->last_sequence = h->first_sequence + h->count - 1;
}
static void too_many_entries(struct batch_header *h)
{
	h->entries = BATCH_ENTRIES_MAX + 1;
}
static void sequence_0(struct batch_header *h)
{
	h->first_sequence = 0;
	h->last_sequence = h->count - 1;
}
static void sequences_too_few(struct batch_header *h)
{
	h->last_sequence--;
}
static void sequences_too_many(struct batch_header *h)
{
	h->last_sequence++;
}
static void sequences_backwards(struct batch_header *h)
{
	h->first_sequence = 500;
}
static void sequences_wrap(struct batch_header *h)
{
	h->first_sequence = UINT64_MAX - 1;
	h->last_sequence = h->count - 3;
}
static void sequence_without_event(struct batch_header *h)
{
	h->count = 0;
}
static void times_backwards(struct batch_header *h)
{
	h->first_boottime_ns = h->last_boottime_ns + 1;
}
static void time_too_far(struct batch_header *h)
{
	h->watermark_ns = UINT64_MAX;
}
static void wall_too_far(struct batch_header *h)
{
	h->sealed_wall_ns = INT64_MIN;
}

static const struct header_row {
	const char *name;
	void (*spoil)(struct batch_header *h);
	const char *says;
} header_rows[] = {
	{ "no tenant", no_tenant, "tenant" },
	{ "no host id", no_host, "host_id" },
	{ "lane 0", lane_0, "lane 0" },
	{ "lane 3", lane_3, "lane 3" },
	{ "number 0", number_0, "number is 0" },
	{ "no previous hash", no_previous, "previous_hash" },
	{ "more events than entries", more_events_than_entries, "contradict" },
	{ "more gaps than events", more_gaps_than_events, "contradict" },
	{ "too many events", too_many_events, "the most are 4096" },
	{ "too many entries", too_many_entries, "of 8192" },
	{ "first sequence 0", sequence_0, "first_sequence 0" },
	{ "sequences too few", sequences_too_few, "do not span" },
	{ "sequences too many", sequences_too_many, "do not span" },
	{ "sequences backwards", sequences_backwards, "do not span" },
	{ "sequences wrap", sequences_wrap, "do not span" },
	{ "sequence without event", sequence_without_event, "without an event" },
	{ "times backwards", times_backwards, "later than" },
	{ "time beyond 2^61", time_too_far, "2^61" },
	{ "wall time beyond 2^62", wall_too_far, "2^62" },
};

static void header_is_refused(void **state)
{
	const struct header_row *row = *state;
	static struct world w;
	struct batch_view view;
	const uint8_t *bytes;
	size_t len;

	begin(&w, ENTRIES);
	row->spoil(&w.h);
	assert_int_equal(batch_seal(w.s.sealer, &w.h, w.raw, w.raw_len, &bytes, &len, &w.hash,
				    &w.e),
			 -EINVAL);
	assert_non_null(strstr(w.e.text, row->says));
	/* Somebody signs it all the same. */
	w.h.compressed_bytes = 1;
	assert_int_equal(batch_header_pack(&w.h, w.s.arena, &bytes, &len, NULL), 0);
	w.len = sealing_wrap(&w.s, bytes, len, "x", 1, w.message, sizeof(w.message));
	assert_int_equal(batch_parse(w.message, w.len, w.s.arena, &view, &w.e), -EBADMSG);
	assert_non_null(strstr(w.e.text, row->says));
	sealing_end(&w.s);
}

/* ---- what the bytes may not be ---- */

static void replace_payload(struct world *w, const void *payload, size_t len, uint32_t raw_bytes)
{
	const uint8_t *header;
	size_t header_len;

	w->h.compressed_bytes = (uint32_t)len;
	w->h.raw_bytes = raw_bytes;
	assert_int_equal(seal_sha256(payload, len, &w->h.compressed_sha256), 0);
	assert_int_equal(batch_header_pack(&w->h, w->s.arena, &header, &header_len, NULL), 0);
	w->len = sealing_wrap(&w->s, header, header_len, payload, len, w->message,
			      sizeof(w->message));
}

static void bomb(struct world *w)
{
	static uint8_t zeros[MiB(8)], out[KiB(64)];
	size_t n = ZSTD_compress(out, sizeof(out), zeros, sizeof(zeros), 3);

	replace_payload(w, out, n, (uint32_t)w->raw_len);
}

static void no_content_size(struct world *w)
{
	static uint8_t out[KiB(64)];
	ZSTD_CCtx *c = ZSTD_createCCtx();

	(void)ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	replace_payload(w, out, ZSTD_compress2(c, out, sizeof(out), w->raw, w->raw_len),
			(uint32_t)w->raw_len);
	(void)ZSTD_freeCCtx(c);
}

static void two_frames(struct world *w)
{
	static uint8_t out[KiB(64)];
	size_t n = ZSTD_compress(out, sizeof(out), w->raw, w->raw_len, 3);

	n += ZSTD_compress(out + n, sizeof(out) - n, "more", 4, 3);
	replace_payload(w, out, n, (uint32_t)w->raw_len);
}

static void skippable_frame(struct world *w)
{
	w->h.count = w->h.entries = 0;
	w->h.first_sequence = w->h.last_sequence = 0;
	replace_payload(w, "\x50\x2a\x4d\x18\x04\0\0\0abcd", 12, 0);
}

static void trailing_byte(struct world *w)
{
	static uint8_t out[KiB(64)];
	size_t n = ZSTD_compress(out, sizeof(out), w->raw, w->raw_len, 3);

	replace_payload(w, out, n + 1, (uint32_t)w->raw_len);
}

static void empty_payload(struct world *w)
{
	replace_payload(w, "", 0, 0);
}
static void raw_too_large(struct world *w)
{
	replace_payload(w, "x", 1, BATCH_RAW_MAX + 1);
}
static void nothing(struct world *w)
{
	w->len = 0;
}
static void cut_short(struct world *w)
{
	w->len--;
}
static void twice(struct world *w)
{
	memcpy(w->message + w->len, w->message, w->len);
	w->len *= 2;
}
static void garbage(struct world *w)
{
	memset(w->message, 0xff, w->len);
}
static void one_entry_less(struct world *w)
{
	static uint8_t out[KiB(64)];
	size_t n;

	w->raw_len -= 1 + (3 + (ENTRIES - 1) % 38);
	n = ZSTD_compress(out, sizeof(out), w->raw, w->raw_len, 3);
	assert_int_equal(seal_sha256(w->raw, w->raw_len, &w->h.raw_sha256), 0);
	replace_payload(w, out, n, (uint32_t)w->raw_len);
}
static void another_root(struct world *w)
{
	static uint8_t out[KiB(64)];
	size_t n = ZSTD_compress(out, sizeof(out), w->raw, w->raw_len, 3);

	w->h.merkle_root.b[0] ^= 1;
	replace_payload(w, out, n, (uint32_t)w->raw_len);
}

static const struct bytes_row {
	const char *name;
	void (*spoil)(struct world *w);
	const char *says;
} bytes_rows[] = {
	{ "nothing", nothing, "header is absent" },
	{ "cut short", cut_short, "not a SignedBatch" },
	{ "members twice", twice, "not a SignedBatch" },
	{ "garbage", garbage, "not a SignedBatch" },
	{ "empty payload", empty_payload, "zstd frame" },
	{ "raw too large", raw_too_large, "raw_bytes 1048577" },
	{ "bomb", bomb, "does not hold raw_bytes" },
	{ "no content size", no_content_size, "does not hold raw_bytes" },
	{ "two frames", two_frames, "not one zstd frame" },
	{ "skippable frame", skippable_frame, "not one zstd frame" },
	{ "trailing byte", trailing_byte, "not one zstd frame" },
	{ "one entry less", one_entry_less, "entries 100" },
	{ "another root", another_root, "merkle_root" },
};

static void bytes_are_refused(void **state)
{
	const struct bytes_row *row = *state;
	static struct world w;
	struct batch_view view;
	const uint8_t *raw;
	size_t raw_len;

	begin(&w, ENTRIES);
	seal(&w);
	row->spoil(&w);
	assert_int_equal(open_message(&w, &view, &raw, &raw_len), -EBADMSG);
	assert_non_null(strstr(w.e.text, row->says));
	sealing_end(&w.s);
}

static void every_flipped_bit_is_found(void **state)
{
	static struct world w;
	struct batch_view view;
	const uint8_t *raw;
	size_t raw_len;

	(void)state;
	begin(&w, 3);
	seal(&w);
	for (size_t bit = 0; bit < 8 * w.len; bit++) {
		int r;

		arena_reset(w.s.arena);
		w.message[bit / 8] ^= (uint8_t)(1u << bit % 8);
		r = open_message(&w, &view, &raw, &raw_len);
		assert_true(r == -EBADMSG || r == -EPROTONOSUPPORT);
		w.message[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(open_message(&w, &view, &raw, &raw_len), 0);
	sealing_end(&w.s);
}

static void another_version_is_not_supported(void **state)
{
	static struct world w;
	struct batch_view view;
	const uint8_t *bytes;
	uint8_t header[KiB(4)];
	size_t len;

	(void)state;
	begin(&w, ENTRIES);
	seal(&w);
	assert_int_equal(batch_header_pack(&w.h, w.s.arena, &bytes, &len, NULL), 0);
	memcpy(header, bytes, len);
	assert_int_equal(header[1], BATCH_VERSION); /* after the tag of field 1 */
	header[1] = 2;
	w.len = sealing_wrap(&w.s, header, len, "x", 1, w.message, sizeof(w.message));
	assert_int_equal(batch_parse(w.message, w.len, w.s.arena, &view, &w.e), -EPROTONOSUPPORT);
	assert_non_null(strstr(w.e.text, "version 2"));
	sealing_end(&w.s);
}

/* ---- what is good ---- */

static const struct good_row {
	const char *name;
	uint32_t entries;
	size_t rings;
} good_rows[] = {
	{ "empty, sealed while idle", 0, 0 },
	{ "one event", 1, 1 },
	{ "500 events", 500, 4 },
	{ "most rings", 7, BATCH_RINGS_MAX },
};

static void batch_comes_back_as_it_went(void **state)
{
	const struct good_row *row = *state;
	static struct world w;
	static struct batch_ring rings[BATCH_RINGS_MAX];
	struct batch_view view;
	struct reader r;
	const uint8_t *raw = NULL, *entry;
	size_t raw_len = 0, len;
	uint32_t entries = 0;

	begin(&w, row->entries);
	for (uint32_t i = 0; i < row->rings; i++)
		rings[i] = (struct batch_ring){ .ring = 1 + i % 2,
						.cpu = i,
						.sequence = UINT64_MAX - i };
	w.h.rings = rings;
	w.h.n_rings = row->rings;
	seal(&w);
	assert_int_equal(open_message(&w, &view, &raw, &raw_len), 0);
	assert_int_equal(raw_len, w.raw_len);
	assert_memory_equal(raw, w.raw, raw_len);
	assert_memory_equal(&view.hash, &w.hash, sizeof(w.hash));
	assert_int_equal(view.header.n_rings, row->rings);
	if (row->rings > 0)
		assert_memory_equal(view.header.rings, rings, row->rings * sizeof(rings[0]));
	/* Everything else, pointers apart. */
	view.header.rings = w.h.rings;
	assert_memory_equal(&view.header, &w.h, sizeof(w.h));
	for (r = reader_init(raw, raw_len); batch_next(&r, &entry, &len); entries++)
		assert_int_equal(len, 3 + entries % 38);
	assert_false(r.bad);
	assert_int_equal(entries, row->entries);
	sealing_end(&w.s);
}

static void sealing_refuses_bytes_that_are_not_its_entries(void **state)
{
	static struct world w;
	const uint8_t *bytes;
	size_t len;

	(void)state;
	begin(&w, ENTRIES);
	assert_int_equal(batch_seal(w.s.sealer, &w.h, w.raw, w.raw_len - 1, &bytes, &len, &w.hash,
				    &w.e),
			 -EINVAL);
	w.h.entries++;
	assert_int_equal(batch_seal(w.s.sealer, &w.h, w.raw, w.raw_len, &bytes, &len, &w.hash,
				    &w.e),
			 -EINVAL);
	sealing_end(&w.s);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, header_is_refused, header_rows);
	ADD_ROWS(&t, bytes_are_refused, bytes_rows);
	ADD_TEST(&t, every_flipped_bit_is_found);
	ADD_TEST(&t, another_version_is_not_supported);
	ADD_TEST(&t, sealing_refuses_bytes_that_are_not_its_entries);
	ADD_ROWS(&t, batch_comes_back_as_it_went, good_rows);
	return tests_run(&t, "batch");
}
