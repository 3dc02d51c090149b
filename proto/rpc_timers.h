/* SPDX-License-Identifier: Apache-2.0 */
/* Timers by due time: a binary heap with a fixed maximum. No threads, no clock: the caller brings both. */
#ifndef PROTO_RPC_TIMERS_H
#define PROTO_RPC_TIMERS_H

#include "proto/base/base.h"

struct rpc_timer {
	uint64_t due_ns;
	uint64_t id; /* never 0 */
	void (*fn)(void *arg);
	void *arg;
};

struct rpc_timers {
	struct rpc_timer *heap; /* malloc'ed, room for max */
	size_t n, max;
	uint64_t last_id;
};

MUST_CHECK int rpc_timers_init(struct rpc_timers *t, size_t max);
void rpc_timers_release(struct rpc_timers *t);
/* -ENOSPC when max are set. ret_id: may be NULL. Timers due at the same instant run in no order. */
MUST_CHECK int rpc_timers_add(struct rpc_timers *t, uint64_t due_ns, void (*fn)(void *), void *arg,
			      uint64_t *ret_id);
/* false: no such timer. */
bool rpc_timers_cancel(struct rpc_timers *t, uint64_t id);
/* When the first one is due; UINT64_MAX: none is set. */
uint64_t rpc_timers_next(const struct rpc_timers *t);
/* Take the first one that is due at now_ns out of the heap. */
bool rpc_timers_pop(struct rpc_timers *t, uint64_t now_ns, struct rpc_timer *ret);

#endif
