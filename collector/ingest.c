/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ingest.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "collector/verify.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/base/version.h"
#include "proto/envelope.h"
#include "service.pb-c.h"

#define EVENTS_PATH "/exhibit.v1.Agent/Events"
#define FIRST_MESSAGE_MS 20000
#define IDLE_MS 90000 /* an agent says something every 5 s and lane */
#define WORKER_QUEUE_MAX 65536 /* bounded by memory_bytes long before */
#define ACK_MAX 128
#define LOG_EVERY_NS NSEC_PER_SEC

/* The newest acknowledgement of a lane that the stream had no room for: acknowledgements are cumulative. */
struct pending_ack {
	bool set;
	uint8_t bytes[ACK_MAX];
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
	atomic_uint_fast64_t logged_ns; /* last refusal that was logged */
	pthread_mutex_t lock; /* of conns: opened and closed by rpc threads */
	struct conn *conns;
	struct worker worker[INGEST_WORKERS_MAX];
};

static void conn_unref(struct conn *c)
{
	if (atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	verify_peer_release(&c->peer);
	rpc_stream_unref(c->stream);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

/* End the stream with one sentence for the agent, and say it here, at most once a second. */
static void refuse(struct conn *c, enum rpc_status status, const struct error *e)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct ingest *i = c->ingest;
	uint64_t now = clock_monotonic_ns();
	uint64_t last = atomic_load(&i->logged_ns);

	(void)atomic_fetch_add(&i->rejected, 1);
	(void)error_format(e, sentence, sizeof(sentence));
	if (now - last > LOG_EVERY_NS && atomic_compare_exchange_strong(&i->logged_ns, &last, now))
		log_warn("an agent's message is refused",
			 KV_STR("from", rpc_stream_remote(c->stream)),
			 KV_STR("host", rpc_stream_peer(c->stream)->name),
			 KV_STR("error", sentence), KV_U64("refused", atomic_load(&i->rejected)));
	rpc_stream_finish(c->stream, status, sentence);
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
		{ -ENOSPC, RPC_RESOURCE_EXHAUSTED },
		{ -ENOMEM, RPC_RESOURCE_EXHAUSTED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return rows[i].status;
	return RPC_UNAVAILABLE;
}

/* One message less under way; reading goes on. */
static void message_done(struct conn *c, size_t len)
{
	(void)atomic_fetch_sub(&c->ingest->bytes, len);
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

static void acknowledge(struct conn *c, const struct writer_item *w)
{
	Exhibit__V1__Ack ack = EXHIBIT__V1__ACK__INIT;
	uint8_t body[ACK_MAX];
	uint8_t head[ENVELOPE_HEAD_MAX];

	fill_ack(w, &ack);
	size_t len = exhibit__v1__ack__get_packed_size(&ack);
	size_t head_len = envelope_head(head, ENVELOPE_ACK, len);

	if (head_len + len > ACK_MAX)
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

/* On the writer's thread: durable, or not. */
static void stored(struct writer_item *w, int result, const struct error *why, void *ctx)
{
	struct conn *c = ctx;
	size_t len = w->item.len;

	if (result < 0) {
		struct error e = *why;

		(void)error_wrap(&e, result, "the collector cannot store");
		refuse(c, status_of(result), &e);
	} else if (!w->idle && w->item.result == STORE_REFUSED) {
		struct error e = { 0 };

		(void)error_set(&e, -ENOSPC,
				"this host has used up what the collector keeps of one host");
		refuse(c, RPC_RESOURCE_EXHAUSTED, &e);
	} else if (!w->idle && w->item.kind != STORE_HOST_RECORD) {
		if (w->item.result == STORE_CONFLICT)
			log_error(
				"ALARM two different batches carry one number: a host's journal was copied or "
				"forged; both are kept",
				KV_BYTES("host", w->host_id.b, w->host_id.len),
				KV_U64("batch",
				       w->item.kind == STORE_BATCH ? w->view.header.number : 0));
		acknowledge(c, w);
	}
	if (result == 0)
		hosts_seen(c->ingest->c.hosts, &w->tenant, &w->host_id, w->item.received_ns,
			   !w->idle && w->item.kind == STORE_BATCH ? &w->view.header.host_name :
								     NULL);
	message_done(c, len);
	writer_item_free(w);
	conn_unref(c);
}

static void copy_text(const ProtobufCBinaryData *from, char *to, size_t size)
{
	size_t n = from->len < size ? from->len : size - 1;

	memcpy(to, from->data, n);
	to[n] = '\0';
}

static int send_hello_reply(struct conn *c)
{
	Exhibit__V1__HelloReply reply = EXHIBIT__V1__HELLO_REPLY__INIT;
	uint8_t body[64];
	size_t len;

	reply.protocol = 1;
	reply.version = (ProtobufCBinaryData){ strlen(VERSION), (uint8_t[]){ VERSION } };
	len = exhibit__v1__hello_reply__pack(&reply, body);
	uint8_t *message = envelope_make(ENVELOPE_HELLO_REPLY, body, len, &len);
	int r = message == NULL ? -ENOMEM : rpc_stream_send(c->stream, message, len);

	if (r < 0)
		free(message);
	return r;
}

/* Register what the hello's host record says, and store the record when it is new. */
static int take_record(struct conn *c, const Exhibit__V1__Hello *hello, int64_t received_ns,
		       struct error *e)
{
	struct ingest *i = c->ingest;
	struct batch_name tenant, host;
	bool new = false;
	struct writer_item *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot take a host record: out of memory");
	w->item.kind = STORE_HOST_RECORD;
	w->item.received_ns = received_ns;
	w->item.len = exhibit__v1__signed_host_record__get_packed_size(hello->host_record);
	w->data = w->item.len <= HOST_RECORD_MAX ? malloc(w->item.len + 1) : NULL;
	int r = w->data == NULL ? error_set(e, -EBADMSG, "the host record is too long") : 0;

	if (r == 0) {
		(void)exhibit__v1__signed_host_record__pack(hello->host_record, w->data);
		r = hosts_register(i->c.hosts, i->c.authorities, w->data, w->item.len, &new,
				   &tenant, &host, e);
	}
	if (r == 0 && (tenant.len != c->peer.tenant.len || host.len != c->peer.host_id.len ||
		       memcmp(tenant.b, c->peer.tenant.b, tenant.len) != 0 ||
		       memcmp(host.b, c->peer.host_id.b, host.len) != 0))
		r = error_set(e, -EACCES, "the host record is another host's than the certificate");
	if (r < 0 || !new) {
		writer_item_free(w);
		return r;
	}
	w->item.bytes = w->data;
	w->tenant = tenant;
	w->host_id = host;
	w->item.tenant = &w->tenant;
	w->item.host_id = &w->host_id;
	w->done = stored;
	w->ctx = c;
	(void)atomic_fetch_add(&c->refs, 1);
	(void)atomic_fetch_add(&c->under_way, 1);
	(void)atomic_fetch_add(&i->bytes, w->item.len);
	if (!writer_put(i->c.writer, w)) {
		message_done(c, w->item.len);
		conn_unref(c);
		writer_item_free(w);
	}
	return 0;
}

/* Count this stream as its host's connection, unless it closed while its hello waited. */
static void set_connected(struct conn *c, const char *version)
{
	(void)pthread_mutex_lock(&c->lock);
	c->greeted = true;
	if (!atomic_load(&c->closed))
		hosts_connected(c->ingest->c.hosts, &c->peer.tenant, &c->peer.host_id, true,
				version);
	(void)pthread_mutex_unlock(&c->lock);
}

static int take_hello(struct conn *c, const uint8_t *body, size_t len, int64_t received_ns,
		      struct error *e)
{
	char version[HOST_VERSION_MAX], kernel[HOST_KERNEL_MAX];
	Exhibit__V1__Hello *hello = exhibit__v1__hello__unpack(NULL, len, body);
	int r = 0;

	if (hello == NULL)
		return error_set(e, -EBADMSG, "the hello cannot be read");
	if (c->greeted)
		r = error_set(e, -EBADMSG, "a second hello on one stream");
	else if (hello->protocol_min > 1 || hello->protocol_max < 1)
		r = error_set(
			e, -EPROTONOSUPPORT,
			"this collector speaks protocol 1, the agent %u to %u; upgrade the older one",
			hello->protocol_min, hello->protocol_max);
	else if (hello->host_record == NULL)
		r = error_set(e, -EBADMSG, "the hello carries no host record");
	else
		r = take_record(c, hello, received_ns, e);
	if (r == 0) {
		copy_text(&hello->version, version, sizeof(version));
		copy_text(&hello->kernel, kernel, sizeof(kernel));
		hosts_kernel(c->ingest->c.hosts, &c->peer.tenant, &c->peer.host_id, kernel);
		set_connected(c, version);
		r = send_hello_reply(c);
		if (r < 0)
			(void)error_set(e, r, "cannot answer the hello: %m");
	}
	exhibit__v1__hello__free_unpacked(hello, NULL);
	return r;
}

/* 0: the message is with the writer now. 1: it is done with. */
static int take_message(struct worker *k, struct message *m, struct error *e)
{
	struct conn *c = m->conn;
	struct writer_item *w;
	uint32_t field;
	const uint8_t *body;
	size_t len;
	int r = envelope_open(m->data, m->len, ENVELOPE_IDLE, &field, &body, &len);

	if (r == -ENOMSG)
		return 1; /* of a later protocol */
	if (r < 0)
		return error_set(e, r, "a message of %zu bytes is not protobuf", m->len);
	if (field == ENVELOPE_HELLO) {
		r = take_hello(c, body, len, m->received_ns, e);
		return r < 0 ? r : 1;
	}
	if (!c->greeted)
		return error_set(e, -EBADMSG, "a message came before the hello");
	r = verify_message(k->verify, &c->peer, field, m->data, body, len, m->received_ns, &w, e);
	if (r < 0)
		return r;
	m->data = NULL;
	w->done = stored;
	w->ctx = c;
	/* What message_done takes off again. */
	(void)atomic_fetch_add(&c->ingest->bytes, len - m->len);
	if (!writer_put(k->ingest->c.writer, w)) {
		writer_item_free(w);
		return 1;
	}
	return 0;
}

static void *run_worker(void *arg)
{
	struct worker *k = arg;
	struct message *m;

	while ((m = queue_pop(k->in, 1000)) != NULL || !queue_closed(k->in)) {
		struct error e = { 0 };

		if (m == NULL)
			continue;
		int r = atomic_load(&m->conn->closed) ? 1 : take_message(k, m, &e);

		if (r < 0)
			refuse(m->conn, status_of(r), &e);
		if (r != 0) {
			message_done(m->conn, m->len);
			conn_unref(m->conn);
		}
		free(m->data);
		free(m);
	}
	return NULL;
}

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct conn *c = ctx;
	struct ingest *i = c->ingest;
	struct message *m = malloc(sizeof(*m));

	if (m == NULL || atomic_load(&i->bytes) + len > i->c.memory_bytes) {
		struct error e = { 0 };

		(void)error_set(&e, -ENOMEM, "the collector has too many messages under way");
		refuse(c, RPC_RESOURCE_EXHAUSTED, &e);
		free(m);
		free(data);
		return;
	}
	*m = (struct message){ .conn = c, .data = data, .len = len, .received_ns = clock_wall_ns() };
	(void)atomic_fetch_add(&i->bytes, len);
	(void)atomic_fetch_add(&c->refs, 1);
	if (atomic_fetch_add(&c->under_way, 1) + 1 >= INGEST_PER_STREAM)
		rpc_stream_want_read(s, false);
	if (!queue_try_push(i->worker[c->worker].in, m)) {
		rpc_stream_cancel(s);
		message_done(c, len);
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

static void on_open(struct rpc_stream *s, void *ctx)
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

struct rpc_method ingest_method(struct ingest *i)
{
	return (struct rpc_method){ .path = EVENTS_PATH,
				    .allow = RPC_ALLOW_HOST,
				    .on_open = on_open,
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

static void stop_workers(struct ingest *i, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		queue_close(i->worker[k].in);
		(void)pthread_join(i->worker[k].thread, NULL);
	}
	for (unsigned int k = 0; k < INGEST_WORKERS_MAX; k++) {
		queue_free(i->worker[k].in);
		verify_free(i->worker[k].verify);
	}
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
	for (unsigned int k = 0; k < c->workers; k++) {
		int r = start_worker(i, &i->worker[k], e);

		if (r < 0) {
			stop_workers(i, k);
			return r;
		}
	}
	*ret_i = i;
	return 0;
}

void ingest_stop(struct ingest *i)
{
	if (i != NULL)
		stop_workers(i, i->c.workers);
}

uint64_t ingest_rejected(const struct ingest *i)
{
	return atomic_load(&i->rejected);
}
