/* SPDX-License-Identifier: Apache-2.0 */
/* The way out of a stream: a ring of messages, one in core's hands at a time, then the end. Never
 * GRPC_WRITE_BUFFER_HINT: with cumulative acknowledgements it deadlocks (transport.md fact 12). */
#include "proto/rpc_stream.h"
#include "proto/rpc_stream_core.h"

#include <errno.h>

static void start_message(struct rpc_stream *s)
{
	grpc_op op = { .op = GRPC_OP_SEND_MESSAGE };
	grpc_byte_buffer *buffer = s->queue[s->queue_at];

	op.data.send_message.send_message = buffer;
	s->queue_at = (s->queue_at + 1) % RPC_SEND_QUEUE_MAX;
	s->queue_len--;
	if (rpc_stream_start(s, &op, 1, &s->tag_send) >= 0)
		s->sending = true;
	else
		rpc_stream_break(s); /* the terminal operation will tell */
	grpc_byte_buffer_destroy(buffer); /* core has the slices */
}

static void start_end(struct rpc_stream *s)
{
	grpc_slice text = grpc_slice_from_copied_string(s->text);
	grpc_op op = { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT };

	if (s->server) {
		op.op = GRPC_OP_SEND_STATUS_FROM_SERVER;
		op.data.send_status_from_server.status = (grpc_status_code)s->status;
		op.data.send_status_from_server.status_details = &text;
	}
	s->end_started = true;
	if (rpc_stream_start(s, &op, 1, &s->tag_end) < 0)
		rpc_stream_break(s);
	grpc_slice_unref(text);
}

void rpc_stream_pump(struct rpc_stream *s)
{
	if (s->sending || s->broken || s->ended)
		return;
	if (s->queue_len > 0)
		start_message(s);
	else if (s->ending && !s->end_started)
		start_end(s);
}

void rpc_stream_break(struct rpc_stream *s)
{
	s->broken = true;
	for (; s->queue_len > 0; s->queue_len--) {
		grpc_byte_buffer_destroy(s->queue[s->queue_at]);
		s->queue_at = (s->queue_at + 1) % RPC_SEND_QUEUE_MAX;
	}
}

void rpc_stream_sent(void *owner, bool ok)
{
	struct rpc_stream *s = owner;

	pthread_mutex_lock(&s->lock);
	s->sending = false;
	if (!ok)
		rpc_stream_break(s);
	rpc_stream_pump(s);
	if (s->want_sendable && s->queue_len <= RPC_SEND_QUEUE_MAX / 2) {
		s->want_sendable = false;
		s->sendable_due = true;
	}
	pthread_mutex_unlock(&s->lock);
	rpc_stream_deliver(s);
	rpc_stream_op_end(s);
}

void rpc_stream_end_sent(void *owner, bool ok)
{
	(void)ok; /* a failure shows in the terminal operation */
	rpc_stream_op_end(owner);
}

static int check_room(struct rpc_stream *s, size_t len)
{
	if (len > RPC_MESSAGE_MAX)
		return -EMSGSIZE;
	if (s->ending || s->ended || s->broken || s->aborted)
		return -EPIPE;
	if (s->queue_len + (s->sending ? 1 : 0) < RPC_SEND_QUEUE_MAX)
		return 0;
	s->want_sendable = true;
	return -EAGAIN;
}

static void push(struct rpc_stream *s, grpc_slice slice)
{
	s->queue[(s->queue_at + s->queue_len++) % RPC_SEND_QUEUE_MAX] =
		grpc_raw_byte_buffer_create(&slice, 1);
	grpc_slice_unref(slice);
	rpc_stream_pump(s);
}

int rpc_stream_send(struct rpc_stream *s, uint8_t *data, size_t len)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = check_room(s, len);
	if (r >= 0)
		push(s, grpc_slice_new_with_user_data(data, len, free, data));
	pthread_mutex_unlock(&s->lock);
	return r;
}

int rpc_stream_send_copy(struct rpc_stream *s, const void *data, size_t len)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = check_room(s, len);
	if (r >= 0)
		push(s, grpc_slice_from_copied_buffer(data, len));
	pthread_mutex_unlock(&s->lock);
	return r;
}

size_t rpc_stream_queued(struct rpc_stream *s)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = s->queue_len + (s->sending ? 1 : 0);
	pthread_mutex_unlock(&s->lock);
	return n;
}
