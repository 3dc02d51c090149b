/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define LOOK_MS 200 /* how often one that waits for room looks whether it should give up */

static void drop(struct call *c)
{
	if (c == NULL || atomic_fetch_sub(&c->users, 1) != 1)
		return;
	rpc_stream_unref(c->stream);
	if (c->question != NULL)
		protobuf_c_message_free_unpacked(c->question, NULL);
	queue_free(c->room);
	free(c);
}

/* ---- on the thread that answers --------------------------------------------------------------------------- */

static bool is_late(const struct call *c)
{
	return c->deadline_ns != 0 && clock_monotonic_ns() > c->deadline_ns;
}

bool call_over(const struct call *c)
{
	return queue_closed(c->room) || atomic_load(&c->calls->closing) || is_late(c);
}

int call_send(struct call *c, uint8_t *data, size_t len)
{
	uint64_t stall_ns = c->calls->c.stall_ms * NSEC_PER_MSEC, begun = clock_monotonic_ns();
	int r;

	while ((r = rpc_stream_send(c->stream, data, len)) == -EAGAIN) {
		if (call_over(c))
			r = -ECANCELED;
		else if (stall_ns != 0 && clock_monotonic_ns() - begun > stall_ns)
			r = -ETIMEDOUT;
		if (r != -EAGAIN)
			break;
		(void)queue_pop(c->room, LOOK_MS);
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
	{ -EACCES, RPC_PERMISSION_DENIED },  { -EAGAIN, RPC_FAILED_PRECONDITION },
	{ -E2BIG, RPC_RESOURCE_EXHAUSTED },  { -ENOSPC, RPC_RESOURCE_EXHAUSTED },
	{ -ENOMEM, RPC_RESOURCE_EXHAUSTED }, { -ETIMEDOUT, RPC_DEADLINE_EXCEEDED },
	{ -ECANCELED, RPC_CANCELLED },       { -EIO, RPC_DATA_LOSS },
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
	enum rpc_status status = RPC_OK;

	if (r == -ECANCELED && is_late(c)) {
		r = error_set(e, -ETIMEDOUT, "the question took longer than %llu s",
			      (unsigned long long)(c->calls->c.deadline_ms / 1000));
		error_hint(e, "ask for a shorter time, one host or fewer rows");
	}
	if (r < 0 && e->text[0] == '\0')
		r = error_set(e, r, "the question could not be answered: %m");
	if (r < 0)
		status = status_of(r);
	if (status == RPC_INTERNAL || status == RPC_DATA_LOSS)
		log_failure(LOG_LEVEL_ERROR, "a question could not be answered", e);
	rpc_stream_finish(c->stream, status, r < 0 ? error_format(e, text, sizeof(text)) : "");
}

void call_answer(struct call *c)
{
	struct error e = { 0 };
	int r = call_over(c) ? -ECANCELED : c->method->answer(c, &e);

	finish(c, r, &e);
	drop(c);
}

/* ---- on the rpc threads ------------------------------------------------------------------------------------ */

static void on_message(struct rpc_stream *stream, uint8_t *data, size_t len, void *ctx)
{
	struct call *c = ctx;
	const char *why = NULL;

	rpc_stream_want_read(stream, false);
	if (len <= c->calls->c.question_max && c->question == NULL)
		c->question = protobuf_c_message_unpack(c->method->request, NULL, len, data);
	free(data);
	if (c->question == NULL) {
		rpc_stream_finish(stream, RPC_INVALID_ARGUMENT, "the question cannot be read");
		return;
	}
	(void)atomic_fetch_add(&c->users, 1);
	why = c->calls->c.start(c);
	if (why == NULL)
		return;
	rpc_stream_finish(stream, RPC_RESOURCE_EXHAUSTED, why);
	drop(c);
}

static void on_sendable(struct rpc_stream *stream, void *ctx)
{
	struct call *c = ctx;

	(void)stream;
	/* Any pointer will do: what counts is that there is one. A full queue already wakes. */
	if (!queue_try_push(c->room, c))
		return;
}

/* Without a question there is nothing to answer; with one, the end of reading is what a client does. */
static void on_read_end(struct rpc_stream *stream, void *ctx)
{
	struct call *c = ctx;

	if (c->question == NULL)
		rpc_stream_finish(stream, RPC_INVALID_ARGUMENT,
				  "the call ended without a question");
}

static void on_closed(struct rpc_stream *stream, enum rpc_status status, const char *text,
		      void *ctx)
{
	struct call *c = ctx;

	(void)stream, (void)status, (void)text;
	queue_close(c->room);
	drop(c);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static struct call *call_new(const struct call_slot *slot, struct rpc_stream *stream)
{
	const struct identity *peer = rpc_stream_peer(stream);
	uint64_t deadline_ms = slot->calls->c.deadline_ms;
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->room = queue_new(1)) == NULL) {
		free(c);
		return NULL;
	}
	atomic_init(&c->users, 1);
	c->calls = slot->calls;
	c->method = slot->method;
	c->stream = rpc_stream_ref(stream);
	c->tenant.len = (uint8_t)strnlen(peer->tenant, IDENTITY_PART_MAX);
	memcpy(c->tenant.b, peer->tenant, c->tenant.len);
	(void)identity_spiffe(peer, c->subject);
	if (deadline_ms != 0)
		c->deadline_ns = clock_monotonic_ns() + deadline_ms * NSEC_PER_MSEC;
	return c;
}

