/* SPDX-License-Identifier: Apache-2.0 */
/* Inside Agent.Upload: vault_upload.c has the calls as the rpc threads see them, vault_upload_work.c is the thread
 * of one call. */
#ifndef COLLECTOR_VAULT_UPLOAD_INTERNAL_H
#define COLLECTOR_VAULT_UPLOAD_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <zstd.h>

#include "collector/ingest_log.h"
#include "collector/threads.h"
#include "collector/vault_upload.h"
#include "proto/base/queue.h"

#define VAULT_UPLOAD_WAITING_MAX 4 /* messages of one call */

struct message {
	size_t len;
	uint8_t *data;
};

/* One call. Two owners: the stream until on_closed, and the thread. */
struct call {
	atomic_uint users;
	struct vault_uploads *uploads;
	struct rpc_stream *stream; /* a reference of ours */
	struct batch_name tenant, host_id;
	struct queue *in; /* of struct message; closed when nothing more comes */
	struct queue *room; /* a token when the stream takes messages again */
	atomic_bool closed;
	atomic_uint_fast64_t heard_ns; /* monotonic: when its last message came */
	struct call *next; /* under uploads->lock */
	bool started; /* likewise; exhibit_id is set */
	bool given_up; /* likewise; another call has its place */
	uint8_t exhibit_id[VAULT_ID_LEN];
	/* The thread's alone. */
	struct vault_upload *upload;
	ZSTD_DCtx *z;
	uint8_t *buffer; /* VAULT_CHUNK_BYTES */
	uint64_t requests, told; /* after the start; told: how many of them are durable */
	uint64_t waiting_ns; /* monotonic: since when there are requests that are not; 0: there are none */
	bool receipt; /* sent: the call ends well */
};

struct vault_uploads {
	struct vault_upload_config c;
	pthread_mutex_t lock;
	struct call *calls;
	unsigned int n_calls;
	pthread_cond_t left; /* a call gave its upload back */
	struct threads threads; /* one for each call */
	atomic_bool closing;
	atomic_uint_fast64_t refused;
	struct ingest_log *refusals;
};

void vault_upload_message_free(struct message *m); /* NULL allowed */
void vault_upload_drop(struct call *c); /* one owner less; NULL allowed */
void vault_upload_unlink(struct call *c); /* it counts no more */
/* A thread's main; arg: struct call, an owner's. */
void *vault_upload_work(void *arg);

#endif
