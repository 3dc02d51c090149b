/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's port: gRPC over TLS 1.3 with certificates on both sides.
 * Before a method's on_open: exactly one SPIFFE name, leaf in date, issued by the authority that may
 * issue this kind (host: fleet; responder, collector: order), not denied, kind allowed by the
 * method's row. Everything else is refused with one sentence to the peer and one in the log.
 * grpc.health.v1.Health/Check and Watch are answered for any authenticated peer, also while the server
 * starts (hold) and drains; unknown methods with
 * UNIMPLEMENTED. The guards of rpc_guard.h run while the server does. */
#ifndef PROTO_RPC_SERVER_H
#define PROTO_RPC_SERVER_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/rpc_loop.h"
#include "proto/rpc_stream.h"

#define RPC_METHODS_MAX 32
#define RPC_STREAMS_MAX 65536 /* open at one time; more are refused with RESOURCE_EXHAUSTED */

struct rpc_server;

/* All strings are copied. 0 in a number: the default. */
struct rpc_server_config {
	const char *address; /* "127.0.0.1:7443", "[::]:7443"; port 0: any free one */
	const char *cert_file; /* PEM: the leaf first, then what leads to its authority */
	const char *key_file; /* PEM */
	const char *fleet_ca_file; /* PEM, one or more certificates: issues hosts */
	const char *order_ca_file; /* PEM, one or more certificates: issues responders, collectors */
	const char *deny_file; /* proto/rpc_deny.h; NULL: none */
	uint64_t memory_limit_bytes; /* of the process; a quarter is gRPC's quota, at least 64 MiB */
	unsigned int streams_per_connection; /* 8 */
	unsigned int calls_per_second; /* per identity; above: the connection is cut. 100 */
	/* Enrolment: peers show no certificate, they are RPC_ALLOW_ANYBODY, and calls_per_second counts per
	 * address of theirs. Their rpc_stream_peer is empty. */
	bool anonymous;
	bool hold; /* only health is answered, with NOT_SERVING, until rpc_server_open */
	/* The port no longer accepts (transport.md fact 1): the process should exit non-zero so that
	 * its supervisor starts it anew. Once, from the guard's thread; may be NULL. */
	void (*on_wedged)(const char *why, void *ctx);
	void *on_wedged_ctx;
	/* Whether this certificate is refused now, beside the deny list: asked at each call, from a loop
	 * thread, and by rpc_server_recheck. NULL: none is. */
	bool (*refuses)(void *ctx, const struct identity *who);
	void *refuses_ctx;
};

enum { /* who may call a method; bits */
       RPC_ALLOW_HOST = 1 << 0,
       RPC_ALLOW_RESPONDER = 1 << 1,
       RPC_ALLOW_COLLECTOR = 1 << 2,
       RPC_ALLOW_ANYBODY = 1 << 3, /* of an anonymous server */
};

struct rpc_method {
	const char *path; /* "/exhibit.v1.Agent/Events"; copied */
	unsigned int allow; /* RPC_ALLOW_*; 0 refuses everybody */
	/* A call has begun. Set the stream's context and callbacks with rpc_stream_serve, then
	 * rpc_stream_want_read; or refuse with rpc_stream_finish. From a loop thread. */
	void (*on_open)(struct rpc_stream *s, void *ctx);
	void *ctx;
	/* The stream is cancelled when reading is wanted and no whole message came for so long: the
	 * first after opening, and any later one. 0: no limit. */
	uint64_t first_message_ms;
	uint64_t idle_ms;
};

/* From on_open only. ops: outlives the stream. Without it the stream has no callbacks and closes by
 * itself. ctx: freed by the owner in on_closed. */
void rpc_stream_serve(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *ctx);

/* Loads and checks the identity files. Does not bind yet. */
MUST_CHECK int rpc_server_new(struct rpc_loop *l, const struct rpc_server_config *config,
			      struct rpc_server **ret, struct error *e);
/* Before start, or before open when the server is held. -EEXIST, -ENOSPC. One thread. */
MUST_CHECK int rpc_server_method(struct rpc_server *s, const struct rpc_method *row,
				 struct error *e);
/* Bind and serve. ret_port: the actual one. The loop must have been started. */
MUST_CHECK int rpc_server_start(struct rpc_server *s, uint16_t *ret_port, struct error *e);
/* All methods are there: serve them. Whoever watches health is told. Once; only when it was held. */
void rpc_server_open(struct rpc_server *s);
/* Take certificates, authorities and deny list from their files again. All is checked first: on any
 * failure everything stays as it was. Open streams live on, except those that are now denied, which
 * are cancelled. Any thread but the loop's; reads files. */
MUST_CHECK int rpc_server_reload(struct rpc_server *s, struct error *e);
/* Cancel open streams of those whom config.refuses refuses by now. Any thread but the loop's. */
void rpc_server_recheck(struct rpc_server *s);
/* No new calls but health's, which say NOT_SERVING from now on; wait up to ms for the open ones (say goodbye
 * on them before), then cancel the rest.
 * Returns when all are closed. Never from a callback. Idempotent. */
void rpc_server_drain(struct rpc_server *s, uint64_t ms);
/* Drains with 0 ms when that was not done. NULL allowed. Never from a callback. */
void rpc_server_free(struct rpc_server *s);

/* Since start; for metrics. */
struct rpc_server_stats {
	uint64_t calls; /* begun, refused ones included */
	uint64_t refused_identity; /* no or wrong name, authority, kind, date */
	uint64_t refused_denied; /* by the deny list */
	uint64_t refused_full; /* RPC_STREAMS_MAX reached */
	uint64_t unimplemented;
	uint64_t cut_rate; /* connections cut for too many calls */
	uint64_t cut_descriptors; /* connections cut to free descriptors */
	uint64_t idle_cancelled; /* streams cancelled by first_message_ms and idle_ms */
	uint64_t handshakes_failed; /* of the whole process, as gRPC core logs them */
	uint64_t open; /* streams now */
};
void rpc_server_stats(struct rpc_server *s, struct rpc_server_stats *ret);

#endif
