/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_service_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/order.h"

#define LOOK_MS 200
#define STALL_MS 120000 /* a reader that takes nothing for so long is given up */

/* ---- sending --------------------------------------------------------------------------------------------- */

static void call_drop(struct call *c)
{
	if (c == NULL || atomic_fetch_sub(&c->users, 1) != 1)
		return;
	rpc_stream_unref(c->stream);
	if (c->question != NULL)
		protobuf_c_message_free_unpacked(c->question, NULL);
	queue_free(c->room);
	free(c);
}

bool vault_call_over(const struct call *c)
{
	return queue_closed(c->room) || atomic_load(&c->service->closing);
}

int vault_call_send(struct call *c, uint8_t *data, size_t len)
{
	uint64_t begun = clock_monotonic_ns();
	int r;

	while ((r = rpc_stream_send(c->stream, data, len)) == -EAGAIN && !vault_call_over(c) &&
	       clock_monotonic_ns() - begun < STALL_MS * NSEC_PER_MSEC)
		(void)queue_pop(c->room, LOOK_MS);
	if (r < 0)
		free(data);
	return r < 0 ? -ECANCELED : 0;
}

/* ---- the methods ----------------------------------------------------------------------------------------- */

static int parse_id(const ProtobufCBinaryData *b, const uint8_t **ret, struct error *e)
{
	*ret = b->len > 0 ? b->data : NULL;
	if (b->len == 0 || b->len == VAULT_ID_LEN)
		return 0;
	return error_set(e, -EINVAL, "an id has %zu bytes instead of %d", b->len, VAULT_ID_LEN);
}

static int send_all(struct call *c, struct vault_packed *all, size_t n)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = vault_call_send(c, TAKE(all[i].data), all[i].len);
	return r;
}

static int find(struct call *c, const ProtobufCBinaryData *exhibit,
		const ProtobufCBinaryData *order, const ProtobufCBinaryData *case_id,
		struct vault_packed **ret, size_t *ret_n, struct error *e)
{
	struct vault_question q = { .tenant = c->tenant };
	int r = parse_id(exhibit, &q.exhibit_id, e);

	if (r == 0 && order != NULL)
		r = parse_id(order, &q.order_id, e);
	if (r == 0 && case_id->len > VAULT_TEXT_MAX)
		r = error_set(e, -EINVAL, "a case's name has at most %d bytes", VAULT_TEXT_MAX);
	if (r < 0)
		return r;
	q.case_id.len = (uint8_t)case_id->len;
	if (case_id->len > 0)
		memcpy(q.case_id.b, case_id->data, case_id->len);
	return vault_find(c->service->vault, &q, ret, ret_n, e);
}

static int answer_exhibits(struct call *c, struct error *e)
{
	const Exhibit__V1__ExhibitsQuery *q = (const void *)c->question;
	struct vault_packed *all = NULL;
	size_t n = 0;
	int r = find(c, &q->exhibit_id, &q->order_id, &q->case_id, &all, &n, e);

	if (r == 0)
		r = send_all(c, all, n);
	vault_packed_free(all, n);
	return r;
}

#define HOLD_SETTLE_MS 3000 /* for S3 to take it; then the answer says that it is pending */

static int hold_one(struct call *c, const struct vault_packed *p, const Exhibit__V1__HoldRequest *q,
		    struct error *e)
{
	Exhibit__V1__ExhibitInfo *info = exhibit__v1__exhibit_info__unpack(NULL, p->len, p->data);
	int r;

	if (info == NULL)
		return error_set(e, -ENOMEM, "the collector is out of memory");
	r = vault_hold(c->service->vault, &c->tenant, info->exhibit_id.data, q->hold, c->subject,
		       q->reason.data, q->reason.len, e);
	if (r == 0)
		vault_hold_settle(c->service->vault, &c->tenant, info->exhibit_id.data,
				  HOLD_SETTLE_MS);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
	return r;
}

