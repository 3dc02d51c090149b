/* SPDX-License-Identifier: Apache-2.0 */
/* A stream from inside: for rpc_stream*.c, and what rpc_server.c and rpc_client.c call to begin one.
 *
 * Life: made with one reference, the library's. Each operation in flight holds one more. The terminal
 * operation (RECV_CLOSE_ON_SERVER, RECV_STATUS_ON_CLIENT) is started first and always completes; once
 * it has, and no receive is in flight, on_closed is called and the library's reference dropped.
 * "Cancelled" frees nothing: completions still come. Core's call is let go when the last operation is
 * back, however long others keep the stream.
 *
 * Callbacks: rpc_stream_deliver runs on the loop's threads. The first thread to come sets `delivering`
 * and calls until nothing is due; others leave what they found in the fields and go. So callbacks
 * never overlap, and none runs under the lock. */
#ifndef PROTO_RPC_STREAM_CORE_H
#define PROTO_RPC_STREAM_CORE_H

#include "proto/identity.h"
#include "proto/rpc_core.h"
#include "proto/rpc_registry.h"
#include "proto/rpc_stream.h"

#include <pthread.h>
#include <stdatomic.h>

#define RPC_TEXT_MAX 512 /* of a status */
#define RPC_PATH_MAX 128
#define RPC_REMOTE_MAX 80

struct rpc_stream {
	atomic_uint refs;
	bool server;
	struct rpc_loop *loop;
	struct rpc_registry *registry; /* NULL: stands in none */
	struct rpc_link link;
	void (*on_released)(void *owner); /* after on_closed; may be NULL */
	void *owner;
	const struct rpc_stream_ops *ops; /* NULL: nobody listens */
	void *ctx;
	struct identity peer;
	char path[RPC_PATH_MAX];
	char remote[RPC_REMOTE_MAX];
	uint64_t first_message_ms, idle_ms; /* as in struct rpc_method */

	pthread_mutex_t lock; /* of everything below */
	grpc_call *call; /* NULL once the last operation is back */
	unsigned int ops_in_flight;
	bool delivering;
	bool kicked; /* an empty batch is on its way that will deliver */
	/* in */
	bool want, armed, read_ended, read_end_told;
	bool dropped; /* messages no longer matter */
	grpc_byte_buffer *received; /* core's while armed */
	uint8_t *message; /* waits for on_message */
	size_t message_len;
	uint64_t waiting_since_ns; /* when the receive in flight was started */
	bool any_message;
	/* out */
	grpc_byte_buffer *queue[RPC_SEND_QUEUE_MAX]; /* a ring of what is not yet core's */
	size_t queue_at, queue_len;
	bool sending, broken;
	bool want_sendable, sendable_due;
	bool ending, end_started; /* finish or close_send was called; its operation was started */
	/* the end */
	bool ended, closed_told, aborted;
	enum rpc_status status; /* server: to send; then what on_closed gets */
	char text[RPC_TEXT_MAX];
	int cancelled; /* server: core's */
	grpc_status_code core_status; /* client: core's */
	grpc_slice core_text; /* client: core's, ours once ended */
	grpc_metadata_array metadata, trailing; /* not used, but core fills them */
	grpc_call_details details; /* server */
	struct rpc_tag tag_open, tag_headers, tag_receive, tag_send, tag_end, tag_closed, tag_kick;
};

/* A stream without a call. NULL: out of memory. */
struct rpc_stream *rpc_stream_new(struct rpc_loop *l, bool server);
/* s->call is there: start the terminal operation and the headers. wait_for_ready: client only.
 * Negative errno: nothing was started and no callback will come; drop the library's reference. */
MUST_CHECK int rpc_stream_begin(struct rpc_stream *s, bool wait_for_ready);
/* A server's stream is made with `delivering` set, which holds callbacks back until on_open has returned:
 * then this, on the loop's thread; the caller's reference goes. */
void rpc_stream_opened(struct rpc_stream *s);
/* Cancel with a status that on_closed gets (a server's peer too, if it still listens). */
void rpc_stream_abort(struct rpc_stream *s, enum rpc_status status, const char *text);
/* Cancel a stream whose limit (first_message_ms, idle_ms) is over. true: it was. */
bool rpc_stream_check_idle(struct rpc_stream *s, uint64_t now_ns);
/* Call what is due. On a loop thread, lock not held. */
void rpc_stream_deliver(struct rpc_stream *s);

/* With the lock held. Start operations (each holds a reference until rpc_stream_op_end). */
MUST_CHECK int rpc_stream_start(struct rpc_stream *s, const grpc_op *ops, size_t n,
				struct rpc_tag *tag);
/* Send the next thing that is due, if any. */
void rpc_stream_pump(struct rpc_stream *s);
/* Free what is queued; nothing more is sent. */
void rpc_stream_break(struct rpc_stream *s);
/* Receive if that is wanted and possible. */
void rpc_stream_arm(struct rpc_stream *s);

/* Completions, on loop threads. */
void rpc_stream_op_end(struct rpc_stream *s); /* the last thing that each does */
void rpc_stream_sent(void *owner, bool ok);
void rpc_stream_end_sent(void *owner, bool ok);
void rpc_stream_received(void *owner, bool ok);

#endif
