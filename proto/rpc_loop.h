/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that everything under rpc_* runs on: one gRPC completion queue, N threads waiting on it.
 * Callbacks of streams, servers, clients, posts and timers come from these threads and must not
 * block: hand real work (decode, fsync, verify) to a queue. With one thread all callbacks are in
 * order and never at once; with more, only those of one stream are.
 * Order of the end: drain and free servers, free clients, then rpc_loop_free. */
#ifndef PROTO_RPC_LOOP_H
#define PROTO_RPC_LOOP_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define RPC_LOOP_THREADS_MAX 16
#define RPC_LOOP_TIMERS_MAX 4096
#define RPC_LOOP_POSTS_MAX 65536 /* waiting at one time */

struct rpc_loop;
typedef void rpc_loop_fn(void *arg);

/* Initialises gRPC core: call rpc_guard_scrub_environment first in main, and fork before this.
 * threads: 1..RPC_LOOP_THREADS_MAX; a server needs at least 3 (transport.md fact 2). */
MUST_CHECK int rpc_loop_new(unsigned int threads, struct rpc_loop **ret, struct error *e);
/* Start the threads (all signals blocked in them) and return. */
MUST_CHECK int rpc_loop_start(struct rpc_loop *l, struct error *e);
/* Ends the threads once the last operation has completed, and joins them; waits for streams that
 * are still open, so free servers and clients first. Pending timers are dropped. Never from a
 * callback. NULL allowed; also after a failed or missing start. */
void rpc_loop_free(struct rpc_loop *l);
static inline void rpc_loop_free_ptr(struct rpc_loop **l)
{
	rpc_loop_free(*l);
}

/* Run fn(arg) on a thread of the loop soon. Any thread. -EAGAIN: RPC_LOOP_POSTS_MAX wait;
 * -ENOMEM; -ESHUTDOWN: the loop is being freed. On error fn never runs. */
MUST_CHECK int rpc_loop_post(struct rpc_loop *l, rpc_loop_fn *fn, void *arg);
/* Run fn(arg) once, ms from now. Any thread. ret_id: for cancelling, may be NULL.
 * -ENOSPC: RPC_LOOP_TIMERS_MAX are set; -ESHUTDOWN as above. */
MUST_CHECK int rpc_loop_after(struct rpc_loop *l, uint64_t ms, rpc_loop_fn *fn, void *arg,
			      uint64_t *ret_id);
/* true: fn will not run. false: it ran, runs just now, or there is no such timer. */
bool rpc_loop_cancel(struct rpc_loop *l, uint64_t id);

#endif