static bool has_role(const struct identity *who, const char *const *roles)
{
	for (; *roles != NULL; roles++)
		if (identity_has_role(who, *roles))
			return true;
	return false;
}

static void refuse_role(struct rpc_stream *stream, const struct call_method *m)
{
	char why[128];

	(void)snprintf(why, sizeof(why), "the certificate holds no role that may ask: %s", m->need);
	log_warn("refused a call", KV_STR("why", why),
		 KV_STR("peer", rpc_stream_peer(stream)->name),
		 KV_STR("remote", rpc_stream_remote(stream)), KV_STR("method", m->path));
	rpc_stream_finish(stream, RPC_PERMISSION_DENIED, why);
}

static void on_open(struct rpc_stream *stream, void *ctx)
{
	const struct call_slot *slot = ctx;
	struct call *c;

	if (!has_role(rpc_stream_peer(stream), slot->method->roles)) {
		refuse_role(stream, slot->method);
		return;
	}
	if (atomic_load(&slot->calls->closing)) {
		rpc_stream_finish(stream, RPC_UNAVAILABLE, "the collector is stopping");
		return;
	}
	c = call_new(slot, stream);
	if (c == NULL) {
		rpc_stream_finish(stream, RPC_RESOURCE_EXHAUSTED, "the collector is out of memory");
		return;
	}
	rpc_stream_serve(stream, &ops, c);
	rpc_stream_want_read(stream, true);
}

/* ---- the service ------------------------------------------------------------------------------------------- */

int calls_init(struct calls *s, const struct call_config *c, struct error *e)
{
	s->c = *c;
	atomic_init(&s->closing, false);
	s->slots = calloc(c->n_methods, sizeof(*s->slots));
	return s->slots != NULL ? 0 :
				  error_set(e, -ENOMEM, "cannot serve questions: out of memory");
}

void calls_release(struct calls *s)
{
	free(TAKE(s->slots));
}

int calls_register(struct calls *s, struct rpc_server *server, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->c.n_methods; i++) {
		const struct call_method *m = &s->c.methods[i];

		s->slots[i] = (struct call_slot){ s, m };
		r = rpc_server_method(server,
				      &(struct rpc_method){ .path = m->path,
							    .allow = m->allow,
							    .on_open = on_open,
							    .ctx = &s->slots[i],
							    .first_message_ms = 10000 },
				      e);
	}
	return r;
}

bool calls_close(struct calls *s)
{
	return !atomic_exchange(&s->closing, true);
}
