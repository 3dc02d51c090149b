/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "agent/acquire/stream.h"
#include "agent/upload_queue.h"
#include "exhibit.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/reader.h"
#include "proto/envelope.h"

#define PATH "/exhibit.v1.Agent/Upload"
#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS 30000
#define REPLY_MAX KiB(4)
#define HEAD_LEN 4
#define READ_MAX MiB(4) /* of one payload, then others have their turn */

/* Field numbers of UploadRequest and UploadReply (exhibit.proto). */
enum { REQUEST_START = 1, REQUEST_MANIFEST = 5 };
enum { REPLY_DURABLE = 1, REPLY_RECEIPT = 2 };

struct upload {
	struct uplink_wire *wire;
	uint8_t id[LINK_ID_LEN];
	uint8_t *start; /* UploadRequest */
	size_t start_len;
	int payload; /* -1: ended */
	uint8_t head[HEAD_LEN], *frame;
	size_t have, need; /* of head, or of frame */
	struct upload_queue *queue;
	uint8_t *manifest; /* UploadRequest; NULL: not there yet */
	size_t manifest_len;
	bool manifest_sent; /* on this call */
	struct rpc_stream *stream;
	uint64_t stream_no, open_at_ns, backoff_ms;
	bool blocked; /* the connection has no room */
	bool answered; /* the collector said what it has */
	bool over;
};

int upload_new(struct uplink_wire *wire, const uint8_t id[static LINK_ID_LEN], const uint8_t *start,
	       size_t len, int payload, struct upload **ret, struct error *e)
{
	struct upload *u = calloc(1, sizeof(*u));

	if (u == NULL) {
		close_fd(&payload);
		return error_set(e, -ENOMEM, "cannot upload an exhibit: out of memory");
	}
	u->wire = wire;
	u->payload = payload;
	u->backoff_ms = BACKOFF_FIRST_MS;
	memcpy(u->id, id, LINK_ID_LEN);
	u->start = envelope_make(REQUEST_START, start, len, &u->start_len);
	u->queue = upload_queue_new();
	if (u->start == NULL || u->queue == NULL || fcntl(payload, F_SETFL, O_NONBLOCK) < 0) {
		upload_free(u);
		return error_set(e, -ENOMEM, "cannot upload an exhibit: out of memory");
	}
	*ret = u;
	return 0;
}

static void end_payload(struct upload *u)
{
	close_fd(&u->payload);
	u->payload = -1;
	free(TAKE(u->frame));
}

void upload_free(struct upload *u)
{
	if (u == NULL)
		return;
	if (u->stream != NULL)
		rpc_stream_cancel(u->stream);
	rpc_stream_unref(u->stream);
	end_payload(u);
	upload_queue_free(u->queue);
	free(u->start);
	free(u->manifest);
	free(u);
}

const uint8_t *upload_id(const struct upload *u)
{
	return u->id;
}

bool upload_over(const struct upload *u)
{
	return u->over;
}

static void tell(struct upload *u, enum link_kind kind, const void *data, size_t len)
{
	uint8_t body[LINK_ID_LEN + 512];
	size_t n = len < 512 ? len : 512;

	memcpy(body, u->id, LINK_ID_LEN);
	if (n > 0)
		memcpy(body + LINK_ID_LEN, data, n);
	/* Lost when sense is stuck: it asks again with its next link. */
	(void)!link_send(u->wire->link, &(struct link_message){ .kind = kind,
								.body = body,
								.len = LINK_ID_LEN + n });
	u->over = true;
}

static void fail(struct upload *u, const char *sentence)
{
	log_warn("an exhibit cannot be uploaded", KV_STR("error", sentence));
	tell(u, LINK_UPLOAD_FAILED, sentence, strlen(sentence));
	end_payload(u);
}

void upload_manifest(struct upload *u, const uint8_t *manifest, size_t len)
{
	free(u->manifest);
	u->manifest = envelope_make(REQUEST_MANIFEST, manifest, len, &u->manifest_len);
	if (u->manifest == NULL)
		fail(u, "the uplink is out of memory");
}

/* ---- the payload -------------------------------------------------------------------------------- */

int upload_fd(const struct upload *u)
{
	return u->over || upload_queue_full(u->queue) ? -1 : u->payload;
}

