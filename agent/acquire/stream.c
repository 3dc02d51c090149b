/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <zstd.h>

#include "agent/acquire/control.h"
#include "agent/acquire/output_internal.h"
#include "exhibit.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/writer.h"

#define LEVEL 1
#define HEAD_LEN 4
#define PROGRESS_NS (NSEC_PER_SEC / 2)
#define BURST_NS (NSEC_PER_SEC / 10) /* of the rate limit */

struct stream {
	struct stream_config c;
	uint64_t until_ns; /* monotonic; 0: no limit */
	uint64_t free_ns; /* when the rate limit lets the next byte through */
	uint64_t bytes, expected_bytes, said_ns;
	ZSTD_CCtx *zstd;
	uint8_t *packed; /* STREAM_MESSAGE_MAX */
	uint8_t *frame; /* HEAD_LEN + STREAM_MESSAGE_MAX */
};

static bool told_to_stop(const struct stream *s)
{
	return s->c.stop != NULL && *s->c.stop != 0;
}

static int stream_ready(void *ctx, struct error *e)
{
	const struct stream *s = ctx;

	if (told_to_stop(s))
		return error_set(e, -ECANCELED, "the acquisition was told to stop");
	if (s->until_ns != 0 && s->c.now_ns() >= s->until_ns)
		return error_set(e, -ECANCELED, "the limit of %llu seconds is used up",
				 (unsigned long long)s->c.max_seconds);
	return 0;
}

/* Not before the rate limit allows; a stop is not waited out. */
static void pace(struct stream *s, uint64_t bytes)
{
	uint64_t now = s->c.now_ns();

	if (s->c.bytes_per_second == 0)
		return;
	if (s->free_ns + BURST_NS < now)
		s->free_ns = now - BURST_NS;
	s->free_ns += (uint64_t)((double)bytes / (double)s->c.bytes_per_second * 1e9);
	while ((now = s->c.now_ns()) < s->free_ns && !told_to_stop(s)) {
		uint64_t ns = s->free_ns - now < NSEC_PER_SEC / 10 ? s->free_ns - now :
								     NSEC_PER_SEC / 10;

		(void)nanosleep(&(struct timespec){ .tv_nsec = (long)ns }, NULL);
	}
}

/* Waiting is not the order's time. */
static void wait_for_uplink(struct stream *s)
{
	struct pollfd p = { .fd = s->c.payload, .events = POLLOUT };
	uint64_t from = s->c.now_ns();

	(void)poll(&p, 1, 1000);
	if (s->until_ns != 0)
		s->until_ns += s->c.now_ns() - from;
}

static int send_frame(struct stream *s, size_t len, struct error *e)
{
	struct writer w = writer_init(s->frame, HEAD_LEN);
	const uint8_t *at = s->frame;

	writer_u32(&w, (uint32_t)len);
	for (size_t left = HEAD_LEN + len; left > 0;) {
		ssize_t n = send(s->c.payload, at, left, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			wait_for_uplink(s);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -EPIPE, "the uplink is gone");
		at += n;
		left -= (size_t)n;
	}
	return 0;
}

static int send_request(struct stream *s, const Exhibit__V1__UploadRequest *q, struct error *e)
{
	size_t len = exhibit__v1__upload_request__get_packed_size(q);

	if (len > STREAM_MESSAGE_MAX)
		return error_set(e, -EMSGSIZE, "a chunk is too long");
	(void)exhibit__v1__upload_request__pack(q, s->frame + HEAD_LEN);
	return send_frame(s, len, e);
}

static int tell(const struct stream *s, const struct control_message *m, struct error *e)
{
	int r = control_send(s->c.control, m);

	return r < 0 ? error_set(e, r, "cannot report to sense: %m") : 0;
}

static struct control_bytes text_of(const char *text)
{
	size_t len = text == NULL ? 0 : strnlen(text, CONTROL_TEXT_MAX);

	return (struct control_bytes){ .data = (const uint8_t *)(text == NULL ? "" : text),
				       .len = len };
}

static ProtobufCBinaryData data_of(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)data, .len = len };
}

static int stream_begin(void *ctx, uint32_t item, const char *name, const char *format,
			uint64_t expected_bytes, struct error *e)
{
	struct stream *s = ctx;
	Exhibit__V1__UploadRequest q = EXHIBIT__V1__UPLOAD_REQUEST__INIT;
	Exhibit__V1__ItemStart start = EXHIBIT__V1__ITEM_START__INIT;
	struct control_message m = { .kind = CONTROL_ITEM,
				     .u.item = { .item = item,
						 .expected_bytes = expected_bytes,
						 .name = text_of(name),
						 .format = text_of(format) } };

	start.item = item;
	start.name = data_of(name, strlen(name));
	start.format = data_of(format, strlen(format));
	start.expected_bytes = expected_bytes;
	q.kind_case = EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM;
	q.item = &start;
	s->expected_bytes += expected_bytes;
	int r = tell(s, &m, e);

	return r < 0 ? r : send_request(s, &q, e);
}

