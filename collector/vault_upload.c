/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "collector/row.h"
#include "collector/vault_upload_internal.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/identity.h"

#define SILENT_NS (5 * NSEC_PER_SEC) /* who says nothing for so long can wait for a place */

/* ---- calls ----------------------------------------------------------------------------------------------- */

void vault_upload_message_free(struct message *m)
{
	if (m != NULL)
		free(m->data);
	free(m);
}

void vault_upload_drop(struct call *c)
{
	struct message *m;

	if (c == NULL || atomic_fetch_sub(&c->users, 1) != 1)
		return;
	while (c->in != NULL && (m = queue_pop(c->in, 0)) != NULL)
		vault_upload_message_free(m);
	queue_free(c->in);
	queue_free(c->room);
	rpc_stream_unref(c->stream);
	ZSTD_freeDCtx(c->z);
	free(c->buffer);
	free(c);
}

void vault_upload_unlink(struct call *c)
{
	struct vault_uploads *u = c->uploads;

	(void)pthread_mutex_lock(&u->lock);
	for (struct call **at = &u->calls; *at != NULL; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			u->n_calls -= !c->given_up;
			break;
		}
	(void)pthread_cond_broadcast(&u->left);
	(void)pthread_mutex_unlock(&u->lock);
}

/* ---- on the rpc threads ------------------------------------------------------------------------------------ */

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct call *c = ctx;
	struct message *m = malloc(sizeof(*m));

	atomic_store(&c->heard_ns, clock_monotonic_ns());
	/* Off first: the thread says when it has taken one. */
	if (queue_len(c->in) + 2 >= VAULT_UPLOAD_WAITING_MAX)
		rpc_stream_want_read(s, false);
	if (m != NULL) {
		*m = (struct message){ len, data };
		if (queue_try_push(c->in, m))
			return;
	}
	free(m);
	free(data);
	rpc_stream_cancel(s);
}

static void on_sendable(struct rpc_stream *s, void *ctx)
{
	struct call *c = ctx;

	(void)s;
	if (!queue_try_push(c->room, c))
		return; /* a full queue already wakes */
}

