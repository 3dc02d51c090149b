/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.v1.Query on the collector's port. A question is unpacked on a loop thread, waits in a bounded queue,
 * and is answered by one of a few query threads; a live tail has a thread of its own, at most
 * LIVE_FOLLOWERS_MAX of them. An answer waits while its reader is slow; a question ends when its asker
 * leaves, when its time is up, or when the service closes. */
#ifndef COLLECTOR_QUERY_SERVICE_H
#define COLLECTOR_QUERY_SERVICE_H

#include "collector/query.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/rpc_server.h"

#define QUERY_WAITING_MAX 64 /* questions that wait for a thread */
#define QUERY_THREADS_MAX 16
#define QUERY_BYTES_MAX MiB(1) /* of one question */

struct query_service_config {
	struct query_env env;
	unsigned int threads; /* 1..QUERY_THREADS_MAX; each holds some 50 MB at worst */
	uint64_t deadline_ms; /* of one question, live tails excepted; 0: none */
	uint64_t stall_ms; /* a reader that takes nothing for so long is given up; 0: never */
};

struct query_service;

MUST_CHECK int query_service_new(const struct query_service_config *c, struct query_service **ret,
				 struct error *e);
/* Registers every method of the service; before rpc_server_start. */
MUST_CHECK int query_service_register(struct query_service *s, struct rpc_server *server,
				      struct error *e);
/* Ends running questions and tails and joins the threads; live is closed. Before the server is freed; new
 * calls are refused from now on. Idempotent. */
void query_service_close(struct query_service *s);
/* After close, and after the server is freed. NULL allowed. */
void query_service_free(struct query_service *s);

/* The table of methods and roles, for tests: NULL past the end. Deny by default: a method without a row does
 * not exist. */
const char *query_method_path(size_t i);
unsigned int query_method_allow(size_t i);

#endif
