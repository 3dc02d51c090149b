/* SPDX-License-Identifier: Apache-2.0 */
/* One call: its messages in order, each checked, taken, told durable. */
#include <errno.h>
#include <string.h>

#include "collector/row.h"
#include "collector/vault_manifest.h"
#include "collector/vault_message.h"
#include "collector/vault_upload_internal.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define SYNC_BYTES MiB(8) /* durable, and told, at the latest so often: agents keep 24 MiB for us */
#define SYNC_MS 300 /* ... or when nothing came for so long */
#define SYNC_LATEST_MS 1000 /* ... or when the first that is not durable came so long ago */
#define SEND_MS 60000 /* a host that takes no reply for so long is given up */
#define TAKE_OVER_MS 10000 /* how long the call that brought an exhibit before has to end */
#define LOOK_MS 100

/* ---- answers --------------------------------------------------------------------------------------------- */

static enum rpc_status status_of(int code)
{
	static const struct {
		int code;
		enum rpc_status status;
	} rows[] = {
		{ -EBADMSG, RPC_INVALID_ARGUMENT },
		{ -E2BIG, RPC_OUT_OF_RANGE },
		{ -EACCES, RPC_PERMISSION_DENIED },
		{ -ENOENT, RPC_PERMISSION_DENIED },
		{ -EPROTONOSUPPORT, RPC_FAILED_PRECONDITION },
		{ -EUCLEAN, RPC_DATA_LOSS },
		{ -ENOSPC, RPC_RESOURCE_EXHAUSTED },
		{ -EDQUOT, RPC_RESOURCE_EXHAUSTED },
		{ -ENOMEM, RPC_RESOURCE_EXHAUSTED },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return rows[i].status;
	return RPC_UNAVAILABLE;
}

static void refuse(struct call *c, int code, const struct error *e)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct vault_uploads *u = c->uploads;
	uint64_t held;

	(void)atomic_fetch_add(&u->refused, 1);
	(void)error_format(e, sentence, sizeof(sentence));
	if (ingest_log_may(u->refusals, &c->tenant, &c->host_id, clock_monotonic_ns(), &held))
		log_warn("an upload is refused", KV_STR("from", rpc_stream_remote(c->stream)),
			 KV_BYTES("host", c->host_id.b, c->host_id.len), KV_STR("error", sentence),
			 KV_U64("held_back", held));
	rpc_stream_finish(c->stream, status_of(code), sentence);
}

static int send_reply(struct call *c, const Exhibit__V1__UploadReply *reply, struct error *e)
{
	size_t len = exhibit__v1__upload_reply__get_packed_size(reply);
	uint64_t begun = clock_monotonic_ns();
	uint8_t data[128];
	int r;

	if (len > sizeof(data))
		return error_set(e, -EMSGSIZE, "a reply has %zu bytes", len);
	(void)exhibit__v1__upload_reply__pack(reply, data);
	while ((r = rpc_stream_send_copy(c->stream, data, len)) == -EAGAIN) {
		if (atomic_load(&c->closed) || atomic_load(&c->uploads->closing) ||
		    clock_monotonic_ns() - begun > SEND_MS * NSEC_PER_MSEC)
			break;
		(void)queue_pop(c->room, LOOK_MS);
	}
	return r < 0 ? error_set(e, -EPIPE, "the host takes no reply") : 0;
}

static int send_durable(struct call *c, struct error *e)
{
	Exhibit__V1__UploadReply reply = EXHIBIT__V1__UPLOAD_REPLY__INIT;
	Exhibit__V1__UploadDurable durable = EXHIBIT__V1__UPLOAD_DURABLE__INIT;
	struct vault_durable d;
	int r = vault_upload_sync(c->upload, &d, e);

	if (r < 0)
		return r;
	durable.item = d.item;
	durable.offset = d.offset;
	durable.requests = c->told = c->requests;
	c->waiting_ns = 0;
	reply.kind_case = EXHIBIT__V1__UPLOAD_REPLY__KIND_DURABLE;
	reply.durable = &durable;
	return send_reply(c, &reply, e);
}

static int send_receipt(struct call *c, const struct vault_receipt *receipt, struct error *e)
{
	Exhibit__V1__UploadReply reply = EXHIBIT__V1__UPLOAD_REPLY__INIT;
	Exhibit__V1__Receipt m = EXHIBIT__V1__RECEIPT__INIT;

	m.manifest_sha256 =
		(ProtobufCBinaryData){ SEAL_HASH_LEN, (uint8_t *)(uintptr_t)receipt->manifest.b };
	m.ledger_index = receipt->ledger_index;
	reply.kind_case = EXHIBIT__V1__UPLOAD_REPLY__KIND_RECEIPT;
	reply.receipt = &m;
	c->receipt = true;
	return send_reply(c, &reply, e);
}

/* ---- messages -------------------------------------------------------------------------------------------- */

