/* SPDX-License-Identifier: Apache-2.0 */
/* A server's guard: one thread that once a second runs its owner's tick, frees descriptors before they run
 * out, gives memory back, and looks whether the own port still accepts (rpc_probe.h). Core 1.51 never
 * accepts again once accept(2) has failed for want of a descriptor, even after all are closed
 * (transport.md fact 1): above 80 % of the limit, connections older than 10 s without a stream are cut,
 * above 90 % those older than 1 s; and when the port turns out dead, on_wedged is told. */
#ifndef PROTO_RPC_GOVERNOR_H
#define PROTO_RPC_GOVERNOR_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/rpc_sockets.h"

struct rpc_governor;

struct rpc_governor_config {
	const char *host; /* where the server listens, as given: "127.0.0.1", "[::]", "localhost" */
	uint16_t port;
	uint64_t memory_limit_bytes; /* above three quarters of it malloc_trim is tried, each 10 s at most */
	/* Each second, in the governor's thread. */
	void (*tick)(void *ctx, uint64_t now_ns);
	/* Fill ret with the ends of connections that carry a stream, at most max; returns how many. */
	size_t (*busy)(void *ctx, struct rpc_endpoint *ret, size_t max);
	void (*on_cut)(void *ctx, size_t n); /* connections cut */
	void (*on_wedged)(const char *why, void *ctx); /* once */
	void *ctx;
};

MUST_CHECK int rpc_governor_start(const struct rpc_governor_config *config,
				  struct rpc_governor **ret, struct error *e);
/* Ends the thread. NULL allowed. */
void rpc_governor_stop(struct rpc_governor *g);

#endif
