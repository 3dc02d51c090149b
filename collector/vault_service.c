/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_service_internal.h"

#include <errno.h>
#include <string.h>

#include "proto/order.h"

#define STALL_MS 120000 /* a reader that takes nothing for so long is given up */

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
		r = call_send(c, TAKE(all[i].data), all[i].len);
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
	return vault_find(vault_of(c), &q, ret, ret_n, e);
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
	r = vault_hold(vault_of(c), &c->tenant, info->exhibit_id.data, q->hold, c->subject,
		       q->reason.data, q->reason.len, e);
	if (r == 0)
		vault_hold_settle(vault_of(c), &c->tenant, info->exhibit_id.data, HOLD_SETTLE_MS);
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

static const struct call_method methods[] = {
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

static void *work(void *arg)
{
	struct vault_service *s = vault_service_of(arg);

	call_answer(arg);
	threads_end(&s->threads);
	return NULL;
}

static const char *start(struct call *c)
{
	return threads_start(&vault_service_of(c)->threads, work, c) == 0 ?
		       NULL :
		       "too many exhibits are fetched at one time; try again";
}

/* ---- the service ----------------------------------------------------------------------------------------- */

int vault_service_new(struct vault *v, struct vault_service **ret, struct error *e)
{
	struct vault_service *s = calloc(1, sizeof(*s));
	int r = s == NULL ? error_set(e, -ENOMEM, "cannot serve the vault: out of memory") :
			    calls_init(&s->calls,
				       &(struct call_config){ .methods = methods,
							      .n_methods = ARRAY_LEN(methods),
							      .question_max = VAULT_QUESTION_MAX,
							      .stall_ms = STALL_MS,
							      .start = start,
							      .owner = s },
				       e);

	if (r < 0) {
		free(s);
		return r;
	}
	threads_init(&s->threads, VAULT_CALLS_MAX);
	s->vault = v;
	*ret = s;
	return 0;
}

int vault_service_register(struct vault_service *s, struct rpc_server *server, struct error *e)
{
	return calls_register(&s->calls, server, e);
}

void vault_service_close(struct vault_service *s)
{
	if (s == NULL)
		return;
	(void)calls_close(&s->calls);
	threads_wait(&s->threads);
}

void vault_service_free(struct vault_service *s)
{
	if (s == NULL)
		return;
	calls_release(&s->calls);
	threads_release(&s->threads);
	free(s);
}