/* The next part: its length, or its bytes. 1: whole; 0: not yet; -EPIPE: the end. */
static int read_part(struct upload *u, uint8_t *to, size_t len)
{
	ssize_t n = recv(u->payload, to + u->have, len - u->have, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	u->have += (size_t)n;
	return u->have == len ? 1 : 0;
}

static int read_head(struct upload *u)
{
	int r = read_part(u, u->head, HEAD_LEN);
	struct reader reader = reader_init(u->head, HEAD_LEN);

	if (r <= 0)
		return r;
	u->have = 0;
	u->need = reader_u32(&reader);
	if (u->need == 0 || u->need > STREAM_MESSAGE_MAX)
		return -EBADMSG;
	u->frame = malloc(u->need);
	return u->frame == NULL ? -ENOMEM : 1;
}

static int read_frame(struct upload *u)
{
	int r = read_part(u, u->frame, u->need);

	if (r <= 0)
		return r;
	u->have = 0;
	r = upload_queue_push(u->queue, u->frame, u->need);
	if (r < 0)
		return r;
	u->frame = NULL; /* the queue's */
	return 1;
}

void upload_readable(struct upload *u)
{
	size_t taken = 0;
	int r = 1;

	while (r > 0 && taken < READ_MAX && u->payload >= 0 && !upload_queue_full(u->queue)) {
		r = u->frame == NULL ? read_head(u) : read_frame(u);
		taken += r > 0 && u->frame == NULL ? u->need : 0;
	}
	if (r == -EPIPE)
		end_payload(u); /* a torn frame at its end is of an acquirer that was killed */
	else if (r < 0)
		fail(u, "the acquirer sent what is no part of an exhibit");
}

/* ---- the call ------------------------------------------------------------------------------------ */

static void open_call(struct upload *u)
{
	u->stream = uplink_open(u->wire, PATH, REPLY_MAX, &u->stream_no);
	if (u->stream == NULL) {
		u->open_at_ns = uplink_later(&u->backoff_ms, BACKOFF_MAX_MS);
		return;
	}
	u->answered = u->manifest_sent = u->blocked = false;
	rpc_stream_want_read(u->stream, true);
	if (rpc_stream_send_copy(u->stream, u->start, u->start_len) < 0)
		rpc_stream_cancel(u->stream);
}

/* false: no room now, or the call is at its end. */
static bool send_copy(struct upload *u, const uint8_t *data, size_t len)
{
	int r = rpc_stream_send_copy(u->stream, data, len);

	u->blocked = r == -EAGAIN;
	if (r < 0 && r != -EAGAIN)
		rpc_stream_cancel(u->stream);
	return r == 0;
}

static void send_some(struct upload *u, uint64_t *bytes_allowed)
{
	const uint8_t *data;
	size_t len;

	while (*bytes_allowed > 0 && upload_queue_next(u->queue, &data, &len)) {
		if (!send_copy(u, data, len))
			return;
		upload_queue_sent(u->queue);
		*bytes_allowed -= len < *bytes_allowed ? len : *bytes_allowed;
	}
	if (u->manifest != NULL && u->payload < 0 && !u->manifest_sent &&
	    upload_queue_idle(u->queue))
		u->manifest_sent = send_copy(u, u->manifest, u->manifest_len);
}

void upload_tick(struct upload *u, bool connected, uint64_t *bytes_allowed)
{
	if (u->over)
		return;
	if (u->stream == NULL && connected && clock_monotonic_ns() >= u->open_at_ns)
		open_call(u);
	if (u->stream != NULL && u->answered && !u->blocked)
		send_some(u, bytes_allowed);
}

bool upload_wants_to_send(const struct upload *u)
{
	return u->stream != NULL && u->answered && !u->blocked && !u->over &&
	       !upload_queue_idle(u->queue);
}

static void take_durable(struct upload *u, const uint8_t *body, size_t len)
{
	Exhibit__V1__UploadDurable *d = exhibit__v1__upload_durable__unpack(NULL, len, body);

	if (d == NULL) {
		rpc_stream_cancel(u->stream);
		return;
	}
	if (u->answered)
		upload_queue_durable(u->queue, d->requests);
	else
		upload_queue_rewind(u->queue, d->item, d->offset);
	u->answered = true;
	u->backoff_ms = BACKOFF_FIRST_MS;
	exhibit__v1__upload_durable__free_unpacked(d, NULL);
}

static void take_reply(struct upload *u, const uint8_t *data, size_t len)
{
	uint32_t field;
	const uint8_t *body;
	size_t body_len;
	int r = envelope_open(data, len, REPLY_RECEIPT, &field, &body, &body_len);

	if (r == -ENOMSG)
		return;
	if (r < 0)
		rpc_stream_cancel(u->stream);
	else if (field == REPLY_DURABLE)
		take_durable(u, body, body_len);
	else
		tell(u, LINK_RECEIPT, body, body_len);
}

/* Another attempt would meet the same. */
static bool is_final(enum rpc_status status)
{
	switch (status) {
	case RPC_INVALID_ARGUMENT:
	case RPC_NOT_FOUND:
	case RPC_PERMISSION_DENIED:
	case RPC_FAILED_PRECONDITION:
	case RPC_OUT_OF_RANGE:
	case RPC_UNIMPLEMENTED:
	case RPC_DATA_LOSS:
		return true;
	case RPC_OK:
	case RPC_CANCELLED:
	case RPC_UNKNOWN:
	case RPC_DEADLINE_EXCEEDED:
	case RPC_ALREADY_EXISTS:
	case RPC_RESOURCE_EXHAUSTED:
	case RPC_ABORTED:
	case RPC_INTERNAL:
	case RPC_UNAVAILABLE:
	case RPC_UNAUTHENTICATED:
		break;
	}
	return false;
}

static void take_closed(struct upload *u, enum rpc_status status, const char *text)
{
	rpc_stream_unref(TAKE(u->stream));
	if (u->over)
		return;
	if (is_final(status))
		fail(u, text);
	else
		u->open_at_ns = uplink_later(&u->backoff_ms, BACKOFF_MAX_MS);
}

bool upload_inbox(struct upload *u, struct inbox_item *i)
{
	if (u->stream == NULL || i->stream_no != u->stream_no)
		return false;
	if (i->kind == INBOX_MESSAGE && !u->over)
		take_reply(u, i->data, i->len);
	else if (i->kind == INBOX_CLOSED)
		take_closed(u, i->status, i->text);
	else if (i->kind == INBOX_SENDABLE)
		u->blocked = false; /* the next tick sends */
	return true;
}
