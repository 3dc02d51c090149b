/* SPDX-License-Identifier: Apache-2.0 */
/* Inside ingest: ingest.c starts and ends it and runs the workers, ingest_conn.c is one stream (what comes
 * from the rpc threads, what goes back), ingest_message.c what a worker does with one message. */
#ifndef COLLECTOR_INGEST_INTERNAL_H
#define COLLECTOR_INGEST_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "collector/ingest.h"
#include "collector/ingest_log.h"
#include "collector/verify.h"
#include "proto/base/queue.h"

#define INGEST_ACK_MAX 128

/* The newest acknowledgement of a lane that the stream had no room for: acknowledgements are cumulative. */
struct pending_ack {
	bool set;
	uint8_t bytes[INGEST_ACK_MAX];
	size_t len;
};

/* One Events stream. Counted references: the stream's callbacks, and each message under way. */
struct conn {
	struct ingest *ingest;
	struct rpc_stream *stream;
	struct conn *next; /* in ingest->conns, under its lock */
	atomic_uint refs, under_way;
	atomic_bool closed;
	unsigned int worker;
	struct verify_peer peer; /* the worker's alone, but for the names */
	bool greeted; /* set by the worker, under lock */
	/* Between the writer and the rpc threads. */
	pthread_mutex_t lock;
	struct pending_ack pending[BATCH_LANES + 1];
};

struct message {
	struct conn *conn; /* a reference */
	uint8_t *data;
	size_t len;
	int64_t received_ns;
};

struct worker {
	struct ingest *ingest;
	struct queue *in;
	struct verify *verify;
	pthread_t thread;
};

struct ingest {
	struct ingest_config c;
	atomic_uint_fast64_t bytes, rejected, opened;
	struct ingest_log *refusals, *alarms; /* what was logged of whom */
	atomic_uint_fast64_t told_ns; /* when held back lines were looked for last */
	pthread_rwlock_t trust; /* of c.authorities */
	pthread_mutex_t lock; /* of conns: opened and closed by rpc threads */
	struct conn *conns;
	struct worker worker[INGEST_WORKERS_MAX];
};

/* ingest_conn.c */
void conn_open(struct rpc_stream *s, void *ctx); /* on_open of the method; ctx: struct ingest */
void conn_ref(struct conn *c);
void conn_unref(struct conn *c);
/* End the stream with one sentence for the agent, and say it here, at most once a second and host. code:
 * negative errno. */
void conn_refuse(struct conn *c, int code, const struct error *e);
/* One message, for which cost bytes were counted, less under way; reading goes on. */
void conn_message_done(struct conn *c, size_t cost);
/* This item is durable. */
void conn_acknowledge(struct conn *c, const struct writer_item *w);
/* Count this stream as its host's connection, unless it closed while its hello waited. */
void conn_greeted(struct conn *c, const char *version);
/* Once a second: say how many lines of whom were held back. */
void ingest_tell_held(struct ingest *i);

/* ingest_message.c: 0: the message is with the writer now, m->data with it. 1: it is done with. Negative:
 * refuse it. */
MUST_CHECK int message_take(struct worker *k, struct message *m, struct error *e);

#endif
