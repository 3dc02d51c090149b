/* SPDX-License-Identifier: Apache-2.0 */
/* Life, callbacks and end of a stream; sending is rpc_stream_send.c, receiving rpc_stream_receive.c. */
#include "proto/rpc_stream.h"

#include "proto/base/clock.h"
#include "proto/rpc_server.h"
#include "proto/rpc_stream_core.h"

#include <errno.h>
#include <stdio.h>

static const char *const status_names[] = {
	[RPC_OK] = "OK",
	[RPC_CANCELLED] = "CANCELLED",
	[RPC_UNKNOWN] = "UNKNOWN",
	[RPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
	[RPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
	[RPC_NOT_FOUND] = "NOT_FOUND",
	[RPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
	[RPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
	[RPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
	[RPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
	[RPC_ABORTED] = "ABORTED",
	[RPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
	[RPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
	[RPC_INTERNAL] = "INTERNAL",
	[RPC_UNAVAILABLE] = "UNAVAILABLE",
	[RPC_DATA_LOSS] = "DATA_LOSS",
	[RPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *rpc_status_name(enum rpc_status status)
{
	return (size_t)status < ARRAY_LEN(status_names) ? status_names[status] :
							  status_names[RPC_UNKNOWN];
}

/* ---- references -------------------------------------------------------------------------------- */

static void closed(void *owner, bool ok);
static void headers_done(void *owner, bool ok);
static void kick_done(void *owner, bool ok);

struct rpc_stream *rpc_stream_new(struct rpc_loop *l, bool server)
{
	struct rpc_stream *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	atomic_init(&s->refs, 1);
	s->loop = l;
	s->server = server;
	s->core_text = grpc_empty_slice();
	grpc_metadata_array_init(&s->metadata);
	grpc_metadata_array_init(&s->trailing);
	grpc_call_details_init(&s->details);
	(void)pthread_mutex_init(&s->lock, NULL);
	s->tag_headers = (struct rpc_tag){ headers_done, s };
	s->tag_receive = (struct rpc_tag){ rpc_stream_received, s };
	s->tag_send = (struct rpc_tag){ rpc_stream_sent, s };
	s->tag_end = (struct rpc_tag){ rpc_stream_end_sent, s };
	s->tag_closed = (struct rpc_tag){ closed, s };
	s->tag_kick = (struct rpc_tag){ kick_done, s };
	return s;
}

static void stream_free(struct rpc_stream *s)
{
	rpc_stream_break(s);
	free(s->message);
	if (s->call != NULL)
		grpc_call_unref(s->call);
	grpc_slice_unref(s->core_text);
	grpc_metadata_array_destroy(&s->metadata);
	grpc_metadata_array_destroy(&s->trailing);
	grpc_call_details_destroy(&s->details);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

struct rpc_stream *rpc_stream_ref(struct rpc_stream *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void rpc_stream_unref(struct rpc_stream *s)
{
	if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
		stream_free(s);
}

/* ---- operations -------------------------------------------------------------------------------- */

int rpc_stream_start(struct rpc_stream *s, const grpc_op *ops, size_t n, struct rpc_tag *tag)
{
	int r;

	if (s->call == NULL)
		return -EPIPE;
	rpc_stream_ref(s);
	s->ops_in_flight++;
	r = rpc_loop_batch(s->loop, s->call, ops, n, tag);
	if (r < 0) {
		s->ops_in_flight--;
		atomic_fetch_sub(&s->refs, 1); /* not the last: the caller has one */
	}
	return r;
}

void rpc_stream_op_end(struct rpc_stream *s)
{
	grpc_call *done = NULL;

	pthread_mutex_lock(&s->lock);
	if (--s->ops_in_flight == 0 && s->closed_told) {
		done = s->call;
		s->call = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	if (done != NULL)
		grpc_call_unref(done);
	rpc_stream_unref(s);
}

static void headers_done(void *owner, bool ok)
{
	(void)ok; /* a failure shows in the terminal operation */
	rpc_stream_op_end(owner);
}

static void kick_done(void *owner, bool ok)
{
	struct rpc_stream *s = owner;

	(void)ok;
	pthread_mutex_lock(&s->lock);
	s->kicked = false;
	pthread_mutex_unlock(&s->lock);
	rpc_stream_deliver(s);
	rpc_stream_op_end(s);
}

/* Have rpc_stream_deliver called on a loop thread. Lock held. */
static void kick(struct rpc_stream *s)
{
	if (!s->kicked && !s->closed_told)
		s->kicked = rpc_stream_start(s, NULL, 0, &s->tag_kick) >= 0;
}

static int begin_server(struct rpc_stream *s)
{
	grpc_op close = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
	grpc_op headers = { .op = GRPC_OP_SEND_INITIAL_METADATA };
	int r;

	close.data.recv_close_on_server.cancelled = &s->cancelled;
	r = rpc_stream_start(s, &close, 1, &s->tag_closed);
	if (r >= 0 && rpc_stream_start(s, &headers, 1, &s->tag_headers) < 0)
		s->broken = true;
	return r;
}

static int begin_client(struct rpc_stream *s, bool wait_for_ready)
{
	grpc_op status = { .op = GRPC_OP_RECV_STATUS_ON_CLIENT };
	grpc_op headers[2] = { { .op = GRPC_OP_SEND_INITIAL_METADATA },
			       { .op = GRPC_OP_RECV_INITIAL_METADATA } };
	int r;

	status.data.recv_status_on_client.trailing_metadata = &s->trailing;
	status.data.recv_status_on_client.status = &s->core_status;
	status.data.recv_status_on_client.status_details = &s->core_text;
	headers[0].flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET |
			   (wait_for_ready ? GRPC_INITIAL_METADATA_WAIT_FOR_READY : 0);
	headers[1].data.recv_initial_metadata.recv_initial_metadata = &s->metadata;
	r = rpc_stream_start(s, &status, 1, &s->tag_closed);
	if (r >= 0 && rpc_stream_start(s, headers, 2, &s->tag_headers) < 0)
		s->broken = true;
	return r;
}

int rpc_stream_begin(struct rpc_stream *s, bool wait_for_ready)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = s->server ? begin_server(s) : begin_client(s, wait_for_ready);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- callbacks --------------------------------------------------------------------------------- */

enum event { EVENT_NONE, EVENT_MESSAGE, EVENT_READ_END, EVENT_SENDABLE, EVENT_CLOSED };

static void drop_message(struct rpc_stream *s)
{
	free(s->message);
	s->message = NULL;
}

/* What a broken stream or a lost peer has left is not worth telling; a client's last message before RPC_OK
 * is. */
static bool message_is_void(const struct rpc_stream *s)
{
	return s->dropped || (s->ended && (s->server || s->status != RPC_OK));
}

static enum event next_event(struct rpc_stream *s)
{
	if (s->message != NULL && message_is_void(s))
		drop_message(s);
	if (s->message != NULL)
		return s->want ? EVENT_MESSAGE : EVENT_NONE;
	if (s->ended)
		return s->armed || s->closed_told ? EVENT_NONE : EVENT_CLOSED;
	if (s->read_ended && !s->read_end_told)
		return EVENT_READ_END;
	return s->sendable_due && !s->ending ? EVENT_SENDABLE : EVENT_NONE;
}

static void tell_message(struct rpc_stream *s)
{
	uint8_t *data = s->message;
	size_t len = s->message_len;

	s->message = NULL;
	pthread_mutex_unlock(&s->lock);
	if (s->ops != NULL && s->ops->on_message != NULL)
		s->ops->on_message(s, data, len, s->ctx);
	else
		free(data);
	pthread_mutex_lock(&s->lock);
}

static void tell_read_end(struct rpc_stream *s)
{
	s->read_end_told = true;
	pthread_mutex_unlock(&s->lock);
	if (s->ops != NULL && s->ops->on_read_end != NULL)
		s->ops->on_read_end(s, s->ctx);
	else if (s->server)
		rpc_stream_finish(s, RPC_OK, NULL);
	pthread_mutex_lock(&s->lock);
}

static void tell_sendable(struct rpc_stream *s)
{
	s->sendable_due = false;
	pthread_mutex_unlock(&s->lock);
	if (s->ops != NULL && s->ops->on_sendable != NULL)
		s->ops->on_sendable(s, s->ctx);
	pthread_mutex_lock(&s->lock);
}

/* The registry comes last: whoever waits for it to be empty may free what the callbacks used. */
static void tell_closed(struct rpc_stream *s)
{
	s->closed_told = true;
	pthread_mutex_unlock(&s->lock);
	if (s->ops != NULL && s->ops->on_closed != NULL)
		s->ops->on_closed(s, s->status, s->text, s->ctx);
	if (s->on_released != NULL)
		s->on_released(s->owner);
	if (s->registry != NULL)
		rpc_registry_remove(s->registry, &s->link);
	rpc_stream_unref(s); /* the library's; the operation that brought us here has one more */
	pthread_mutex_lock(&s->lock);
}

static void tell(struct rpc_stream *s, enum event event)
{
	static void (*const by_event[])(struct rpc_stream *) = {
		[EVENT_MESSAGE] = tell_message,
		[EVENT_READ_END] = tell_read_end,
		[EVENT_SENDABLE] = tell_sendable,
		[EVENT_CLOSED] = tell_closed,
	};

	by_event[event](s);
}

void rpc_stream_deliver(struct rpc_stream *s)
{
	enum event event;

	pthread_mutex_lock(&s->lock);
	if (!s->delivering) {
		s->delivering = true;
		while ((event = next_event(s)) != EVENT_NONE)
			tell(s, event);
		rpc_stream_arm(s);
		s->delivering = false;
	}
	pthread_mutex_unlock(&s->lock);
}

void rpc_stream_opened(struct rpc_stream *s)
{
	pthread_mutex_lock(&s->lock);
	s->delivering = false;
	pthread_mutex_unlock(&s->lock);
	rpc_stream_deliver(s);
	rpc_stream_unref(s);
}

void rpc_stream_serve(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *ctx)
{
	s->ops = ops;
	s->ctx = ctx;
}

/* ---- the end ----------------------------------------------------------------------------------- */

static void set_text(struct rpc_stream *s, const void *text, size_t len)
{
	if (len >= sizeof(s->text))
		len = sizeof(s->text) - 1;
	memcpy(s->text, text, len);
	s->text[len] = '\0';
}

static void set_client_end(struct rpc_stream *s)
{
	bool known = (size_t)s->core_status < ARRAY_LEN(status_names);

	s->status = known ? (enum rpc_status)s->core_status : RPC_UNKNOWN;
	set_text(s, GRPC_SLICE_START_PTR(s->core_text), GRPC_SLICE_LENGTH(s->core_text));
}

static void set_server_end(struct rpc_stream *s)
{
	static const char gone[] = "the peer went away";

	if (s->aborted || !s->cancelled)
		return; /* what we decided ourselves */
	s->status = RPC_CANCELLED;
	set_text(s, gone, sizeof(gone) - 1);
}

static void closed(void *owner, bool ok)
{
	struct rpc_stream *s = owner;

	(void)ok; /* always */
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	if (s->server)
		set_server_end(s);
	else
		set_client_end(s);
	rpc_stream_break(s);
	pthread_mutex_unlock(&s->lock);
	rpc_stream_deliver(s);
	rpc_stream_op_end(s);
}

void rpc_stream_finish(struct rpc_stream *s, enum rpc_status status, const char *text)
{
	pthread_mutex_lock(&s->lock);
	if (s->server && !s->ending && !s->ended && !s->aborted) {
		s->ending = true;
		s->status = status;
		set_text(s, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
		rpc_stream_pump(s);
	}
	pthread_mutex_unlock(&s->lock);
}

void rpc_stream_close_send(struct rpc_stream *s)
{
	pthread_mutex_lock(&s->lock);
	if (!s->server && !s->ending && !s->ended) {
		s->ending = true;
		rpc_stream_pump(s);
	}
	pthread_mutex_unlock(&s->lock);
}

void rpc_stream_abort(struct rpc_stream *s, enum rpc_status status, const char *text)
{
	pthread_mutex_lock(&s->lock);
	s->dropped = true;
	if (!s->ended && !s->aborted) {
		s->aborted = true;
		if (s->server) {
			s->status = status;
			set_text(s, text, strlen(text));
		}
		rpc_stream_break(s);
		if (s->call != NULL)
			(void)grpc_call_cancel_with_status(s->call, (grpc_status_code)status, text,
							   NULL);
	}
	kick(s); /* for a message that holds back on_closed */
	pthread_mutex_unlock(&s->lock);
}

void rpc_stream_cancel(struct rpc_stream *s)
{
	rpc_stream_abort(s, RPC_CANCELLED, "cancelled on this side");
}

/* ---- what one can ask and set ------------------------------------------------------------------ */

void rpc_stream_want_read(struct rpc_stream *s, bool want)
{
	pthread_mutex_lock(&s->lock);
	s->want = want;
	if (want && s->message != NULL)
		kick(s);
	else
		rpc_stream_arm(s);
	pthread_mutex_unlock(&s->lock);
}

bool rpc_stream_check_idle(struct rpc_stream *s, uint64_t now_ns)
{
	uint64_t limit_ms;
	char text[64];
	bool over;

	pthread_mutex_lock(&s->lock);
	limit_ms = s->any_message ? s->idle_ms : s->first_message_ms;
	over = limit_ms != 0 && s->want && s->armed && !s->ending && !s->ended && !s->aborted &&
	       now_ns > s->waiting_since_ns &&
	       now_ns - s->waiting_since_ns > limit_ms * NSEC_PER_MSEC;
	pthread_mutex_unlock(&s->lock);
	if (!over)
		return false;
	(void)snprintf(text, sizeof(text), "no whole message came for %llu s",
		       (unsigned long long)(limit_ms / 1000));
	rpc_stream_abort(s, RPC_DEADLINE_EXCEEDED, text);
	return true;
}

const struct identity *rpc_stream_peer(const struct rpc_stream *s)
{
	return s->server ? &s->peer : NULL;
}

const char *rpc_stream_remote(const struct rpc_stream *s)
{
	return s->remote;
}

const char *rpc_stream_path(const struct rpc_stream *s)
{
	return s->path;
}
