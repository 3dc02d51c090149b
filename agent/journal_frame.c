/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal_frame.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define VERSION 1
#define FILE_MAGIC "EXHJRNL1"
#define EPOCH_MAGIC "EXHEPOC1"
#define ACKS_MAGIC "EXHACKS1"
#define MAGIC_LEN 8
#define FRAME_MAGIC 0x464a5845u /* "EXJF" */
#define SUM_LEN 4

static uint32_t sum(uint32_t before, const void *data, size_t len)
{
	return (uint32_t)crc32_z(before, data, len);
}

/* Append the sum over what w wrote from out on. */
static void end_with_sum(struct writer *w, const uint8_t *out, size_t size)
{
	writer_zero(w, size - SUM_LEN - w->done);
	writer_u32(w, sum(0, out, size - SUM_LEN));
}

/* A reader of data behind its magic and version, when length, magic, version and sum are right. */
static struct reader open_summed(const uint8_t *data, size_t len, size_t want, const char *magic)
{
	struct reader bad = { .bad = true };
	struct reader r = reader_init(data, len == want ? len - SUM_LEN : 0);
	struct reader tail =
		reader_init(len == want ? data + len - SUM_LEN : NULL, len == want ? SUM_LEN : 0);
	const uint8_t *m = reader_bytes(&r, MAGIC_LEN);

	if (!m || memcmp(m, magic, MAGIC_LEN) != 0 || reader_u32(&r) != VERSION)
		return bad;
	return reader_u32(&tail) == sum(0, data, len - SUM_LEN) ? r : bad;
}

void journal_file_header_write(const struct journal_file_header *h,
			       uint8_t out[static JOURNAL_FILE_HEADER_LEN])
{
	struct writer w = writer_init(out, JOURNAL_FILE_HEADER_LEN);

	writer_bytes(&w, FILE_MAGIC, MAGIC_LEN);
	writer_u32(&w, VERSION);
	writer_u32(&w, h->lane);
	writer_bytes(&w, h->epoch, sizeof(h->epoch));
	writer_u64(&w, h->first);
	writer_u64(&w, h->number);
	end_with_sum(&w, out, JOURNAL_FILE_HEADER_LEN);
}

int journal_file_header_read(const uint8_t *data, size_t len, struct journal_file_header *ret_h)
{
	size_t header_len = len < JOURNAL_FILE_HEADER_LEN ? len : JOURNAL_FILE_HEADER_LEN;
	struct reader r = open_summed(data, header_len, JOURNAL_FILE_HEADER_LEN, FILE_MAGIC);
	struct journal_file_header h = { 0 };

	h.lane = reader_u32(&r);
	reader_copy(&r, h.epoch, sizeof(h.epoch));
	h.first = reader_u64(&r);
	h.number = reader_u64(&r);
	if (r.bad || (h.lane != BATCH_LANE_CRITICAL && h.lane != BATCH_LANE_BULK) || h.first == 0)
		return -EBADMSG;
	*ret_h = h;
	return 0;
}

/* The sum begins with epoch and lane, so that a block which once belonged to another file, or another
 * journal, is not taken for a frame of this one. */
static uint32_t frame_sum(const struct journal_file_header *h, const uint8_t *frame)
{
	uint8_t lane = (uint8_t)h->lane;
	uint32_t s = sum(0, h->epoch, sizeof(h->epoch));

	return sum(sum(s, &lane, 1), frame, JOURNAL_FRAME_HEADER_LEN - SUM_LEN);
}

void journal_frame_write(const struct journal_frame *f, const struct journal_file_header *h,
			 uint8_t out[static JOURNAL_FRAME_HEADER_LEN])
{
	struct writer w = writer_init(out, JOURNAL_FRAME_HEADER_LEN);

	writer_u32(&w, FRAME_MAGIC);
	writer_u16(&w, VERSION);
	writer_u16(&w, (uint16_t)f->kind);
	writer_u64(&w, f->position);
	writer_u32(&w, f->len);
	writer_u32(&w, f->covers);
	writer_bytes(&w, f->hash.b, sizeof(f->hash.b));
	writer_u64(&w, f->sequence);
	for (size_t i = 0; i < JOURNAL_CLASSES; i++)
		writer_u16(&w, f->counts[i]);
	writer_u32(&w, sum(0, f->body, f->len));
	writer_u32(&w, frame_sum(h, out));
}

enum journal_found journal_frame_read(const uint8_t *data, size_t len,
				      const struct journal_file_header *h,
				      struct journal_frame *ret_f)
{
	struct reader r = reader_init(data, len);
	struct journal_frame f = { 0 };
	uint32_t magic = reader_u32(&r);
	uint16_t version = reader_u16(&r);
	uint32_t body_sum;

