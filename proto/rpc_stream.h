/* SPDX-License-Identifier: Apache-2.0 */
/* One call, the same on both sides: messages out, messages in, and an end. Made by rpc_client_open or
 * handed to a method's on_open by rpc_server.
 * Reference-counted. The library's own reference lasts until on_closed has returned; whoever keeps a
 * pointer beyond a callback takes one (rpc_stream_ref).
 * Callbacks of one stream never run at once, come from the loop's threads without any lock held, and
 * on_closed is the last, exactly once. All functions here may be called from any thread and from
 * callbacks; none blocks. */
#ifndef PROTO_RPC_STREAM_H
#define PROTO_RPC_STREAM_H

#include "proto/base/base.h"

#define RPC_MESSAGE_MAX                                                                            \
	(MiB(5) / 4) /* 1.25 MiB; one byte more kills the whole stream at the peer */
#define RPC_SEND_QUEUE_MAX 8 /* messages */

struct identity;
struct rpc_stream;

/* The numbers of gRPC (grpc/status.h). */
enum rpc_status {
	RPC_OK = 0,
	RPC_CANCELLED = 1,
	RPC_UNKNOWN = 2,
	RPC_INVALID_ARGUMENT = 3,
	RPC_DEADLINE_EXCEEDED = 4,
	RPC_NOT_FOUND = 5,
	RPC_ALREADY_EXISTS = 6,
	RPC_PERMISSION_DENIED = 7,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_FAILED_PRECONDITION = 9,
	RPC_ABORTED = 10,
	RPC_OUT_OF_RANGE = 11,
	RPC_UNIMPLEMENTED = 12,
	RPC_INTERNAL = 13,
	RPC_UNAVAILABLE = 14,
	RPC_DATA_LOSS = 15,
	RPC_UNAUTHENTICATED = 16,
};

/* "PERMISSION_DENIED"; "UNKNOWN" for a number that is not in the table. */
const char *rpc_status_name(enum rpc_status status);

struct rpc_stream_ops {
	/* One whole message. data is malloc'ed and now the callee's: free it, on whichever thread.
	 * Never NULL; data[len] is a NUL. Comes only while reading is wanted. */
	void (*on_message)(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx);
	/* There is room again after a send returned -EAGAIN. May be NULL. */
	void (*on_sendable)(struct rpc_stream *s, void *ctx);
	/* The peer sends no more messages. Server: answer what is left, then finish. NULL: the
	 * server finishes with RPC_OK, the client waits for the status. */
	void (*on_read_end)(struct rpc_stream *s, void *ctx);
	/* The end, whatever its reason. text: borrowed for the call, never NULL. Server: RPC_CANCELLED
	 * when the peer went away before our status reached it. */
	void (*on_closed)(struct rpc_stream *s, enum rpc_status status, const char *text,
			  void *ctx);
};

struct rpc_stream *rpc_stream_ref(struct rpc_stream *s); /* returns s */
void rpc_stream_unref(struct rpc_stream *s); /* NULL allowed */

/* Queue one message. data: malloc'ed, len bytes, 0..RPC_MESSAGE_MAX; the stream's on success, still the
 * caller's on error. -EMSGSIZE: longer than the cap; -EAGAIN: the queue is full, on_sendable will
 * say when to try again; -EPIPE: the stream is closed, finished or half-closed; -ENOMEM.
 * Success means queued: only the peer's own answer says that it arrived. No copy is made. */
MUST_CHECK int rpc_stream_send(struct rpc_stream *s, uint8_t *data, size_t len);
/* The same from a borrowed buffer, with one copy. */
MUST_CHECK int rpc_stream_send_copy(struct rpc_stream *s, const void *data, size_t len);
/* Messages that are queued or being sent. */
size_t rpc_stream_queued(struct rpc_stream *s);

/* Back-pressure: messages are read only while this is true. A new stream does not read. After
 * want_read(false) from a callback no on_message comes until it is true again; at most one message
 * waits in memory, the peer's others stay behind flow control. */
void rpc_stream_want_read(struct rpc_stream *s, bool want);

/* Server: end the call once the queued messages are sent. text: copied, for the peer; NULL: "".
 * Later calls are ignored. */
void rpc_stream_finish(struct rpc_stream *s, enum rpc_status status, const char *text);
/* Client: no more messages from us once the queued ones are sent. */
void rpc_stream_close_send(struct rpc_stream *s);
/* End it now; what is queued is dropped. on_closed still comes. */
void rpc_stream_cancel(struct rpc_stream *s);

/* Who is on the other side: on a server never NULL (checked before on_open); on a client NULL. Valid as
 * long as the caller's reference. */
const struct identity *rpc_stream_peer(const struct rpc_stream *s);
/* "ipv4:127.0.0.1:4711": where from; not authenticated, for logs. */
const char *rpc_stream_remote(const struct rpc_stream *s);
/* "/exhibit.v1.Agent/Events" */
const char *rpc_stream_path(const struct rpc_stream *s);

#endif