/* The host came back on a new connection while the old one lingers. */
static void cancel_older(struct call *c)
{
	struct vault_uploads *u = c->uploads;

	(void)pthread_mutex_lock(&u->lock);
	for (struct call *other = u->calls; other != NULL; other = other->next)
		if (other != c && other->started &&
		    memcmp(other->exhibit_id, c->exhibit_id, VAULT_ID_LEN) == 0 &&
		    batch_name_equal(&other->tenant, &c->tenant) &&
		    batch_name_equal(&other->host_id, &c->host_id))
			rpc_stream_cancel(other->stream);
	(void)pthread_mutex_unlock(&u->lock);
}

/* Until some call gave its upload back; not for ever, since the asker may leave meanwhile. */
static void wait_for_older(struct vault_uploads *u)
{
	uint64_t until_ns = clock_monotonic_ns() + LOOK_MS * NSEC_PER_MSEC;
	struct timespec until = { .tv_sec = (time_t)(until_ns / NSEC_PER_SEC),
				  .tv_nsec = (long)(until_ns % NSEC_PER_SEC) };

	(void)pthread_mutex_lock(&u->lock);
	(void)pthread_cond_clockwait(&u->left, &u->lock, CLOCK_MONOTONIC, &until);
	(void)pthread_mutex_unlock(&u->lock);
}

static int begin(struct call *c, const struct vault_begin *b, struct error *e)
{
	uint64_t begun = clock_monotonic_ns();
	struct vault_receipt receipt;
	int r;

	while ((r = vault_upload_begin(c->uploads->c.vault, b, &c->upload, &receipt, e)) ==
		       -EBUSY &&
	       !atomic_load(&c->closed) && !atomic_load(&c->uploads->closing) &&
	       clock_monotonic_ns() - begun < TAKE_OVER_MS * NSEC_PER_MSEC) {
		cancel_older(c);
		wait_for_older(c->uploads);
	}
	if (r == 1)
		return send_receipt(c, &receipt, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&c->uploads->lock);
	c->started = true;
	(void)pthread_mutex_unlock(&c->uploads->lock);
	return send_durable(c, e);
}

static int take_start(struct call *c, const Exhibit__V1__UploadRequest *m, struct error *e)
{
	const struct vault_upload_config *config = &c->uploads->c;
	struct vault_begin b = { .tenant = c->tenant, .host_id = c->host_id };
	int r;

	if (c->upload != NULL)
		return error_set(e, -EBADMSG, "the upload was started already");
	r = vault_message_start(m->start, b.order_id, b.exhibit_id, e);
	if (r < 0)
		return r;
	r = config->order(config->ctx, &c->tenant, &c->host_id, b.order_id, &b.order, e);
	if (r == -ENOENT)
		return error_set(e, r, "no order asks this host for an exhibit");
	if (r == 0 && b.order.kind != m->start->kind)
		return error_set(e, -EACCES, "the order asks for an exhibit of another kind");
	if (r < 0)
		return r;
	if (!hosts_name(config->hosts, &c->tenant, &c->host_id, &b.host_name))
		b.host_name.len = 0;
	memcpy(c->exhibit_id, b.exhibit_id, VAULT_ID_LEN);
	return begin(c, &b, e);
}

static int take_item(struct call *c, const Exhibit__V1__UploadRequest *m, struct error *e)
{
	const Exhibit__V1__ItemStart *i = m->item;

	return vault_upload_item(c->upload, i->item, i->name.data, i->name.len, i->format.data,
				 i->format.len, i->expected_bytes, e);
}

static int take_chunk(struct call *c, const Exhibit__V1__UploadRequest *m, struct error *e)
{
	const Exhibit__V1__Chunk *chunk = m->chunk;
	const uint8_t *raw;
	struct seal_hash hash;
	size_t len;
	int r = vault_message_hash(&chunk->sha256, &hash, e);

	if (r == 0)
		r = vault_message_raw(chunk, c->z, c->buffer, &raw, &len, e);
	if (r == 0)
		r = vault_upload_chunk(c->upload, chunk->item, chunk->offset, raw, len, &hash, e);
	return r;
}

static int take_end(struct call *c, const Exhibit__V1__UploadRequest *m, struct error *e)
{
	struct seal_hash hash;
	int r = vault_message_hash(&m->end->sha256, &hash, e);

	return r == 0 ? vault_upload_end(c->upload, m->end->item, m->end->bytes, &hash, e) : r;
}

/* A manifest counts when the host's sealing key signed it. */
static int check_manifest(struct call *c, const Exhibit__V1__SignedManifest *m, struct error *e)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	struct seal_verifier *v = NULL;
	int r;

	if (m->manifest.len > VAULT_MANIFEST_MAX)
		return error_set(e, -EBADMSG, "the manifest has %zu bytes, at most %llu are taken",
				 m->manifest.len, (unsigned long long)VAULT_MANIFEST_MAX);
	if (m->manifest.len == 0 || m->signature.len != SEAL_SIGNATURE_LEN ||
	    m->key_id.len != SEAL_KEY_ID_LEN)
		return error_set(e, -EBADMSG, "the manifest is not signed");
	if (!hosts_sealing_key(c->uploads->c.hosts, &c->tenant, &c->host_id, m->key_id.data,
			       public))
		return error_set(e, -EACCES,
				 "no host record of '%.*s' names the key that signed the manifest",
				 c->host_id.len, (const char *)c->host_id.b);
	r = seal_verifier_new(public, &v, e);
	if (r < 0)
		return r;
	if (seal_verify(v, VAULT_MANIFEST_DOMAIN, m->manifest.data, m->manifest.len,
			m->signature.data, m->signature.len) < 0)
		r = error_set(e, -EBADMSG, "the manifest's signature is false");
	seal_verifier_free(v);
	return r;
}