static int answer_hold(struct call *c, struct error *e)
{
	const Exhibit__V1__HoldRequest *q = (const void *)c->question;
	const struct identity *who = rpc_stream_peer(c->stream);
	struct vault_packed *all = NULL;
	size_t n = 0;
	int r = 0;

	if (!q->hold && !identity_has_role(who, ORDER_ROLE_APPROVER))
		return error_set(e, -EACCES, "only an approver releases a legal hold");
	if (q->exhibit_id.len == 0 && q->case_id.len == 0)
		r = error_set(e, -EINVAL, "name an exhibit or a case");
	if (r == 0 && (q->reason.len == 0 || q->reason.len > 1000))
		r = error_set(e, -EINVAL, "a hold needs a reason of 1 to 1,000 bytes");
	if (r == 0)
		r = find(c, &q->exhibit_id, NULL, &q->case_id, &all, &n, e);
	if (r == 0 && n == 0)
		r = error_set(e, -ENOENT, "there is no such exhibit");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = hold_one(c, &all[i], q, e);
	vault_packed_free(all, n);
	all = NULL;
	n = 0;
	/* As they are now. */
	if (r == 0)
		r = find(c, &q->exhibit_id, NULL, &q->case_id, &all, &n, e);
	if (r == 0)
		r = send_all(c, all, n);
	vault_packed_free(all, n);
	return r;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static const char *const viewers[] = { ORDER_ROLE_VIEWER, ORDER_ROLE_ACQUIRER, ORDER_ROLE_APPROVER,
				       NULL };
/* Evidence itself may hold what no log does: keys, mail, other people's data. */
static const char *const handlers[] = { ORDER_ROLE_ACQUIRER, ORDER_ROLE_APPROVER, NULL };

struct vault_method {
	const char *path;
	unsigned int allow;
	const char *const *roles; /* one of these is needed; NULL ends */
	const char *need; /* the same for a sentence */
	const ProtobufCMessageDescriptor *request;
	int (*answer)(struct call *c, struct error *e);
};

static const struct vault_method methods[] = {
	{ "/exhibit.v1.Vault/Exhibits", RPC_ALLOW_RESPONDER, viewers,
	  "viewer, acquirer or approver", &exhibit__v1__exhibits_query__descriptor,
	  answer_exhibits },
	{ "/exhibit.v1.Vault/Fetch", RPC_ALLOW_RESPONDER, handlers, "acquirer or approver",
	  &exhibit__v1__fetch_request__descriptor, vault_call_fetch },
	{ "/exhibit.v1.Vault/Hold", RPC_ALLOW_RESPONDER, handlers, "acquirer or approver",
	  &exhibit__v1__hold_request__descriptor, answer_hold },
};

const char *vault_service_path(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].path : NULL;
}

unsigned int vault_service_allow(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].allow : 0;
}

/* ---- answering ------------------------------------------------------------------------------------------- */

static enum rpc_status status_of(int code)
{
	static const struct {
		int code;
		enum rpc_status status;
	} rows[] = {
		{ -EINVAL, RPC_INVALID_ARGUMENT },   { -ENOENT, RPC_NOT_FOUND },
		{ -EACCES, RPC_PERMISSION_DENIED },  { -EAGAIN, RPC_FAILED_PRECONDITION },
		{ -ENOMEM, RPC_RESOURCE_EXHAUSTED }, { -ENOSPC, RPC_RESOURCE_EXHAUSTED },
		{ -ECANCELED, RPC_CANCELLED },       { -EIO, RPC_DATA_LOSS },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].code == code)
			return rows[i].status;
	return RPC_INTERNAL;
}

static void *work(void *arg)
{
	struct call *c = arg;
	struct vault_service *s = c->service;
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX] = "";
	struct error e = { 0 };
	int r = c->method->answer(c, &e);

	if (r < 0 && e.text[0] != '\0') {
		(void)error_format(&e, sentence, sizeof(sentence));
		if (status_of(r) == RPC_DATA_LOSS || status_of(r) == RPC_INTERNAL)
			log_failure(LOG_LEVEL_ERROR, "an exhibit cannot be given", &e);
	}
	rpc_stream_finish(c->stream, r < 0 ? status_of(r) : RPC_OK, sentence);
	call_drop(c);
	(void)atomic_fetch_sub(&s->threads, 1);
	return NULL;
}