static int tell_progress(struct stream *s, struct error *e)
{
	uint64_t now = s->c.now_ns();

	if (now - s->said_ns < PROGRESS_NS)
		return 0;
	s->said_ns = now;
	return tell(
		s,
		&(struct control_message){
			.kind = CONTROL_PROGRESS,
			.u.progress = { .bytes = s->bytes, .expected_bytes = s->expected_bytes } },
		e);
}

/* What does not get smaller goes as it is. */
static void compress_chunk(struct stream *s, const struct output_chunk *c, Exhibit__V1__Chunk *to)
{
	size_t n = ZSTD_compress2(s->zstd, s->packed, STREAM_MESSAGE_MAX, c->data, c->len);

	if (ZSTD_isError(n) || n >= c->len) {
		to->codec = EXHIBIT__V1__CODEC__CODEC_RAW;
		to->data = data_of(c->data, c->len);
	} else {
		to->codec = EXHIBIT__V1__CODEC__CODEC_ZSTD;
		to->data = data_of(s->packed, n);
	}
}

static int stream_chunk(void *ctx, const struct output_chunk *c, struct error *e)
{
	struct stream *s = ctx;
	Exhibit__V1__UploadRequest q = EXHIBIT__V1__UPLOAD_REQUEST__INIT;
	Exhibit__V1__Chunk chunk = EXHIBIT__V1__CHUNK__INIT;

	chunk.item = c->item;
	chunk.offset = c->offset;
	chunk.raw_bytes = c->len;
	chunk.sha256 = data_of(c->hash.b, sizeof(c->hash.b));
	chunk.codec = EXHIBIT__V1__CODEC__CODEC_ZERO;
	if (c->data != NULL) {
		pace(s, c->len);
		compress_chunk(s, c, &chunk);
	}
	q.kind_case = EXHIBIT__V1__UPLOAD_REQUEST__KIND_CHUNK;
	q.chunk = &chunk;
	int r = send_request(s, &q, e);

	s->bytes += c->len;
	return r < 0 ? r : tell_progress(s, e);
}

static int stream_end(void *ctx, const struct output_ending *end, struct error *e)
{
	struct stream *s = ctx;
	Exhibit__V1__UploadRequest q = EXHIBIT__V1__UPLOAD_REQUEST__INIT;
	Exhibit__V1__ItemEnd item = EXHIBIT__V1__ITEM_END__INIT;

	item.item = end->item;
	item.bytes = end->bytes;
	item.sha256 = data_of(end->hash.b, sizeof(end->hash.b));
	q.kind_case = EXHIBIT__V1__UPLOAD_REQUEST__KIND_END;
	q.end = &item;
	int r = send_request(s, &q, e);

	return r < 0 ? r :
		       tell(s,
			    &(struct control_message){
				    .kind = CONTROL_ITEM_END,
				    .u.item_end = { .item = end->item,
						    .bytes = end->bytes,
						    .hash = end->hash,
						    .status = text_of(end->status) } },
			    e);
}

static int stream_note(void *ctx, const struct output_fact *f, struct error *e)
{
	struct control_message m = { .kind = CONTROL_NOTE,
				     .u.note = { .number = f->data == NULL,
						 .value = f->value,
						 .key = text_of(f->key),
						 .text = { .data = f->data, .len = f->len } } };

	return tell(ctx, &m, e);
}

static int stream_warn(void *ctx, bool lacking, const char *text, struct error *e)
{
	struct control_message m = { .kind = CONTROL_WARNING,
				     .u.warning = { .lacking = lacking, .text = text_of(text) } };

	return tell(ctx, &m, e);
}

static void stream_free(void *ctx)
{
	struct stream *s = ctx;

	(void)ZSTD_freeCCtx(s->zstd);
	free(s->packed);
	free(s->frame);
	free(s);
}

static const struct output_place stream_place = {
	.wants_hash = true,
	.ready = stream_ready,
	.begin = stream_begin,
	.chunk = stream_chunk,
	.end = stream_end,
	.note = stream_note,
	.warn = stream_warn,
	.free = stream_free,
};

int output_stream(const struct stream_config *c, struct output **ret, struct error *e)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot begin an exhibit: out of memory");
	s->c = *c;
	s->c.now_ns = c->now_ns == NULL ? clock_monotonic_ns : c->now_ns;
	s->zstd = ZSTD_createCCtx();
	s->packed = malloc(STREAM_MESSAGE_MAX);
	s->frame = malloc(HEAD_LEN + STREAM_MESSAGE_MAX);
	s->said_ns = s->c.now_ns();
	if (c->max_seconds != 0)
		s->until_ns = s->said_ns + c->max_seconds * NSEC_PER_SEC;
	int flags = fcntl(c->payload, F_GETFL);

	if (s->zstd == NULL || s->packed == NULL || s->frame == NULL ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(s->zstd, ZSTD_c_compressionLevel, LEVEL)) ||
	    flags < 0 || fcntl(c->payload, F_SETFL, flags | O_NONBLOCK) < 0) {
		stream_free(s);
		return error_set(e, -ENOMEM, "cannot begin an exhibit: out of memory");
	}
	return output_new(&stream_place, s, c->max_bytes, ret, e);
}
