/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/query_service.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/identity.h"
#include "proto/rpc_stream.h"

/* How often one that waits for room looks whether it should give up. */
#define WAIT_MS 200

/* One question, from its call's opening to its closing. Two owners: the stream until on_closed, and the
 * thread that answers. */
struct call {
	atomic_uint users;
	struct query_service *service;
	const struct query_method *method;
	struct rpc_stream *stream; /* a reference of ours */
	struct batch_name tenant;
	ProtobufCMessage *question; /* unpacked */
	struct queue *room; /* a token when the stream takes messages again; closed: the asker left */
	uint64_t deadline_ns; /* monotonic; 0: none */
};

struct query_service {
	struct query_service_config config;
	struct queue *waiting; /* of struct call */
	pthread_t threads[QUERY_THREADS_MAX];
	unsigned int n_threads;
	atomic_bool closing;
	atomic_uint tails; /* their threads are detached and counted */
	struct method_slot {
		struct query_service *service;
		const struct query_method *method;
	} * slots; /* contexts of the registered rows */
};

/* ---- the table ---------------------------------------------------------------------------------------- */

static int answer_hosts(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	return query_hosts(q, (const Exhibit__V1__HostsRequest *)m, e);
}

static int answer_events(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	return query_events(q, (const Exhibit__V1__EventsQuery *)m, e);
}

static int answer_tree(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	return query_tree(q, (const Exhibit__V1__TreeQuery *)m, e);
}

static int answer_coverage(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	return query_coverage(q, (const Exhibit__V1__CoverageRequest *)m, e);
}

static int answer_status(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	return query_status(q, (const Exhibit__V1__StatusRequest *)m, e);
}

static int answer_checkpoint(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	if (!q->env->ledger)
		return error_set(e, -ENOENT, "there is no ledger here");
	return query_ledger_checkpoint(q, (const Exhibit__V1__CheckpointRequest *)m, e);
}

static int answer_entries(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	if (!q->env->ledger)
		return error_set(e, -ENOENT, "there is no ledger here");
	return query_ledger_entries(q, (const Exhibit__V1__EntriesRequest *)m, e);
}

/* Whoever may do something with evidence may look at it. A certificate without one of these roles may not. */
static const char *const readers[] = { "viewer", "acquirer", "approver", NULL };

/* Method x role; hosts and collectors may not ask. */
struct query_method {
	const char *path;
	unsigned int allow;
	const char *const *roles; /* one of these is needed; NULL ends */
	const ProtobufCMessageDescriptor *request;
	int (*answer)(const struct query *q, const ProtobufCMessage *m, struct error *e);
};

static const struct query_method methods[] = {
	{ "/exhibit.v1.Query/Hosts", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__hosts_request__descriptor, answer_hosts },
	{ "/exhibit.v1.Query/Events", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__events_query__descriptor, answer_events },
	{ "/exhibit.v1.Query/Tree", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__tree_query__descriptor, answer_tree },
	{ "/exhibit.v1.Query/Coverage", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__coverage_request__descriptor, answer_coverage },
	{ "/exhibit.v1.Query/Status", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__status_request__descriptor, answer_status },
	{ "/exhibit.v1.Ledger/Checkpoint", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__checkpoint_request__descriptor, answer_checkpoint },
	{ "/exhibit.v1.Ledger/Entries", RPC_ALLOW_RESPONDER, readers,
	  &exhibit__v1__entries_request__descriptor, answer_entries },
};

const char *query_method_path(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].path : NULL;
}

unsigned int query_method_allow(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].allow : 0;
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

static void call_drop(struct call *c)
{
	if (!c || atomic_fetch_sub(&c->users, 1) != 1)
		return;
	rpc_stream_unref(c->stream);
	if (c->question)
		protobuf_c_message_free_unpacked(c->question, NULL);
	queue_free(c->room);
	free(c);
}

static void wake(struct call *c)
{
	/* Any pointer will do: what counts is that there is one. A full queue already wakes. */
	if (!queue_try_push(c->room, c))
		return;
}

static bool call_cancelled(void *ctx)
{
	struct call *c = ctx;

	return queue_closed(c->room) || atomic_load(&c->service->closing) ||
	       (c->deadline_ns && clock_monotonic_ns() > c->deadline_ns);
}

/* Wait for room as long as the asker is there. */
static int call_send(void *ctx, uint8_t *data, size_t len)
{
	struct call *c = ctx;
	uint64_t stall_ms = c->service->config.stall_ms;
	uint64_t begun = clock_monotonic_ns();
	int r;

	while ((r = rpc_stream_send(c->stream, data, len)) == -EAGAIN) {
		if (call_cancelled(c))
			r = -ECANCELED;
		else if (stall_ms && clock_monotonic_ns() - begun > stall_ms * NSEC_PER_MSEC)
			r = -ETIMEDOUT;
		if (r != -EAGAIN)
			break;
		(void)queue_pop(c->room, WAIT_MS);
	}
	if (r < 0)
		free(data);
	return r == -EPIPE ? -ECANCELED : r;
}