	f.kind = reader_u16(&r);
	f.position = reader_u64(&r);
	f.len = reader_u32(&r);
	f.covers = reader_u32(&r);
	reader_copy(&r, f.hash.b, sizeof(f.hash.b));
	f.sequence = reader_u64(&r);
	for (size_t i = 0; i < JOURNAL_CLASSES; i++)
		f.counts[i] = reader_u16(&r);
	body_sum = reader_u32(&r);
	if (magic != FRAME_MAGIC || version != VERSION || reader_u32(&r) != frame_sum(h, data))
		return JOURNAL_FOUND_NOTHING;
	f.body = reader_bytes(&r, f.len);
	if (r.bad || f.len == 0 || f.len > JOURNAL_FRAME_MAX ||
	    (f.kind != JOURNAL_BATCH && f.kind != JOURNAL_TOMBSTONE) || f.covers == 0 ||
	    f.covers > f.position || f.position > JOURNAL_POSITION_MAX)
		return JOURNAL_FOUND_NOTHING;
	*ret_f = f;
	return body_sum == sum(0, f.body, f.len) ? JOURNAL_FOUND_FRAME : JOURNAL_FOUND_BAD_BODY;
}

void journal_scan_init(struct journal_scan *s, const uint8_t *data, size_t len,
		       const struct journal_file_header *h)
{
	*s = (struct journal_scan){ .data = data, .len = len, .h = h, .expect = h->first };
	s->at = JOURNAL_FILE_HEADER_LEN;
}

/* Where the bytes of the next magic begin, from at on; len: nowhere. */
static size_t find_magic(const struct journal_scan *s, size_t at)
{
	static const uint8_t magic[] = { 'E', 'X', 'J', 'F' };
	const uint8_t *p = at < s->len ? memmem(s->data + at, s->len - at, magic, sizeof(magic)) :
					 NULL;

	return p ? (size_t)(p - s->data) : s->len;
}

/* Positions only rise, and no more can be missing than have room in the bytes that were skipped. */
static bool plausible(const struct journal_scan *s, const struct journal_frame *f)
{
	size_t skipped = s->bad_from > 0 ? s->at - s->bad_from : 0;

	if (s->expect == 0)
		return true;
	return f->position >= s->expect &&
	       f->position - s->expect <= skipped / JOURNAL_FRAME_HEADER_LEN;
}

bool journal_scan_next(struct journal_scan *s, struct journal_frame *ret_f)
{
	while (s->at < s->len) {
		enum journal_found found =
			journal_frame_read(s->data + s->at, s->len - s->at, s->h, ret_f);

		if (found == JOURNAL_FOUND_FRAME && plausible(s, ret_f)) {
			s->damaged = s->damaged || s->bad_from > 0;
			s->bad_from = 0;
			s->frame_at = s->at;
			s->at += JOURNAL_FRAME_HEADER_LEN + (size_t)ret_f->len;
			s->expect = ret_f->position + 1;
			return true;
		}
		if (s->bad_from == 0)
			s->bad_from = s->at;
		s->at = found == JOURNAL_FOUND_BAD_BODY ?
				s->at + JOURNAL_FRAME_HEADER_LEN + ret_f->len :
				find_magic(s, s->at + 1);
	}
	return false;
}

void journal_epoch_write(const uint8_t epoch[static BATCH_EPOCH_LEN],
			 uint8_t out[static JOURNAL_NOTE_LEN])
{
	struct writer w = writer_init(out, JOURNAL_NOTE_LEN);

	writer_bytes(&w, EPOCH_MAGIC, MAGIC_LEN);
	writer_u32(&w, VERSION);
	writer_bytes(&w, epoch, BATCH_EPOCH_LEN);
	end_with_sum(&w, out, JOURNAL_NOTE_LEN);
}

int journal_epoch_read(const uint8_t *data, size_t len, uint8_t ret_epoch[static BATCH_EPOCH_LEN])
{
	struct reader r = open_summed(data, len, JOURNAL_NOTE_LEN, EPOCH_MAGIC);

	reader_copy(&r, ret_epoch, BATCH_EPOCH_LEN);
	return r.bad ? -EBADMSG : 0;
}

void journal_acks_write(const uint64_t acked[static BATCH_LANES],
			uint8_t out[static JOURNAL_NOTE_LEN])
{
	struct writer w = writer_init(out, JOURNAL_NOTE_LEN);

	writer_bytes(&w, ACKS_MAGIC, MAGIC_LEN);
	writer_u32(&w, VERSION);
	for (size_t i = 0; i < BATCH_LANES; i++)
		writer_u64(&w, acked[i]);
	end_with_sum(&w, out, JOURNAL_NOTE_LEN);
}

int journal_acks_read(const uint8_t *data, size_t len, uint64_t ret_acked[static BATCH_LANES])
{
	struct reader r = open_summed(data, len, JOURNAL_NOTE_LEN, ACKS_MAGIC);

	for (size_t i = 0; i < BATCH_LANES; i++)
		ret_acked[i] = reader_u64(&r);
	return r.bad ? -EBADMSG : 0;
}
