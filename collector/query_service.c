/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/query_service.h"

#include <errno.h>
#include <pthread.h>

#include "collector/call.h"
#include "collector/threads.h"

struct query_service {
	struct query_service_config config;
	struct calls calls;
	struct queue *waiting; /* of struct call */
	pthread_t threads[QUERY_THREADS_MAX];
	unsigned int n_threads;
	struct threads tails;
};

static struct query_service *service_of(const struct call *c)
{
	return c->calls->c.owner;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static bool is_cancelled(void *ctx)
{
	return call_over(ctx);
}

static int send(void *ctx, uint8_t *data, size_t len)
{
	return call_send(ctx, data, len);
}

static struct query query_of(struct call *c)
{
	return (struct query){
		.env = &service_of(c)->config.env,
		.who = rpc_stream_peer(c->stream),
		.tenant = c->tenant,
		.sink = { .send = send, .cancelled = is_cancelled, .ctx = c },
	};
}

static int answer_hosts(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	return query_hosts(&q, (const void *)c->question, e);
}

static int answer_events(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	return query_events(&q, (const void *)c->question, e);
}

static int answer_tree(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	return query_tree(&q, (const void *)c->question, e);
}

static int answer_coverage(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	return query_coverage(&q, (const void *)c->question, e);
}

static int answer_status(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	return query_status(&q, (const void *)c->question, e);
}

static int answer_checkpoint(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	if (!q.env->ledger)
		return error_set(e, -ENOENT, "there is no ledger here");
	return query_ledger_checkpoint(&q, (const void *)c->question, e);
}

static int answer_entries(struct call *c, struct error *e)
{
	struct query q = query_of(c);

	if (!q.env->ledger)
		return error_set(e, -ENOENT, "there is no ledger here");
	return query_ledger_entries(&q, (const void *)c->question, e);
}

/* Whoever may do something with evidence may look at it. A certificate without one of these roles may not; hosts and
 * collectors may not ask. */
static const char *const readers[] = { "viewer", "acquirer", "approver", NULL };
#define NEED "viewer, acquirer or approver"

static const struct call_method methods[] = {
	{ "/exhibit.v1.Query/Hosts", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__hosts_request__descriptor, answer_hosts },
	{ "/exhibit.v1.Query/Events", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__events_query__descriptor, answer_events },
	{ "/exhibit.v1.Query/Tree", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__tree_query__descriptor, answer_tree },
	{ "/exhibit.v1.Query/Coverage", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__coverage_request__descriptor, answer_coverage },
	{ "/exhibit.v1.Query/Status", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__status_request__descriptor, answer_status },
	{ "/exhibit.v1.Ledger/Checkpoint", RPC_ALLOW_RESPONDER, readers, NEED,
	  &exhibit__v1__checkpoint_request__descriptor, answer_checkpoint },
	{ "/exhibit.v1.Ledger/Entries", RPC_ALLOW_RESPONDER, readers, NEED,
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

/* ---- answering ------------------------------------------------------------------------------------------ */

static void *work(void *arg)
{
	struct query_service *s = arg;
	struct call *c;

	while ((c = queue_pop(s->waiting, -1)))
		call_answer(c);
	return NULL;
}

static void *work_tail(void *arg)
{
	struct query_service *s = service_of(arg);

	call_answer(arg);
	threads_end(&s->tails);
	return NULL;
}

static bool follows(const struct call *c)
{
	return c->method->answer == answer_events &&
	       ((const Exhibit__V1__EventsQuery *)c->question)->follow;
}

static const char *start(struct call *c)
{
	struct query_service *s = service_of(c);

	if (!follows(c))
		return queue_try_push(s->waiting, c) ?
			       NULL :
			       "too many questions wait for an answer; try again";
	c->deadline_ns = 0;
	return threads_start(&s->tails, work_tail, c) == 0 ?
		       NULL :
		       "too many live tails are open; end one of them, or ask with 'exhibit events'";
}

/* ---- the service ---------------------------------------------------------------------------------------------- */

int query_service_new(const struct query_service_config *config, struct query_service **ret,
		      struct error *e)
{
	struct query_service *s;
	int r = -ENOMEM;

	if (config->threads < 1 || config->threads > QUERY_THREADS_MAX)
		return error_set(e, -EINVAL, "%u query threads are not between 1 and %d",
				 config->threads, QUERY_THREADS_MAX);
	s = calloc(1, sizeof(*s));
	if (s) {
		s->config = *config;
		threads_init(&s->tails, LIVE_FOLLOWERS_MAX);
		s->waiting = queue_new(QUERY_WAITING_MAX);
		r = calls_init(&s->calls,
			       &(struct call_config){ .methods = methods,
						      .n_methods = ARRAY_LEN(methods),
						      .question_max = QUERY_BYTES_MAX,
						      .deadline_ms = config->deadline_ms,
						      .stall_ms = config->stall_ms,
						      .start = start,
						      .owner = s },
			       e);
	}
	if (r < 0 || !s->waiting) {
		query_service_free(s);
		return error_set(e, -ENOMEM, "cannot start the query service: out of memory");
	}
	for (; s->n_threads < config->threads; s->n_threads++) {
		r = pthread_create(&s->threads[s->n_threads], NULL, work, s);
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
	return calls_register(&s->calls, server, e);
}

void query_service_close(struct query_service *s)
{
	if (!s || !calls_close(&s->calls))
		return;
	if (s->config.env.live)
		live_close(s->config.env.live);
	queue_close(s->waiting);
	for (unsigned int i = 0; i < s->n_threads; i++)
		(void)pthread_join(s->threads[i], NULL);
	s->n_threads = 0;
	threads_wait(&s->tails);
}

void query_service_free(struct query_service *s)
{
	if (!s)
		return;
	if (s->waiting)
		query_service_close(s);
	queue_free(s->waiting);
	calls_release(&s->calls);
	threads_release(&s->tails);
	free(s);
}