static int take_manifest(struct call *c, const Exhibit__V1__UploadRequest *m, struct error *e)
{
	struct vault_receipt receipt;
	int r = check_manifest(c, m->manifest, e);

	if (r == 0)
		r = vault_upload_seal(TAKE(c->upload), m->manifest->manifest.data,
				      m->manifest->manifest.len, m->manifest->signature.data,
				      m->manifest->key_id.data, &receipt, e);
	return r == 0 ? send_receipt(c, &receipt, e) : r;
}

static int take_message(struct call *c, const struct message *in, struct error *e)
{
	static int (*const takes[])(struct call * c, const Exhibit__V1__UploadRequest *m,
				    struct error *e) = {
		[EXHIBIT__V1__UPLOAD_REQUEST__KIND_START] = take_start,
		[EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM] = take_item,
		[EXHIBIT__V1__UPLOAD_REQUEST__KIND_CHUNK] = take_chunk,
		[EXHIBIT__V1__UPLOAD_REQUEST__KIND_END] = take_end,
		[EXHIBIT__V1__UPLOAD_REQUEST__KIND_MANIFEST] = take_manifest,
	};
	Exhibit__V1__UploadRequest *m = NULL;
	int r = vault_message_open(in->data, in->len, &m, e);

	if (r < 0)
		return r;
	size_t kind = (size_t)m->kind_case;

	if (kind >= ARRAY_LEN(takes) || takes[kind] == NULL)
		r = 0; /* of a later protocol: passed over */
	else if (c->upload == NULL && kind != EXHIBIT__V1__UPLOAD_REQUEST__KIND_START)
		r = error_set(e, -EBADMSG, "a message came before the upload was started");
	else
		r = takes[kind](c, m, e);
	if (r == 0 && kind != EXHIBIT__V1__UPLOAD_REQUEST__KIND_START)
		c->requests++;
	exhibit__v1__upload_request__free_unpacked(m, NULL);
	return r;
}

/* ---- the thread of a call -------------------------------------------------------------------------------- */

/* Enough came, or nothing more comes, or somebody watches and has waited long enough. idle: nothing came. */
static bool is_due(struct call *c, bool idle)
{
	uint64_t now = clock_monotonic_ns();

	if (c->requests == c->told)
		return false;
	if (c->waiting_ns == 0)
		c->waiting_ns = now;
	return vault_upload_unsynced(c->upload) >= SYNC_BYTES || (idle && queue_len(c->in) == 0) ||
	       now - c->waiting_ns >= SYNC_LATEST_MS * NSEC_PER_MSEC;
}

/* 0: go on; 1: the host has no more to say. */
static int one_message(struct call *c, struct error *e)
{
	struct message *m = queue_pop(c->in, SYNC_MS);
	bool idle = m == NULL;
	int r = 0;

	if (m == NULL && queue_closed(c->in) && queue_len(c->in) == 0)
		return 1;
	if (m != NULL) {
		rpc_stream_want_read(c->stream, true);
		r = take_message(c, m, e);
	}
	vault_upload_message_free(m);
	if (r < 0 || c->upload == NULL)
		return r;
	return is_due(c, idle) ? send_durable(c, e) : 0;
}

static int prepare(struct call *c, struct error *e)
{
	c->z = ZSTD_createDCtx();
	c->buffer = malloc(VAULT_CHUNK_BYTES);
	return c->z != NULL && c->buffer != NULL ?
		       0 :
		       error_set(e, -ENOMEM, "the collector is out of memory");
}

void *vault_upload_work(void *arg)
{
	struct call *c = arg;
	struct vault_uploads *u = c->uploads;
	struct error e = { 0 };
	int r = prepare(c, &e);

	while (r == 0 && !c->receipt && !atomic_load(&u->closing) && !atomic_load(&c->closed))
		r = one_message(c, &e);
	vault_upload_leave(TAKE(c->upload));
	if (c->receipt && r == 0)
		rpc_stream_finish(c->stream, RPC_OK, "");
	else if (r < 0 && r != -EPIPE && !atomic_load(&c->closed))
		refuse(c, r, &e);
	else if (atomic_load(&u->closing))
		rpc_stream_finish(c->stream, RPC_UNAVAILABLE, "the collector is stopping");
	else
		rpc_stream_finish(
			c->stream, RPC_ABORTED,
			"the call ended without a manifest; what came waits for the next");
	vault_upload_unlink(c);
	vault_upload_drop(c);
	threads_end(&u->threads);
	return NULL;
}
