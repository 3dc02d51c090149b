/* SPDX-License-Identifier: Apache-2.0 */
/* A real server and real clients on loopback, over mutual TLS, with every thread that production has.
 * Methods: /test.T/Echo returns each message and finishes when the client half-closes; /test.T/Sink reads
 * (while world.sink_reads) and says nothing; /test.T/Flood answers the first message, a number in
 * text, with that many messages of 32 KiB and RPC_OK; /test.T/Patient wants a message each
 * second, /test.T/Greet only the first within one.
 * Hosts may call all of them, responders only Echo. */
#ifndef TESTS_RPC_WORLD_H
#define TESTS_RPC_WORLD_H

#include "proto/rpc_client.h"
#include "proto/rpc_server.h"
#include "tests/unit/rpc_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#define WAIT_S 20 /* limit of every wait */

struct world {
	struct pki pki;
	struct rpc_loop *loop;
	struct rpc_server *server;
	char address[64];
	uint16_t port;
	atomic_bool sink_reads;
	atomic_uint sink_messages, server_closed;
	struct rpc_stream *_Atomic last_sink; /* with a reference */
};

/* A call from the client's side, and all that came of it. */
struct caller {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rpc_client *client; /* the caller's own when made by caller_connect */
	struct rpc_stream *stream;
	unsigned int messages, read_ends, sendable, closed;
	size_t bytes;
	bool stop_after_one; /* want_read(false) in on_message */
	uint8_t last[256];
	size_t last_len;
	enum rpc_status status;
	char text[512];
};

/* change: may alter the server's configuration; NULL. The loop has 3 threads. */
void world_start(struct world *w,
		 void (*change)(struct rpc_server_config *config, struct world *w));
void world_stop(struct world *w);

/* A client with dir/name.{crt,key}. */
struct rpc_client *world_client(struct world *w, const char *name);
/* Open path with a client of its own (name), or with client. */
void caller_connect(struct caller *c, struct world *w, const char *name, const char *path);
void caller_open(struct caller *c, struct rpc_client *client, const char *path, bool wait_for_ready,
		 uint64_t deadline_ms);
void caller_send(struct caller *c, const void *data, size_t len);
void caller_wait_messages(struct caller *c, unsigned int n);
void caller_wait_closed(struct caller *c);
void caller_release(struct caller *c);
/* Until *n is at least want. */
void wait_for(atomic_uint *n, unsigned int want);

#endif
