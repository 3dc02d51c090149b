/* SPDX-License-Identifier: Apache-2.0 */
/* The agents' side of the collector: `Events` streams in, verified batches to the store's writer,
 * acknowledgements out once they are durable.
 * A message goes from the rpc thread to the worker that its connection belongs to (so that one host's
 * batches stay in order), which checks everything that can be checked without state, then to the writer.
 * Agents are hostile: a connection may have INGEST_PER_STREAM messages under way, all together
 * memory_bytes; whatever is false ends the stream with one sentence, counted and logged. */
#ifndef COLLECTOR_INGEST_H
#define COLLECTOR_INGEST_H

#include "collector/hosts.h"
#include "collector/writer.h"
#include "proto/rpc_server.h"

#define INGEST_WORKERS_MAX 8
#define INGEST_PER_STREAM 8
#define INGEST_STREAMS_PER_HOST 4 /* an old one may linger while the new one begins */

struct ingest_config {
	struct hosts *hosts; /* borrowed, as are the next two; authorities until ingest_trust */
	struct writer *writer;
	const struct authorities *authorities;
	unsigned int workers; /* 1..INGEST_WORKERS_MAX */
	uint64_t memory_bytes; /* of messages under way */
};

struct ingest;

MUST_CHECK int ingest_start(const struct ingest_config *c, struct ingest **ret_i, struct error *e);
/* The row for rpc_server_method. */
struct rpc_method ingest_method(struct ingest *i);
/* From now on host records are checked against these; once this returns nobody uses those before. Any
 * thread. */
void ingest_trust(struct ingest *i, const struct authorities *a);
/* Say goodbye on every stream, so that agents come back elsewhere or later. Any thread. */
void ingest_goodbye(struct ingest *i);
/* After the server has drained: end the workers. What they gave to the writer still refers to i: stop the
 * writer, then ingest_free. NULL allowed. */
void ingest_stop(struct ingest *i);
void ingest_free(struct ingest *i); /* NULL allowed */
/* Messages refused since start. */
uint64_t ingest_rejected(const struct ingest *i);

#endif