/* What a failed question is to the asker. */
static const struct {
	int code;
	enum rpc_status status;
} statuses[] = {
	{ -EINVAL, RPC_INVALID_ARGUMENT },   { -ENOENT, RPC_NOT_FOUND },
	{ -E2BIG, RPC_RESOURCE_EXHAUSTED },  { -ENOSPC, RPC_RESOURCE_EXHAUSTED },
	{ -ENOMEM, RPC_RESOURCE_EXHAUSTED }, { -ETIMEDOUT, RPC_DEADLINE_EXCEEDED },
	{ -ECANCELED, RPC_CANCELLED },
};

static enum rpc_status status_of(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].code == code)
			return statuses[i].status;
	return RPC_INTERNAL;
}

static void finish(struct call *c, int r, struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	if (r == -ECANCELED && c->deadline_ns && clock_monotonic_ns() > c->deadline_ns) {
		r = error_set(e, -ETIMEDOUT, "the question took longer than %llu s",
			      (unsigned long long)(c->service->config.deadline_ms / 1000));
		error_hint(e, "ask for a shorter time, one host or fewer rows");
	}
	if (r < 0 && !e->text[0])
		r = error_set(e, r, "the question could not be answered: %m");
	if (r < 0 && status_of(r) == RPC_INTERNAL)
		log_failure(LOG_LEVEL_ERROR, "a question could not be answered", e);
	rpc_stream_finish(c->stream, r < 0 ? status_of(r) : RPC_OK,
			  r < 0 ? error_format(e, text, sizeof(text)) : "");
}

static void answer(struct call *c)
{
	struct query q = {
		.env = &c->service->config.env,
		.who = rpc_stream_peer(c->stream),
		.tenant = c->tenant,
		.sink = { .send = call_send, .cancelled = call_cancelled, .ctx = c },
	};
	struct error e = { 0 };
	int r = -ECANCELED;

	if (!call_cancelled(c))
		r = c->method->answer(&q, c->question, &e);
	finish(c, r, &e);
	call_drop(c);
}

static void *work(void *arg)
{
	struct query_service *s = arg;
	struct call *c;

	while ((c = queue_pop(s->waiting, -1)))
		answer(c);
	return NULL;
}

static void *work_tail(void *arg)
{
	struct call *c = arg;
	struct query_service *s = c->service;

	answer(c);
	(void)atomic_fetch_sub(&s->tails, 1);
	return NULL;
}

/* ---- questions ---------------------------------------------------------------------------------------------- */

static void refuse(struct rpc_stream *stream, enum rpc_status status, const char *text)
{
	rpc_stream_finish(stream, status, text);
}

static void start_tail(struct call *c)
{
	struct query_service *s = c->service;
	pthread_attr_t attr;
	pthread_t thread;
	int r = 0;

	c->deadline_ns = 0;
	if (atomic_fetch_add(&s->tails, 1) >= LIVE_FOLLOWERS_MAX)
		r = EAGAIN;
	if (r == 0) {
		(void)pthread_attr_init(&attr);
		(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, work_tail, c);
		(void)pthread_attr_destroy(&attr);
	}
	if (r == 0)
		return;
	(void)atomic_fetch_sub(&s->tails, 1);
	refuse(c->stream, RPC_RESOURCE_EXHAUSTED,
	       "too many live tails are open; end one of them, or ask with 'exhibit events'");
	call_drop(c);
}

static bool follows(const struct call *c)
{
	return c->method->answer == answer_events &&
	       ((const Exhibit__V1__EventsQuery *)c->question)->follow;
}

static void on_message(struct rpc_stream *stream, uint8_t *data, size_t len, void *ctx)
{
	struct call *c = ctx;

	rpc_stream_want_read(stream, false);
	if (len <= QUERY_BYTES_MAX && !c->question)
		c->question = protobuf_c_message_unpack(c->method->request, NULL, len, data);
	free(data);
	if (!c->question) {
		refuse(stream, RPC_INVALID_ARGUMENT, "the question cannot be read");
		return;
	}
	(void)atomic_fetch_add(&c->users, 1);
	if (follows(c)) {
		start_tail(c);
		return;
	}
	if (queue_try_push(c->service->waiting, c))
		return;
	refuse(stream, RPC_RESOURCE_EXHAUSTED, "too many questions wait for an answer; try again");
	call_drop(c);
}

static void on_sendable(struct rpc_stream *stream, void *ctx)
{
	(void)stream;
	wake(ctx);
}

