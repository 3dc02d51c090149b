/* SPDX-License-Identifier: Apache-2.0 */
/* A server from inside: for rpc_server.c, rpc_admit.c and rpc_health.c. */
#ifndef PROTO_RPC_SERVER_CORE_H
#define PROTO_RPC_SERVER_CORE_H

#include "proto/rpc_gate.h"
#include "proto/rpc_governor.h"
#include "proto/rpc_limit.h"
#include "proto/rpc_registry.h"
#include "proto/rpc_server.h"
#include "proto/rpc_stream_core.h"
#include "proto/rpc_tls.h"

#include <pthread.h>
#include <stdatomic.h>

struct rpc_counters {
	_Atomic(uint64_t) calls, refused_identity, refused_denied, refused_full, unimplemented,
		cut_rate, cut_descriptors, idle_cancelled;
};

enum rpc_phase {
	RPC_STARTING, /* what methods need is not there yet */
	RPC_SERVING,
	RPC_DRAINING,
};

struct rpc_server {
	struct rpc_loop *loop;
	struct rpc_server_config config; /* only numbers and callbacks: the strings below are ours */
	char *address;
	struct rpc_tls *tls;
	grpc_resource_quota *quota;
	grpc_server *core;
	uint16_t port;
	struct rpc_governor *governor;
	struct rpc_registry streams;
	struct rpc_limit *limit; /* calls per name */
	struct rpc_limit *cuts; /* per connection: one */
	struct rpc_gate refusals; /* log lines */
	struct rpc_counters count;
	atomic_int phase; /* enum rpc_phase: only health is answered but in RPC_SERVING */
	struct rpc_health *health;
	atomic_size_t n_methods;
	struct rpc_method method[RPC_METHODS_MAX]; /* none changes once it counts */
	struct rpc_tag tag_shutdown;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, shut_down; /* under lock, as the next */
	size_t requested, opening; /* calls asked of core; come and not yet handed to on_open */
};

/* Why a call is not served. */
struct rpc_refusal {
	enum rpc_status status;
	struct error why; /* the sentence goes to the peer */
};

/* Who calls, may he, and what: fills s->peer and *ret_row. false: refused, and *ret says why; counted and
 * logged. */
MUST_CHECK bool rpc_admit(struct rpc_server *server, struct rpc_stream *s,
			  const struct rpc_method **ret_row, struct rpc_refusal *ret);
/* grpc.health.v1.Health: adds its two methods. */
MUST_CHECK int rpc_health_add(struct rpc_server *server, struct error *e);
void rpc_health_free(struct rpc_health *h); /* NULL allowed; all streams are closed */
bool rpc_health_is_ours(const struct rpc_method *row);
/* The phase is another: tell those who watch. */
void rpc_health_changed(struct rpc_server *server);
size_t rpc_health_watchers(struct rpc_server *server); /* streams that only watch */
void rpc_health_end(struct rpc_server *server); /* finish them */
/* Whether any method of this service ("exhibit.v1.Agent") is registered. */
bool rpc_server_has_service(const struct rpc_server *server, const char *name, size_t len);

#endif
