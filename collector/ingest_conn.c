/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "collector/ingest_internal.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/envelope.h"
#include "proto/identity.h"
#include "service.pb-c.h"

void conn_ref(struct conn *c)
{
	(void)atomic_fetch_add(&c->refs, 1);
}

void conn_unref(struct conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	verify_peer_release(&c->peer);
	rpc_stream_unref(c->stream);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

static void tell_held(struct ingest_log *l, uint64_t now_ns, const char *what)
{
	struct batch_name tenant, host;
	uint64_t held;

	while (ingest_log_take(l, now_ns, &tenant, &host, &held))
		log_warn(what, KV_BYTES("tenant", tenant.b, tenant.len),
			 KV_BYTES("host", host.b, host.len), KV_U64("held_back", held));
}

void ingest_tell_held(struct ingest *i)
{
	uint64_t now = clock_monotonic_ns();
	uint64_t last = atomic_load(&i->told_ns);

	if (now - last < INGEST_LOG_EVERY_NS ||
	    !atomic_compare_exchange_strong(&i->told_ns, &last, now))
		return;
	tell_held(i->refusals, now, "more of a host's messages were refused");
	tell_held(i->alarms, now, "ALARM more batches of a host carry a number that another has");
}

static enum rpc_status status_of(int code)
{
	static const struct {
		int code;
		enum rpc_status status;
	} rows[] = {
		{ -EACCES, RPC_PERMISSION_DENIED },
		{ -EBADMSG, RPC_INVALID_ARGUMENT },
		{ -EPROTONOSUPPORT, RPC_FAILED_PRECONDITION },
		{ -EUCLEAN, RPC_FAILED_PRECONDITION },
		{ -ENOSPC, RPC_RESOURCE_EXHAUSTED },
		{ -ENOMEM, RPC_RESOURCE_EXHAUSTED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return rows[i].status;
	return RPC_UNAVAILABLE;
}

void conn_refuse(struct conn *c, int code, const struct error *e)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct ingest *i = c->ingest;
	uint64_t held;

	(void)atomic_fetch_add(&i->rejected, 1);
	(void)error_format(e, sentence, sizeof(sentence));
	if (ingest_log_may(i->refusals, &c->peer.tenant, &c->peer.host_id, clock_monotonic_ns(),
			   &held))
		log_warn("an agent's message is refused",
			 KV_STR("from", rpc_stream_remote(c->stream)),
			 KV_STR("host", rpc_stream_peer(c->stream)->name),
			 KV_STR("error", sentence), KV_U64("held_back", held),
			 KV_U64("refused", atomic_load(&i->rejected)));
	rpc_stream_finish(c->stream, status_of(code), sentence);
}

void conn_message_done(struct conn *c, size_t cost)
{
	(void)atomic_fetch_sub(&c->ingest->bytes, cost);
	(void)atomic_fetch_sub(&c->under_way, 1);
	if (!atomic_load(&c->closed))
		rpc_stream_want_read(c->stream, true);
}

static void flush_acks(struct conn *c)
{
	(void)pthread_mutex_lock(&c->lock);
	for (size_t lane = 1; lane <= BATCH_LANES; lane++) {
		struct pending_ack *p = &c->pending[lane];

		/* -EAGAIN: on_sendable comes back here; anything else: the stream is over. */
		if (p->set && rpc_stream_send_copy(c->stream, p->bytes, p->len) != -EAGAIN)
			p->set = false;
	}
	(void)pthread_mutex_unlock(&c->lock);
}

/* What the acknowledgement of this item names. */
static void fill_ack(const struct writer_item *w, Exhibit__V1__Ack *ack)
{
	if (w->item.kind == STORE_BATCH) {
		const struct batch_header *h = &w->view.header;

		ack->boot_id = (ProtobufCBinaryData){ BATCH_BOOT_LEN, (uint8_t *)h->boot_id };
		ack->epoch = (ProtobufCBinaryData){ BATCH_EPOCH_LEN, (uint8_t *)h->epoch };
		ack->lane = (Exhibit__V1__Lane)h->lane;
		ack->number = h->number;
		ack->header_hash =
			(ProtobufCBinaryData){ SEAL_HASH_LEN, (uint8_t *)w->view.hash.b };
	} else {
		const struct batch_tombstone *t = &w->tombstone;
		const struct batch_dropped *last = &t->dropped[t->n_dropped - 1];

		ack->boot_id = (ProtobufCBinaryData){ BATCH_BOOT_LEN, (uint8_t *)t->boot_id };
		ack->epoch = (ProtobufCBinaryData){ BATCH_EPOCH_LEN, (uint8_t *)t->epoch };
		ack->lane = (Exhibit__V1__Lane)t->lane;
		ack->number = last->number;
		ack->header_hash =
			(ProtobufCBinaryData){ SEAL_HASH_LEN, (uint8_t *)last->header_hash.b };
	}
}

void conn_acknowledge(struct conn *c, const struct writer_item *w)
{
	Exhibit__V1__Ack ack = EXHIBIT__V1__ACK__INIT;
	uint8_t body[INGEST_ACK_MAX];
	uint8_t head[ENVELOPE_HEAD_MAX];

	fill_ack(w, &ack);
	size_t len = exhibit__v1__ack__get_packed_size(&ack);
	size_t head_len = envelope_head(head, ENVELOPE_ACK, len);

	if (head_len + len > INGEST_ACK_MAX)
		return; /* lengths are fixed: cannot be */
	(void)exhibit__v1__ack__pack(&ack, body);
	(void)pthread_mutex_lock(&c->lock);
	struct pending_ack *p = &c->pending[ack.lane];

	memcpy(p->bytes, head, head_len);
	memcpy(p->bytes + head_len, body, len);
	p->len = head_len + len;
	p->set = true;
	(void)pthread_mutex_unlock(&c->lock);
	flush_acks(c);
}

void conn_greeted(struct conn *c, const char *version)
{
	(void)pthread_mutex_lock(&c->lock);
	c->greeted = true;
	if (!atomic_load(&c->closed))
		hosts_connected(c->ingest->c.hosts, &c->peer.tenant, &c->peer.host_id, true,
				version);
	(void)pthread_mutex_unlock(&c->lock);
}

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct conn *c = ctx;
	struct ingest *i = c->ingest;
	struct message *m = malloc(sizeof(*m));

	if (m == NULL || atomic_load(&i->bytes) + len > i->c.memory_bytes) {
		struct error e = { 0 };

		(void)error_set(&e, -ENOMEM, "the collector has too many messages under way");
		conn_refuse(c, -ENOMEM, &e);
		free(m);
		free(data);
		return;
	}
	*m = (struct message){ .conn = c, .data = data, .len = len, .received_ns = clock_wall_ns() };
	(void)atomic_fetch_add(&i->bytes, len);
	conn_ref(c);
	if (atomic_fetch_add(&c->under_way, 1) + 1 >= INGEST_PER_STREAM)
		rpc_stream_want_read(s, false);
	if (!queue_try_push(i->worker[c->worker].in, m)) {
		rpc_stream_cancel(s);
		conn_message_done(c, len);
		conn_unref(c);
		free(data);
		free(m);
	}
}

static void on_sendable(struct rpc_stream *s, void *ctx)
{
	(void)s;
	flush_acks(ctx);
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct conn *c = ctx;
	struct ingest *i = c->ingest;

	(void)s;
	(void)status;
	(void)text;
	(void)pthread_mutex_lock(&c->lock);
	atomic_store(&c->closed, true);
	if (c->greeted)
		hosts_connected(i->c.hosts, &c->peer.tenant, &c->peer.host_id, false, NULL);
	(void)pthread_mutex_unlock(&c->lock);
	(void)pthread_mutex_lock(&i->lock);
	for (struct conn **at = &i->conns; *at != NULL; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	(void)pthread_mutex_unlock(&i->lock);
	conn_unref(c);
}

static const struct rpc_stream_ops stream_ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_closed = on_closed,
};

static void take_text(struct batch_name *ret, const char *text)
{
	ret->len = (uint8_t)strlen(text); /* at most IDENTITY_PART_MAX */
	memcpy(ret->b, text, ret->len);
}

static bool same_peer(const struct conn *a, const struct conn *b)
{
	return a->peer.tenant.len == b->peer.tenant.len &&
	       a->peer.host_id.len == b->peer.host_id.len &&
	       memcmp(a->peer.tenant.b, b->peer.tenant.b, a->peer.tenant.len) == 0 &&
	       memcmp(a->peer.host_id.b, b->peer.host_id.b, a->peer.host_id.len) == 0;
}

/* One host may hold only a few streams: a thousand would cost us, and tell us nothing more. */
static bool admit(struct ingest *i, struct conn *c)
{
	size_t same = 0;

	(void)pthread_mutex_lock(&i->lock);
	for (const struct conn *other = i->conns; other != NULL; other = other->next)
		same += same_peer(other, c);
	bool admitted = same < INGEST_STREAMS_PER_HOST;

	if (admitted) {
		c->next = i->conns;
		i->conns = c;
	}
	(void)pthread_mutex_unlock(&i->lock);
	return admitted;
}

void conn_open(struct rpc_stream *s, void *ctx)
{
	struct ingest *i = ctx;
	struct conn *c = calloc(1, sizeof(*c));
	const struct identity *peer = rpc_stream_peer(s);

	if (c == NULL) {
		rpc_stream_finish(s, RPC_RESOURCE_EXHAUSTED, "the collector is out of memory");
		return;
	}
	c->ingest = i;
	c->stream = rpc_stream_ref(s);
	atomic_init(&c->refs, 1);
	(void)pthread_mutex_init(&c->lock, NULL);
	take_text(&c->peer.tenant, peer->tenant);
	take_text(&c->peer.host_id, peer->name);
	c->worker = (unsigned int)(atomic_fetch_add(&i->opened, 1) % i->c.workers);
	if (!admit(i, c)) {
		rpc_stream_finish(s, RPC_RESOURCE_EXHAUSTED,
				  "this host has too many streams open already");
		conn_unref(c);
		return;
	}
	rpc_stream_serve(s, &stream_ops, c);
	rpc_stream_want_read(s, true);
}