/* Without a question there is nothing to answer; with one, the end of reading is what a client does. */
static void on_read_end(struct rpc_stream *stream, void *ctx)
{
	struct call *c = ctx;

	if (!c->question)
		refuse(stream, RPC_INVALID_ARGUMENT, "the call ended without a question");
}

static void on_closed(struct rpc_stream *stream, enum rpc_status status, const char *text,
		      void *ctx)
{
	struct call *c = ctx;

	(void)stream, (void)status, (void)text;
	queue_close(c->room);
	call_drop(c);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static struct call *call_new(struct query_service *s, const struct query_method *m,
			     struct rpc_stream *stream)
{
	const struct identity *peer = rpc_stream_peer(stream);
	struct call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->room = queue_new(1);
	if (!c->room) {
		free(c);
		return NULL;
	}
	atomic_store(&c->users, 1);
	c->service = s;
	c->method = m;
	c->stream = rpc_stream_ref(stream);
	c->tenant.len = (uint8_t)strnlen(peer->tenant, IDENTITY_PART_MAX);
	memcpy(c->tenant.b, peer->tenant, c->tenant.len);
	if (s->config.deadline_ms)
		c->deadline_ns = clock_monotonic_ns() + s->config.deadline_ms * NSEC_PER_MSEC;
	return c;
}

static bool has_role(const struct identity *who, const char *const *roles)
{
	for (; *roles != NULL; roles++)
		if (identity_has_role(who, *roles))
			return true;
	return false;
}

static void on_open(struct rpc_stream *stream, void *ctx)
{
	const struct method_slot *slot = ctx;
	struct call *c;

	if (!has_role(rpc_stream_peer(stream), slot->method->roles)) {
		static const char why[] =
			"the certificate holds no role that may ask: viewer, acquirer or approver";

		log_warn("refused a call", KV_STR("why", why),
			 KV_STR("peer", rpc_stream_peer(stream)->name),
			 KV_STR("remote", rpc_stream_remote(stream)),
			 KV_STR("method", slot->method->path));
		refuse(stream, RPC_PERMISSION_DENIED, why);
		return;
	}
	if (atomic_load(&slot->service->closing)) {
		refuse(stream, RPC_UNAVAILABLE, "the collector is stopping");
		return;
	}
	c = call_new(slot->service, slot->method, stream);
	if (!c) {
		refuse(stream, RPC_RESOURCE_EXHAUSTED, "the collector is out of memory");
		return;
	}
	rpc_stream_serve(stream, &ops, c);
	rpc_stream_want_read(stream, true);
}

/* ---- the service ---------------------------------------------------------------------------------------------- */

int query_service_new(const struct query_service_config *config, struct query_service **ret,
		      struct error *e)
{
	struct query_service *s;

	if (config->threads < 1 || config->threads > QUERY_THREADS_MAX)
		return error_set(e, -EINVAL, "%u query threads are not between 1 and %d",
				 config->threads, QUERY_THREADS_MAX);
	s = calloc(1, sizeof(*s));
	if (s) {
		s->config = *config;
		s->waiting = queue_new(QUERY_WAITING_MAX);
		s->slots = calloc(ARRAY_LEN(methods), sizeof(*s->slots));
	}
	if (!s || !s->waiting || !s->slots) {
		query_service_free(s);
		return error_set(e, -ENOMEM, "cannot start the query service: out of memory");
	}
	for (; s->n_threads < config->threads; s->n_threads++) {
		int r = pthread_create(&s->threads[s->n_threads], NULL, work, s);

		if (r == 0)
			continue;
		query_service_free(s);
		return error_set(e, -r, "cannot start a query thread: %m");
	}
	*ret = s;
	return 0;
}

int query_service_register(struct query_service *s, struct rpc_server *server, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct rpc_method row = {
			.path = methods[i].path,
			.allow = methods[i].allow,
			.on_open = on_open,
			.ctx = &s->slots[i],
			.first_message_ms = 10000,
		};
		int r;

		s->slots[i] = (struct method_slot){ s, &methods[i] };
		r = rpc_server_method(server, &row, e);
		if (r < 0)
			return r;
	}
	return 0;
}

void query_service_close(struct query_service *s)
{
	if (!s || atomic_exchange(&s->closing, true))
		return;
	if (s->config.env.live)
		live_close(s->config.env.live);
	queue_close(s->waiting);
	for (unsigned int i = 0; i < s->n_threads; i++)
		(void)pthread_join(s->threads[i], NULL);
	s->n_threads = 0;
	/* Each notices within WAIT_MS. */
	while (atomic_load(&s->tails))
		(void)usleep(10000);
}

void query_service_free(struct query_service *s)
{
	if (!s)
		return;
	if (s->waiting)
		query_service_close(s);
	queue_free(s->waiting);
	free(s->slots);
	free(s);
}
