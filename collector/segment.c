/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/segment.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <zlib.h>

#define MAGIC 0x46485845u /* "EXHF" */
#define TRAILER_MAGIC 0x444e455346485845u /* "EXHFSEND" */
#define HEAD_CRC_AT (SEGMENT_HEAD - 4)
#define WINDOW (SEGMENT_HEAD + SEGMENT_BODY_MAX)

uint64_t segment_id_sequence(const struct segment_id *id)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 8; i++)
		v = v << 8 | id->b[i];
	return v;
}

void segment_id_make(struct segment_id *ret_id, uint64_t sequence, const uint8_t random[static 8])
{
	for (size_t i = 0; i < 8; i++)
		ret_id->b[i] = (uint8_t)(sequence >> (56 - 8 * i));
	memcpy(ret_id->b + 8, random, 8);
}

const char *segment_id_text(const struct segment_id *id, char buf[static SEGMENT_ID_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SEGMENT_ID_LEN; i++) {
		buf[2 * i] = digits[id->b[i] >> 4];
		buf[2 * i + 1] = digits[id->b[i] & 15];
	}
	buf[2 * SEGMENT_ID_LEN] = '\0';
	return buf;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool segment_id_parse(const char *text, size_t len, struct segment_id *ret_id)
{
	if (len != 2 * SEGMENT_ID_LEN)
		return false;
	for (size_t i = 0; i < SEGMENT_ID_LEN; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret_id->b[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Checksums begin with the segment's id, of which no host knows the random half: bytes inside a batch
 * cannot pass for a frame, nor can a frame of another segment. */
static uint32_t crc_of(const struct segment_id *id, const uint8_t *data, size_t len)
{
	uLong crc = crc32(0, id->b, SEGMENT_ID_LEN);

	return len ? (uint32_t)crc32(crc, data, (uInt)len) : (uint32_t)crc;
}

void segment_frame_head(const struct segment_id *id, const struct frame *f,
			uint8_t head[static SEGMENT_HEAD])
{
	struct writer w = writer_init(head, SEGMENT_HEAD);

	writer_u32(&w, MAGIC);
	writer_u8(&w, SEGMENT_VERSION);
	writer_u8(&w, (uint8_t)f->kind);
	writer_u16(&w, f->flags);
	writer_u32(&w, f->length);
	writer_u32(&w, f->ordinal);
	writer_u32(&w, f->group);
	writer_u64(&w, (uint64_t)f->received_ns);
	writer_u32(&w, crc_of(id, f->body, f->length));
	writer_u32(&w, crc_of(id, head, HEAD_CRC_AT));
}

static bool kind_known(uint8_t kind)
{
	return (kind >= FRAME_BATCH && kind <= FRAME_RETENTION) || kind == FRAME_BEGIN ||
	       kind == FRAME_END;
}

/* NULL, or what is wrong with the head. */
static const char *head_parse(const struct segment_id *id, const uint8_t *head, struct frame *f,
			      uint32_t *ret_crc)
{
	struct reader r = reader_init(head, SEGMENT_HEAD);
	uint32_t magic = reader_u32(&r);
	uint8_t version = reader_u8(&r), kind = reader_u8(&r);

	f->flags = reader_u16(&r);
	f->length = reader_u32(&r);
	f->ordinal = reader_u32(&r);
	f->group = reader_u32(&r);
	f->received_ns = (int64_t)reader_u64(&r);
	*ret_crc = reader_u32(&r);
	if (magic != MAGIC)
		return "no frame begins here";
	if (reader_u32(&r) != crc_of(id, head, HEAD_CRC_AT))
		return "the checksum of the frame's head is wrong";
	if (version != SEGMENT_VERSION)
		return "the frame has a version that this program does not know";
	if (!kind_known(kind) || f->length > SEGMENT_BODY_MAX || f->group > f->ordinal)
		return "the frame's head makes no sense";
	f->kind = (enum frame_kind)kind;
	return NULL;
}

ssize_t segment_pread(void *fd, uint64_t offset, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(*(const int *)fd, (char *)buf + done, len - done,
				  (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int bad_at(struct error *e, uint64_t offset, const char *why)
{
	return error_set(e, -EBADMSG, "byte %llu: %s", (unsigned long long)offset, why);
}

static int read_error(struct error *e, int code, uint64_t offset)
{
	return error_set(e, code, "cannot read at byte %llu: %m", (unsigned long long)offset);
}

static int read_head(segment_read_fn read, void *ctx, const struct segment_id *id, uint64_t offset,
		     struct frame *f, uint32_t *ret_crc, struct error *e)
{
	uint8_t head[SEGMENT_HEAD];
	ssize_t n = read(ctx, offset, head, sizeof(head));
	const char *why;

	*f = (struct frame){ .offset = offset };
	*ret_crc = 0;
	if (n < 0)
		return read_error(e, (int)n, offset);
	if (n != SEGMENT_HEAD)
		return bad_at(e, offset, "the file ends inside a frame's head");
	why = head_parse(id, head, f, ret_crc);
	return why ? bad_at(e, offset, why) : 0;
}

int segment_read_head(segment_read_fn read, void *ctx, const struct segment_id *id, uint64_t offset,
		      struct frame *ret_f, struct error *e)
{
	uint32_t crc;

	return read_head(read, ctx, id, offset, ret_f, &crc, e);
}

int segment_read_frame(segment_read_fn read, void *ctx, const struct segment_id *id,
		       uint64_t offset, struct frame *ret_f, uint8_t **ret_body, struct error *e)
{
	AUTO(free_ptr) uint8_t *body = NULL;
	uint32_t crc;
	ssize_t n;
	int r = read_head(read, ctx, id, offset, ret_f, &crc, e);

	if (r)
		return r;
	body = malloc(ret_f->length ? ret_f->length : 1);
	if (!body)
		return error_set(e, -ENOMEM, "cannot allocate %u bytes for a frame", ret_f->length);
	n = read(ctx, offset + SEGMENT_HEAD, body, ret_f->length);
	if (n < 0)
		return read_error(e, (int)n, offset + SEGMENT_HEAD);
	if (n != (ssize_t)ret_f->length)
		return bad_at(e, offset, "the file ends inside the frame");
	if (crc != crc_of(id, body, ret_f->length))
		return bad_at(e, offset, "the checksum of the frame's body is wrong");
	ret_f->body = body;
	*ret_body = TAKE(body);
	return 0;
}

struct segment_scan {
	segment_read_fn read;
	void *ctx;
	struct segment_id id;
	uint64_t size;
	uint64_t at; /* where the next frame should begin */
	uint32_t ordinal; /* that it should have */
	uint64_t window_at; /* file offset of window[0] */
	size_t window_len;
	uint8_t *window; /* WINDOW bytes */
};

int segment_scan_new(segment_read_fn read, void *ctx, const struct segment_id *id, uint64_t size,
		     struct segment_scan **ret_s, struct error *e)
{
	struct segment_scan *s = calloc(1, sizeof(*s));

	if (s)
		s->window = malloc(WINDOW);
	if (!s || !s->window) {
		free(s);
		return error_set(e, -ENOMEM, "cannot allocate a buffer to read a segment");
	}
	s->read = read;
	s->ctx = ctx;
	s->id = *id;
	s->size = size;
	*ret_s = s;
	return 0;
}

void segment_scan_free(struct segment_scan *s)
{
	if (s)
		free(s->window);
	free(s);
}

uint64_t segment_scan_offset(const struct segment_scan *s)
{
	return s->at;
}

void segment_scan_seek(struct segment_scan *s, uint64_t offset, uint32_t ordinal)
{
	s->at = offset;
	s->ordinal = ordinal;
}

/* Bytes at offset that are in the window, at least want of them unless the file ends. */
static int window_at(struct segment_scan *s, uint64_t offset, size_t want, const uint8_t **ret,
		     size_t *ret_len)
{
	uint64_t left = offset < s->size ? s->size - offset : 0;
	ssize_t n;

	if (want > left)
		want = (size_t)left;
	if (offset < s->window_at || offset + want > s->window_at + s->window_len) {
		n = s->read(s->ctx, offset, s->window, left < WINDOW ? (size_t)left : WINDOW);
		if (n < 0)
			return (int)n;
		s->window_at = offset;
		s->window_len = (size_t)n;
	}
	*ret = s->window + (offset - s->window_at);
	*ret_len = s->window_len - (size_t)(offset - s->window_at);
	return 0;
}

/* NULL and a frame, or why there is none. */
static const char *frame_at(struct segment_scan *s, uint64_t offset, struct frame *f,
			    int *ret_error)
{
	const uint8_t *p = NULL;
	const char *why;
	size_t len = 0;
	uint32_t crc;

	*ret_error = window_at(s, offset, SEGMENT_HEAD, &p, &len);
	if (*ret_error)
		return "cannot be read";
	if (len < SEGMENT_HEAD)
		return "the file ends inside a frame's head";
	why = head_parse(&s->id, p, f, &crc);
	if (why)
		return why;
	*ret_error = window_at(s, offset, SEGMENT_HEAD + (size_t)f->length, &p, &len);
	if (*ret_error)
		return "cannot be read";
	if (len < SEGMENT_HEAD + (size_t)f->length)
		return "the file ends inside the frame";
	f->offset = offset;
	f->body = p + SEGMENT_HEAD;
	return crc == crc_of(&s->id, f->body, f->length) ?
		       NULL :
		       "the checksum of the frame's body is wrong";
}

static bool trailer_here(struct segment_scan *s)
{
	const uint8_t *p;
	size_t len;
	uint64_t end;

	return s->size - s->at == SEGMENT_TRAILER &&
	       window_at(s, s->at, SEGMENT_TRAILER, &p, &len) == 0 && len == SEGMENT_TRAILER &&
	       segment_trailer_parse(p, &end) && end < s->at;
}

int segment_scan_next(struct segment_scan *s, struct frame *ret_f, struct error *e)
{
	const char *why;
	int r;

	if (s->at >= s->size)
		return 0;
	why = frame_at(s, s->at, ret_f, &r);
	if (r)
		return read_error(e, r, s->at);
	if (why && trailer_here(s)) {
		s->at = s->size;
		return 0;
	}
	if (!why && ret_f->ordinal != s->ordinal)
		why = "the frame has another number than its place demands";
	if (why)
		return bad_at(e, s->at, why);
	s->at += SEGMENT_HEAD + (uint64_t)ret_f->length;
	s->ordinal++;
	return 1;
}

static const uint8_t *find_magic(const uint8_t *p, size_t len)
{
	static const uint8_t magic[4] = { 'E', 'X', 'H', 'F' };

	return memmem(p, len, magic, sizeof(magic));
}

/* The first whole frame at or behind *at with a number of at least ordinal. 1, 0 (none), negative errno. */
static int find_frame(struct segment_scan *s, uint64_t *at, uint32_t ordinal, struct frame *ret_f)
{
	while (*at + SEGMENT_HEAD <= s->size) {
		const uint8_t *p, *hit;
		size_t len;
		int r = window_at(s, *at, SEGMENT_HEAD, &p, &len);

		if (r)
			return r;
		hit = find_magic(p, len);
		if (!hit) {
			*at += len > 3 ? len - 3 : len + 1;
			continue;
		}
		*at += (uint64_t)(hit - p);
		if (!frame_at(s, *at, ret_f, &r) && ret_f->ordinal >= ordinal)
			return 1;
		if (r)
			return r;
		*at += 1;
	}
	*at = s->size;
	return 0;
}

int segment_scan_skip(struct segment_scan *s, struct error *e)
{
	struct frame f = { .ordinal = s->ordinal };
	uint64_t at = s->at;
	int r = find_frame(s, &at, s->ordinal, &f);

	if (r < 0)
		return read_error(e, r, at);
	s->at = at;
	s->ordinal = f.ordinal;
	return 0;
}

int segment_scan_judge(struct segment_scan *s, uint64_t durable, enum segment_fault *ret_fault,
		       struct error *e)
{
	uint64_t at = s->at;
	struct frame f = { 0 };
	int r;

	*ret_fault = s->at < durable ? SEGMENT_DAMAGED : SEGMENT_TORN;
	if (s->at < durable)
		return 0;
	/* A group that began behind the bad frame was begun only after the bad frame's own was durable. */
	while ((r = find_frame(s, &at, s->ordinal, &f)) == 1) {
		if (f.group > s->ordinal) {
			*ret_fault = SEGMENT_DAMAGED;
			return 0;
		}
		at += SEGMENT_HEAD + (uint64_t)f.length;
	}
	return r < 0 ? read_error(e, r, at) : 0;
}

/* ---- bodies ---- */

static void name_write(struct writer *w, const struct batch_name *n)
{
	writer_u8(w, n->len);
	writer_bytes(w, n->b, n->len);
}

static void name_read(struct reader *r, struct batch_name *n)
{
	uint8_t len = reader_u8(r);

	reader_copy(r, n->b, len);
	n->len = r->bad ? 0 : len;
}

size_t segment_begin_pack(const struct segment_begin *b, uint8_t buf[static SEGMENT_BEGIN_MAX])
{
	struct writer w = writer_init(buf, SEGMENT_BEGIN_MAX);

	writer_bytes(&w, b->id.b, SEGMENT_ID_LEN);
	writer_bytes(&w, b->previous.b, SEGMENT_ID_LEN);
	writer_bytes(&w, b->previous_root.b, SEAL_HASH_LEN);
	writer_u64(&w, b->previous_length);
	writer_u64(&w, (uint64_t)b->created_ns);
	writer_u8(&w, b->retention_class);
	name_write(&w, &b->tenant);
	return w.done;
}

int segment_begin_parse(const uint8_t *body, size_t len, struct segment_begin *ret_b,
			struct error *e)
{
	struct reader r = reader_init(body, len);

	*ret_b = (struct segment_begin){ 0 };
	reader_copy(&r, ret_b->id.b, SEGMENT_ID_LEN);
	reader_copy(&r, ret_b->previous.b, SEGMENT_ID_LEN);
	reader_copy(&r, ret_b->previous_root.b, SEAL_HASH_LEN);
	ret_b->previous_length = reader_u64(&r);
	ret_b->created_ns = (int64_t)reader_u64(&r);
	ret_b->retention_class = reader_u8(&r);
	name_read(&r, &ret_b->tenant);
	if (!reader_done(&r) || ret_b->tenant.len == 0)
		return error_set(e, -EBADMSG, "the segment's first frame makes no sense");
	return 0;
}

uint64_t segment_previous_length(int dirfd, const char *name, const struct segment_id *id,
				 const struct segment_id *previous)
{
	AUTO(close_fd) int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	AUTO(free_ptr) uint8_t *body = NULL;
	struct segment_begin b;
	struct frame f = { 0 };

	if (fd < 0 || segment_read_frame(segment_pread, &fd, id, 0, &f, &body, NULL) ||
	    f.kind != FRAME_BEGIN || segment_begin_parse(body, f.length, &b, NULL) ||
	    memcmp(b.previous.b, previous->b, SEGMENT_ID_LEN) != 0)
		return 0;
	return b.previous_length;
}

void segment_end_write(struct writer *w, const struct segment_end *end)
{
	writer_u32(w, end->frames);
	writer_u32(w, end->batches);
	writer_u32(w, end->tombstones);
	writer_u64(w, end->events);
	writer_u64(w, (uint64_t)end->first_wall_ns);
	writer_u64(w, (uint64_t)end->last_wall_ns);
	writer_u64(w, (uint64_t)end->first_received_ns);
	writer_u64(w, (uint64_t)end->last_received_ns);
	writer_bytes(w, end->root.b, SEAL_HASH_LEN);
	writer_bytes(w, end->sha256.b, SEAL_HASH_LEN);
	writer_u32(w, end->streams);
}

int segment_end_read(struct reader *r, struct segment_end *ret_end, struct error *e)
{
	ret_end->frames = reader_u32(r);
	ret_end->batches = reader_u32(r);
	ret_end->tombstones = reader_u32(r);
	ret_end->events = reader_u64(r);
	ret_end->first_wall_ns = (int64_t)reader_u64(r);
	ret_end->last_wall_ns = (int64_t)reader_u64(r);
	ret_end->first_received_ns = (int64_t)reader_u64(r);
	ret_end->last_received_ns = (int64_t)reader_u64(r);
	reader_copy(r, ret_end->root.b, SEAL_HASH_LEN);
	reader_copy(r, ret_end->sha256.b, SEAL_HASH_LEN);
	ret_end->streams = reader_u32(r);
	if (r->bad || ret_end->streams > SEGMENT_STREAMS_MAX)
		return error_set(e, -EBADMSG, "the segment's last frame makes no sense");
	return 0;
}

void segment_end_stream_write(struct writer *w, const struct segment_end_stream *s)
{
	name_write(w, &s->host_id);
	writer_bytes(w, s->boot_id, BATCH_BOOT_LEN);
	writer_bytes(w, s->epoch, BATCH_EPOCH_LEN);
	writer_u8(w, s->lane);
	writer_u64(w, s->first_number);
	writer_u64(w, s->last_number);
}

int segment_end_stream_read(struct reader *r, struct segment_end_stream *ret_s)
{
	if (!r->bad && r->left == 0)
		return 0;
	name_read(r, &ret_s->host_id);
	reader_copy(r, ret_s->boot_id, BATCH_BOOT_LEN);
	reader_copy(r, ret_s->epoch, BATCH_EPOCH_LEN);
	ret_s->lane = reader_u8(r);
	ret_s->first_number = reader_u64(r);
	ret_s->last_number = reader_u64(r);
	return r->bad ? -EBADMSG : 1;
}

void segment_trailer_pack(uint64_t end_offset, uint8_t buf[static SEGMENT_TRAILER])
{
	struct writer w = writer_init(buf, SEGMENT_TRAILER);

	writer_u64(&w, end_offset);
	writer_u64(&w, TRAILER_MAGIC);
}

bool segment_trailer_parse(const uint8_t buf[static SEGMENT_TRAILER], uint64_t *ret_end_offset)
{
	struct reader r = reader_init(buf, SEGMENT_TRAILER);

	*ret_end_offset = reader_u64(&r);
	return reader_u64(&r) == TRAILER_MAGIC;
}
