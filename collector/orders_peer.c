/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

void peer_drop_out(struct peer *p)
{
	while (p->out) {
		struct out *next = p->out->next;

		free(p->out);
		p->out = next;
	}
	p->out_end = &p->out;
	p->n_out = 0;
}

void peer_unref(struct peer *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	peer_drop_out(p);
	rpc_stream_unref(p->stream);
	free(p);
}

/* ---- on the rpc threads ------------------------------------------------------------------------------------ */

static bool put_note(struct peer *p, enum note_kind kind, uint8_t *data, size_t len)
{
	struct note *n = calloc(1, sizeof(*n));

	if (!n)
		return false;
	*n = (struct note){ kind, p, data, len };
	(void)atomic_fetch_add(&p->refs, 1);
	if (queue_try_push(p->orders->notes, n))
		return true;
	(void)atomic_fetch_sub(&p->refs, 1);
	free(n);
	return false;
}

static void on_message(struct rpc_stream *stream, uint8_t *data, size_t len, void *ctx)
{
	struct peer *p = ctx;

	/* One at a time; the thread asks for the next. */
	rpc_stream_want_read(stream, false);
	if (len <= p->method->message_max && put_note(p, NOTE_MESSAGE, data, len))
		return;
	free(data);
	rpc_stream_finish(stream, RPC_RESOURCE_EXHAUSTED,
			  len > p->method->message_max ?
				  "the message is too long" :
				  "the collector has too much to do; try again");
}

static void on_sendable(struct rpc_stream *stream, void *ctx)
{
	(void)stream;
	/* A full queue: the thread looks at all streams every half second anyway. */
	(void)put_note(ctx, NOTE_ROOM, NULL, 0);
}

/* A call goes on after its one message; a host that sends no more has left. */
static void on_read_end(struct rpc_stream *stream, void *ctx)
{
	const struct peer *p = ctx;

	if (p->method->many)
		rpc_stream_finish(stream, RPC_OK, "");
}

static void on_closed(struct rpc_stream *stream, enum rpc_status status, const char *text,
		      void *ctx)
{
	struct peer *p = ctx;

	(void)stream;
	(void)status;
	(void)text;
	atomic_store(&p->closed, true);
	(void)put_note(p, NOTE_CLOSED, NULL, 0);
	peer_unref(p);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static bool has_role(const struct identity *who, const char *const *roles)
{
	for (; *roles; roles++)
		if (identity_has_role(who, *roles))
			return true;
	return false;
}

static void set_name(struct batch_name *n, const char *text)
{
	size_t len = strlen(text);

	_Static_assert(IDENTITY_PART_MAX <= BATCH_NAME_MAX, "a part of a name is one");
	n->len = (uint8_t)len;
	memcpy(n->b, text, len);
}

static struct peer *peer_new(const struct method_slot *slot, struct rpc_stream *stream)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->orders = slot->orders;
	p->method = slot->method;
	p->stream = rpc_stream_ref(stream);
	p->who = *rpc_stream_peer(stream);
	p->out_end = &p->out;
	set_name(&p->tenant, p->who.tenant);
	if (p->who.kind == IDENTITY_HOST)
		set_name(&p->host, p->who.name);
	atomic_store(&p->refs, 1);
	return p;
}

void orders_peer_open(struct rpc_stream *stream, void *ctx)
{
	const struct method_slot *slot = ctx;
	const struct identity *who = rpc_stream_peer(stream);
	struct peer *p;

	if (slot->method->roles && !has_role(who, slot->method->roles)) {
		char why[160];

		(void)snprintf(why, sizeof(why), "this takes the role '%s'%s",
			       slot->method->roles[0],
			       slot->method->roles[1] ? ", or another that may look" : "");
		log_warn("refused a call", KV_STR("why", why), KV_STR("peer", who->name),
			 KV_STR("remote", rpc_stream_remote(stream)),
			 KV_STR("method", slot->method->path));
		rpc_stream_finish(stream, RPC_PERMISSION_DENIED, why);
		return;
	}
	p = atomic_load(&slot->orders->closing) ? NULL : peer_new(slot, stream);
	if (!p || !put_note(p, NOTE_OPEN, NULL, 0)) {
		peer_unref(p);
		rpc_stream_finish(stream, RPC_UNAVAILABLE,
				  "the collector is stopping, or has too much to do; try again");
		return;
	}
	rpc_stream_serve(stream, &ops, p);
	rpc_stream_want_read(stream, true);
}

/* ---- on the orders' thread ---------------------------------------------------------------------------------- */

void peer_pump(struct peer *p)
{
	while (p->out && !p->finished && !atomic_load(&p->closed)) {
		struct out *first = p->out;
		int r = rpc_stream_send_copy(p->stream, first->data, first->len);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			rpc_stream_cancel(p->stream);
			peer_drop_out(p);
			return;
		}
		p->out = first->next;
		if (!p->out)
			p->out_end = &p->out;
		p->n_out--;
		free(first);
	}
	if (p->ended && !p->finished && !p->out) {
		p->finished = true;
		rpc_stream_finish(p->stream, p->status, p->why);
	}
}

void peer_send(struct peer *p, const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	struct out *o;

	if (p->ended || atomic_load(&p->closed))
		return;
	o = len <= RPC_MESSAGE_MAX && p->n_out < ORDERS_OUT_MAX ? malloc(sizeof(*o) + len) : NULL;
	if (!o) {
		struct error e = { 0 };

		(void)error_set(&e, -ENOBUFS, "the answer is too long, or read too slowly");
		peer_drop_out(p);
		peer_end(p, RPC_RESOURCE_EXHAUSTED, &e);
		return;
	}
	o->next = NULL;
	o->len = len;
	(void)protobuf_c_message_pack(m, o->data);
	*p->out_end = o;
	p->out_end = &o->next;
	p->n_out++;
	peer_pump(p);
}

void peer_end(struct peer *p, enum rpc_status status, const struct error *why)
{
	if (p->ended)
		return;
	p->ended = true;
	p->status = status;
	if (why)
		(void)error_format(why, p->why, sizeof(p->why));
	peer_pump(p);
}
