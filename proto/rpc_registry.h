/* SPDX-License-Identifier: Apache-2.0 */
/* The open streams of one server or client: counted, walked, waited for. Any thread; the only lock of
 * rpc_* besides the streams' own, always taken before a stream's. */
#ifndef PROTO_RPC_REGISTRY_H
#define PROTO_RPC_REGISTRY_H

#include "proto/base/base.h"

#include <pthread.h>

struct rpc_stream;

/* Stands inside each stream. */
struct rpc_link {
	struct rpc_link *next, *prev;
	struct rpc_stream *stream;
};

struct rpc_registry {
	pthread_mutex_t lock;
	pthread_cond_t fewer;
	struct rpc_link head;
	size_t n, max;
};

void rpc_registry_init(struct rpc_registry *r, size_t max);
void rpc_registry_release(struct rpc_registry *r);
/* false: max are open. */
MUST_CHECK bool rpc_registry_add(struct rpc_registry *r, struct rpc_link *link,
				 struct rpc_stream *s);
void rpc_registry_remove(struct rpc_registry *r, struct rpc_link *link);
/* fn is called with the lock held: it may use the stream, not the registry. */
void rpc_registry_each(struct rpc_registry *r, void (*fn)(struct rpc_stream *s, void *arg),
		       void *arg);
/* Wait until at most n streams are open, at most ms (UINT64_MAX: for ever). false: more still are. */
bool rpc_registry_wait(struct rpc_registry *r, size_t n, uint64_t ms);
bool rpc_registry_wait_empty(struct rpc_registry *r, uint64_t ms);
size_t rpc_registry_count(struct rpc_registry *r);

#endif
