/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "collector/ingest_internal.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/version.h"
#include "proto/envelope.h"
#include "service.pb-c.h"

#define HELLO_MAX (HOST_RECORD_MAX + KiB(4))

/* What is counted for an item from its message on until it is stored: hostile batches are small and have
 * many tokens. */
static size_t cost_of(const struct writer_item *w)
{
	return w->item.len + sizeof(*w) + w->item.n_tokens * sizeof(*w->tokens);
}

/* Whether the store took it; else the stream ends, since a later acknowledgement would cover it too. */
static bool is_kept(struct conn *c, const struct writer_item *w, int result,
		    const struct error *why)
{
	struct error e = { 0 };

	if (result < 0) {
		e = *why;
		(void)error_wrap(&e, result, "the collector cannot store");
		conn_refuse(c, result, &e);
	} else if (!w->idle && w->item.result == STORE_REFUSED) {
		(void)error_set(&e, -ENOSPC,
				"this host has used up what the collector keeps of one host");
		conn_refuse(c, -ENOSPC, &e);
	} else {
		return true;
	}
	return false;
}

static void alarm_conflict(struct ingest *i, const struct writer_item *w)
{
	uint64_t held;

	if (ingest_log_may(i->alarms, &w->tenant, &w->host_id, clock_monotonic_ns(), &held))
		log_error(
			"ALARM two different batches carry one number: a host's journal was copied or "
			"forged; both are kept",
			KV_BYTES("host", w->host_id.b, w->host_id.len), KV_U64("held_back", held),
			KV_U64("batch", w->item.kind == STORE_BATCH ? w->view.header.number : 0));
}

/* On the writer's thread: durable, or not. */
static void stored(struct writer_item *w, int result, const struct error *why, void *ctx)
{
	struct conn *c = ctx;
	struct hosts *hosts = c->ingest->c.hosts;
	bool kept = is_kept(c, w, result, why);
	bool batch = !w->idle && w->item.kind == STORE_BATCH;

	if (kept && !w->idle && w->item.kind == STORE_HOST_RECORD) {
		hosts_stored(hosts, w->data, w->item.len, w->item.received_ns);
	} else if (kept && !w->idle) {
		if (w->item.result == STORE_CONFLICT)
			alarm_conflict(c->ingest, w);
		conn_acknowledge(c, w);
	}
	if (kept)
		hosts_seen(hosts, &w->tenant, &w->host_id, w->item.received_ns,
			   batch ? &w->view.header.host_name : NULL);
	conn_message_done(c, cost_of(w));
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
		(void)pthread_rwlock_rdlock(&i->trust);
		r = hosts_register(i->c.hosts, i->c.authorities, w->data, w->item.len, &new,
				   &tenant, &host, e);
		(void)pthread_rwlock_unlock(&i->trust);
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
	conn_ref(c);
	(void)atomic_fetch_add(&c->under_way, 1);
	(void)atomic_fetch_add(&i->bytes, cost_of(w));
	if (!writer_put(i->c.writer, w)) {
		conn_message_done(c, cost_of(w));
		conn_unref(c);
		writer_item_free(w);
	}
	return 0;
}

static int take_hello(struct conn *c, const uint8_t *body, size_t len, int64_t received_ns,
		      struct error *e)
{
	char version[HOST_VERSION_MAX], kernel[HOST_KERNEL_MAX];
	/* Unpacked, two bytes of an unknown field take thirty: so it is short first. */
	Exhibit__V1__Hello *hello = len <= HELLO_MAX ? exhibit__v1__hello__unpack(NULL, len, body) :
						       NULL;
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
		conn_greeted(c, version);
		r = send_hello_reply(c);
		if (r < 0)
			(void)error_set(e, r, "cannot answer the hello: %m");
	}
	exhibit__v1__hello__free_unpacked(hello, NULL);
	return r;
}

int message_take(struct worker *k, struct message *m, struct error *e)
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
	if (atomic_load(&c->ingest->bytes) + cost_of(w) > c->ingest->c.memory_bytes) {
		w->data = NULL; /* m's */
		writer_item_free(w);
		return error_set(e, -ENOMEM, "the collector has too many messages under way");
	}
	w->done = stored;
	w->ctx = c;
	/* What stored takes off again. */
	(void)atomic_fetch_add(&c->ingest->bytes, cost_of(w) - m->len);
	m->data = NULL;
	if (!writer_put(k->ingest->c.writer, w)) {
		(void)atomic_fetch_sub(&c->ingest->bytes, cost_of(w) - m->len);
		writer_item_free(w);
		return 1;
	}
	return 0;
}
