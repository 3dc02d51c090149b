/* SPDX-License-Identifier: Apache-2.0 */
/* The way into a stream: one receive in flight while reading is wanted, each message made contiguous. */
#include "proto/base/clock.h"
#include "proto/rpc_stream.h"
#include "proto/rpc_stream_core.h"

void rpc_stream_arm(struct rpc_stream *s)
{
	grpc_op op = { .op = GRPC_OP_RECV_MESSAGE };

	/* After a receive without a message core wants no other (transport.md 10). */
	if (!s->want || s->armed || s->message != NULL || s->read_ended || s->ended || s->aborted)
		return;
	op.data.recv_message.recv_message = &s->received;
	s->waiting_since_ns = clock_monotonic_ns();
	s->armed = rpc_stream_start(s, &op, 1, &s->tag_receive) >= 0;
}

/* malloc'ed, with a NUL behind it. NULL: refuse. Core does not decompress for us (rpc_server.c): a few bytes
 * on the wire must not become many here. */
static uint8_t *flatten(grpc_byte_buffer *buffer, size_t *ret_len)
{
	size_t len = grpc_byte_buffer_length(buffer), at = 0;
	grpc_byte_buffer_reader reader;
	grpc_slice *slice;
	uint8_t *data;

	if (len > RPC_MESSAGE_MAX || buffer->type != GRPC_BB_RAW ||
	    buffer->data.raw.compression != GRPC_COMPRESS_NONE ||
	    !grpc_byte_buffer_reader_init(&reader, buffer))
		return NULL;
	data = malloc(len + 1);
	while (data != NULL && grpc_byte_buffer_reader_peek(&reader, &slice)) {
		memcpy(data + at, GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
		at += GRPC_SLICE_LENGTH(*slice);
	}
	grpc_byte_buffer_reader_destroy(&reader);
	if (data != NULL)
		data[len] = '\0';
	*ret_len = len;
	return data;
}

void rpc_stream_received(void *owner, bool ok)
{
	struct rpc_stream *s = owner;
	grpc_byte_buffer *buffer = s->received; /* ours again: the operation is over */
	uint8_t *data = NULL;
	size_t len = 0;
	bool refuse;

	if (ok && buffer != NULL)
		data = flatten(buffer, &len);
	refuse = ok && buffer != NULL && data == NULL;
	if (buffer != NULL)
		grpc_byte_buffer_destroy(buffer);
	pthread_mutex_lock(&s->lock);
	s->received = NULL;
	s->armed = false;
	s->message = data;
	s->message_len = len;
	s->any_message = s->any_message || data != NULL;
	s->read_ended = data == NULL;
	s->read_end_told = s->read_ended && !ok; /* broken, not half-closed: on_closed will tell */
	pthread_mutex_unlock(&s->lock);
	if (refuse)
		rpc_stream_abort(s, RPC_RESOURCE_EXHAUSTED,
				 "a message is compressed, too long, or there is no memory");
	rpc_stream_deliver(s);
	rpc_stream_op_end(s);
}
