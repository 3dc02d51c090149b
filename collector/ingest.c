/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ingest.h"

#include <errno.h>

#include "collector/ingest_internal.h"
#include "proto/envelope.h"
#include "service.pb-c.h"

#define EVENTS_PATH "/exhibit.v1.Agent/Events"
#define FIRST_MESSAGE_MS 20000
#define IDLE_MS 90000 /* an agent says something every 5 s and lane */
#define WORKER_QUEUE_MAX 65536 /* bounded by memory_bytes long before */

static void *run_worker(void *arg)
{
	struct worker *k = arg;

	for (;;) {
		bool last = queue_closed(k->in); /* asked first: what was put before is there now */
		struct message *m = queue_pop(k->in, 1000);
		struct error e = { 0 };

		ingest_tell_held(k->ingest);
		if (m == NULL && last)
			return NULL;
		if (m == NULL)
			continue;
		int r = atomic_load(&m->conn->closed) ? 1 : message_take(k, m, &e);

		if (r < 0)
			conn_refuse(m->conn, r, &e);
		if (r != 0) {
			conn_message_done(m->conn, m->len);
			conn_unref(m->conn);
		}
		free(m->data);
		free(m);
	}
}

struct rpc_method ingest_method(struct ingest *i)
{
	return (struct rpc_method){ .path = EVENTS_PATH,
				    .allow = RPC_ALLOW_HOST,
				    .on_open = conn_open,
				    .ctx = i,
				    .first_message_ms = FIRST_MESSAGE_MS,
				    .idle_ms = IDLE_MS };
}

void ingest_goodbye(struct ingest *i)
{
	Exhibit__V1__Goodbye bye = EXHIBIT__V1__GOODBYE__INIT;
	uint8_t body[64];
	size_t len;

	bye.reason = (ProtobufCBinaryData){ 8, (uint8_t[]){ "stopping" } };
	bye.retry_after_ms = 1000;
	len = exhibit__v1__goodbye__pack(&bye, body);
	(void)pthread_mutex_lock(&i->lock);
	for (struct conn *c = i->conns; c != NULL; c = c->next) {
		size_t message_len;
		uint8_t *message = envelope_make(ENVELOPE_GOODBYE, body, len, &message_len);

		if (message != NULL && rpc_stream_send(c->stream, message, message_len) < 0)
			free(message); /* it will see the connection end */
	}
	(void)pthread_mutex_unlock(&i->lock);
}

static void join_workers(struct ingest *i, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		queue_close(i->worker[k].in);
		(void)pthread_join(i->worker[k].thread, NULL);
	}
}

void ingest_free(struct ingest *i)
{
	if (i == NULL)
		return;
	for (unsigned int k = 0; k < INGEST_WORKERS_MAX; k++) {
		queue_free(i->worker[k].in);
		verify_free(i->worker[k].verify);
	}
	ingest_log_free(i->refusals);
	ingest_log_free(i->alarms);
	(void)pthread_rwlock_destroy(&i->trust);
	(void)pthread_mutex_destroy(&i->lock);
	free(i);
}

static int start_worker(struct ingest *i, struct worker *k, struct error *e)
{
	k->ingest = i;
	k->in = queue_new(WORKER_QUEUE_MAX);
	if (k->in == NULL)
		return error_set(e, -ENOMEM, "cannot start an ingest worker: out of memory");
	int r = verify_new(i->c.hosts, &k->verify, e);

	if (r == 0) {
		r = -pthread_create(&k->thread, NULL, run_worker, k);
		if (r < 0)
			return error_set(e, r, "cannot start an ingest worker: %m");
		(void)pthread_setname_np(k->thread, "ingest");
	}
	return r;
}

int ingest_start(const struct ingest_config *c, struct ingest **ret_i, struct error *e)
{
	struct ingest *i = calloc(1, sizeof(*i));

	if (i == NULL)
		return error_set(e, -ENOMEM, "cannot start ingest: out of memory");
	i->c = *c;
	(void)pthread_mutex_init(&i->lock, NULL);
	(void)pthread_rwlock_init(&i->trust, NULL);
	i->refusals = ingest_log_new();
	i->alarms = ingest_log_new();
	if (i->refusals == NULL || i->alarms == NULL) {
		ingest_free(i);
		return error_set(e, -ENOMEM, "cannot start ingest: out of memory");
	}
	for (unsigned int k = 0; k < c->workers; k++) {
		int r = start_worker(i, &i->worker[k], e);

		if (r < 0) {
			join_workers(i, k);
			ingest_free(i);
			return r;
		}
	}
	*ret_i = i;
	return 0;
}

void ingest_stop(struct ingest *i)
{
	if (i != NULL)
		join_workers(i, i->c.workers);
}

void ingest_trust(struct ingest *i, const struct authorities *a)
{
	(void)pthread_rwlock_wrlock(&i->trust);
	i->c.authorities = a;
	(void)pthread_rwlock_unlock(&i->trust);
}

uint64_t ingest_rejected(const struct ingest *i)
{
	return atomic_load(&i->rejected);
}