static void on_read_end(struct rpc_stream *s, void *ctx)
{
	struct call *c = ctx;

	(void)s;
	queue_close(c->in);
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct call *c = ctx;

	(void)s, (void)status, (void)text;
	atomic_store(&c->closed, true);
	queue_close(c->in);
	queue_close(c->room);
	vault_upload_drop(c);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static void take_name(struct batch_name *ret, const char *text)
{
	ret->len = (uint8_t)strlen(text); /* at most IDENTITY_PART_MAX */
	memcpy(ret->b, text, ret->len);
}

static struct call *call_new(struct vault_uploads *u, struct rpc_stream *s)
{
	const struct identity *peer = rpc_stream_peer(s);
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->in = queue_new(VAULT_UPLOAD_WAITING_MAX + 2);
	c->room = queue_new(1);
	c->uploads = u;
	c->stream = rpc_stream_ref(s);
	atomic_init(&c->users, 1);
	atomic_init(&c->heard_ns, clock_monotonic_ns());
	take_name(&c->tenant, peer->tenant);
	take_name(&c->host_id, peer->name);
	if (c->in != NULL && c->room != NULL)
		return c;
	vault_upload_drop(c);
	return NULL;
}

/* Calls of c's host that have a place. */
static unsigned int calls_of(const struct vault_uploads *u, const struct call *c)
{
	unsigned int n = 0;

	for (const struct call *other = u->calls; other != NULL; other = other->next)
		n += !other->given_up && batch_name_equal(&other->tenant, &c->tenant) &&
		     batch_name_equal(&other->host_id, &c->host_id);
	return n;
}

/* Whose place c may have when there is no other: the host with the most calls gives one up for a host that has two
 * fewer; whoever is silent does for anybody. What was brought is kept, and gone on with by the next call. Under the
 * lock. */
static struct call *find_place(const struct vault_uploads *u, const struct call *c)
{
	unsigned int mine = calls_of(u, c), most = 0;
	uint64_t now = clock_monotonic_ns();
	struct call *found = NULL;

	for (struct call *other = u->calls; other != NULL; other = other->next) {
		unsigned int n = calls_of(u, other);

		if (other->given_up || n < most)
			continue;
		if (n > most || found == NULL ||
		    atomic_load(&other->heard_ns) < atomic_load(&found->heard_ns))
			found = other;
		most = n;
	}
	if (found != NULL && most > mine + 1)
		return found;
	found = NULL;
	for (struct call *other = u->calls; other != NULL; other = other->next)
		if (!other->given_up && now - atomic_load(&other->heard_ns) >= SILENT_NS &&
		    (found == NULL ||
		     atomic_load(&other->heard_ns) < atomic_load(&found->heard_ns)))
			found = other;
	return found;
}

/* Under the lock. */
static void give_up(struct vault_uploads *u, struct call *c)
{
	log_info("an upload gives its place to another one",
		 KV_BYTES("host", c->host_id.b, c->host_id.len));
	c->given_up = true;
	u->n_calls--;
	rpc_stream_cancel(c->stream);
}

/* NULL: admitted. */
static const char *admit(struct vault_uploads *u, struct call *c)
{
	const char *why = NULL;
	struct call *other = NULL;

	(void)pthread_mutex_lock(&u->lock);
	if (calls_of(u, c) >= VAULT_UPLOADS_PER_HOST)
		why = "this host uploads too many exhibits at one time already; try again";
	else if (u->n_calls >= u->c.calls && (other = find_place(u, c)) == NULL)
		why = "too many exhibits are uploaded at one time; try again";
	if (other != NULL)
		give_up(u, other);
	if (why == NULL) {
		c->next = u->calls;
		u->calls = c;
		u->n_calls++;
	}
	(void)pthread_mutex_unlock(&u->lock);
	return why;
}

static bool start_thread(struct call *c)
{
	(void)atomic_fetch_add(&c->users, 1);
	if (threads_start(&c->uploads->threads, vault_upload_work, c) == 0)
		return true;
	(void)atomic_fetch_sub(&c->users, 1);
	return false;
}

static void on_open(struct rpc_stream *s, void *ctx)
{
	struct vault_uploads *u = ctx;
	struct call *c;
	const char *why = atomic_load(&u->closing) ? "the collector is stopping" : NULL;

	if (why != NULL) {
		rpc_stream_finish(s, RPC_UNAVAILABLE, why);
		return;
	}
	c = call_new(u, s);
	why = c != NULL ? admit(u, c) : "the collector is out of memory";
	if (why != NULL) {
		rpc_stream_finish(s, RPC_UNAVAILABLE, why);
		vault_upload_drop(c);
		return;
	}
	rpc_stream_serve(s, &ops, c);
	if (!start_thread(c)) {
		rpc_stream_finish(s, RPC_UNAVAILABLE, "the collector cannot start a thread");
		vault_upload_unlink(c);
		return; /* on_closed drops it */
	}
	rpc_stream_want_read(s, true);
}

/* ---- the service ----------------------------------------------------------------------------------------- */

int vault_uploads_new(const struct vault_upload_config *c, struct vault_uploads **ret,
		      struct error *e)
{
	struct vault_uploads *u;

	if (c->calls < 1 || c->calls > VAULT_UPLOADS_MAX)
		return error_set(e, -EINVAL, "%u uploads at one time are not between 1 and %d",
				 c->calls, VAULT_UPLOADS_MAX);
	u = calloc(1, sizeof(*u));
	if (u != NULL)
		u->refusals = ingest_log_new();
	if (u == NULL || u->refusals == NULL) {
		free(u);
		return error_set(e, -ENOMEM, "cannot take uploads: out of memory");
	}
	u->c = *c;
	(void)pthread_mutex_init(&u->lock, NULL);
	(void)pthread_cond_init(&u->left, NULL);
	threads_init(&u->threads, UINT_MAX); /* calls are bounded where they begin */
	*ret = u;
	return 0;
}

struct rpc_method vault_uploads_method(struct vault_uploads *u)
{
	return (struct rpc_method){ .path = "/exhibit.v1.Agent/Upload",
				    .allow = RPC_ALLOW_HOST,
				    .on_open = on_open,
				    .ctx = u,
				    .first_message_ms = 10000 };
}

void vault_uploads_close(struct vault_uploads *u)
{
	if (u == NULL)
		return;
	atomic_store(&u->closing, true);
	/* Each looks within SYNC_MS, or ends what it is doing. */
	threads_wait(&u->threads);
}

void vault_uploads_free(struct vault_uploads *u)
{
	if (u == NULL)
		return;
	ingest_log_free(u->refusals);
	threads_release(&u->threads);
	(void)pthread_cond_destroy(&u->left);
	(void)pthread_mutex_destroy(&u->lock);
	free(u);
}

uint64_t vault_uploads_refused(const struct vault_uploads *u)
{
	return atomic_load(&u->refused);
}