static void start(struct call *c)
{
	struct vault_service *s = c->service;
	pthread_attr_t attr;
	pthread_t thread;
	int r = EAGAIN;

	(void)atomic_fetch_add(&c->users, 1);
	if (atomic_fetch_add(&s->threads, 1) < VAULT_CALLS_MAX) {
		(void)pthread_attr_init(&attr);
		(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, work, c);
		(void)pthread_attr_destroy(&attr);
	}
	if (r == 0)
		return;
	(void)atomic_fetch_sub(&s->threads, 1);
	rpc_stream_finish(c->stream, RPC_RESOURCE_EXHAUSTED,
			  "too many exhibits are fetched at one time; try again");
	call_drop(c);
}

/* ---- on the rpc threads ------------------------------------------------------------------------------------ */

static void on_message(struct rpc_stream *stream, uint8_t *data, size_t len, void *ctx)
{
	struct call *c = ctx;

	rpc_stream_want_read(stream, false);
	if (len <= VAULT_QUESTION_MAX && c->question == NULL)
		c->question = protobuf_c_message_unpack(c->method->request, NULL, len, data);
	free(data);
	if (c->question == NULL)
		rpc_stream_finish(stream, RPC_INVALID_ARGUMENT, "the question cannot be read");
	else
		start(c);
}

static void on_sendable(struct rpc_stream *stream, void *ctx)
{
	struct call *c = ctx;

	(void)stream;
	if (!queue_try_push(c->room, c))
		return; /* a full queue already wakes */
}

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
	call_drop(c);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_read_end = on_read_end,
	.on_closed = on_closed,
};

static struct call *call_new(const struct slot *slot, struct rpc_stream *stream)
{
	const struct identity *peer = rpc_stream_peer(stream);
	struct call *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->room = queue_new(1)) == NULL) {
		free(c);
		return NULL;
	}
	atomic_init(&c->users, 1);
	c->service = slot->service;
	c->method = slot->method;
	c->stream = rpc_stream_ref(stream);
	c->tenant.len = (uint8_t)strnlen(peer->tenant, IDENTITY_PART_MAX);
	memcpy(c->tenant.b, peer->tenant, c->tenant.len);
	(void)identity_spiffe(peer, c->subject);
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
	const struct slot *slot = ctx;
	struct call *c;

	if (!has_role(rpc_stream_peer(stream), slot->method->roles)) {
		char why[128];

		(void)snprintf(why, sizeof(why),
			       "the certificate does not hold the role that this takes: %s",
			       slot->method->need);
		log_warn("refused a call", KV_STR("why", why),
			 KV_STR("peer", rpc_stream_peer(stream)->name),
			 KV_STR("remote", rpc_stream_remote(stream)),
			 KV_STR("method", slot->method->path));
		rpc_stream_finish(stream, RPC_PERMISSION_DENIED, why);
		return;
	}
	if (atomic_load(&slot->service->closing)) {
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

/* ---- the service ----------------------------------------------------------------------------------------- */

int vault_service_new(struct vault *v, struct vault_service **ret, struct error *e)
{
	struct vault_service *s = calloc(1, sizeof(*s));

	if (s != NULL)
		s->slots = calloc(ARRAY_LEN(methods), sizeof(*s->slots));
	if (s == NULL || s->slots == NULL) {
		free(s);
		return error_set(e, -ENOMEM, "cannot serve the vault: out of memory");
	}
	s->vault = v;
	*ret = s;
	return 0;
}

int vault_service_register(struct vault_service *s, struct rpc_server *server, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(methods); i++) {
		s->slots[i] = (struct slot){ s, &methods[i] };
		r = rpc_server_method(server,
				      &(struct rpc_method){ .path = methods[i].path,
							    .allow = methods[i].allow,
							    .on_open = on_open,
							    .ctx = &s->slots[i],
							    .first_message_ms = 10000 },
				      e);
	}
	return r;
}

void vault_service_close(struct vault_service *s)
{
	if (s == NULL)
		return;
	atomic_store(&s->closing, true);
	/* Each notices within LOOK_MS. */
	while (atomic_load(&s->threads) > 0)
		(void)usleep(10000);
}

void vault_service_free(struct vault_service *s)
{
	if (s == NULL)
		return;
	free(s->slots);
	free(s);
}
