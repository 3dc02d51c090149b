/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

#define SKEW_NS (60 * (int64_t)NSEC_PER_SEC) /* of the clock of whoever orders */

static void take_submit(struct peer *p, const uint8_t *data, size_t len);
static void take_approve(struct peer *p, const uint8_t *data, size_t len);
static void take_list(struct peer *p, const uint8_t *data, size_t len);
static void take_publish(struct peer *p, const uint8_t *data, size_t len);

static const char *const acquirers[] = { ORDER_ROLE_ACQUIRER, NULL };
static const char *const approvers[] = { ORDER_ROLE_APPROVER, NULL };
static const char *const anybody[] = { ORDER_ROLE_VIEWER, ORDER_ROLE_ACQUIRER, ORDER_ROLE_APPROVER,
				       NULL };

/* Deny by default: a method without a row does not exist. Publish: the list bears the order authority's own
 * signature, whoever carries it. */
static const struct orders_method methods[] = {
	{ "/exhibit.v1.Orders/Submit", RPC_ALLOW_RESPONDER, acquirers, 10000, ORDER_SIGNED_MAX,
	  take_submit, false },
	{ "/exhibit.v1.Orders/Approve", RPC_ALLOW_RESPONDER, approvers, 10000, KiB(16),
	  take_approve, false },
	{ "/exhibit.v1.Orders/List", RPC_ALLOW_RESPONDER, anybody, 10000, KiB(4), take_list,
	  false },
	{ "/exhibit.v1.Orders/Publish", RPC_ALLOW_RESPONDER, anybody, 10000, REVOCATIONS_BYTES_MAX,
	  take_publish, false },
	{ "/exhibit.v1.Agent/Orders", RPC_ALLOW_HOST, NULL, 20000, KiB(64), orders_agent_take,
	  true },
};

const struct orders_method *orders_method_at(size_t i)
{
	return i < ARRAY_LEN(methods) ? &methods[i] : NULL;
}

const char *orders_method_path(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].path : NULL;
}

const char *const *orders_method_roles(size_t i)
{
	return i < ARRAY_LEN(methods) ? methods[i].roles : NULL;
}

/* ---- refusing ------------------------------------------------------------------------------------------ */

static const struct {
	int code;
	enum rpc_status status;
} statuses[] = {
	{ -EBADMSG, RPC_INVALID_ARGUMENT },        { -EINVAL, RPC_INVALID_ARGUMENT },
	{ -EACCES, RPC_PERMISSION_DENIED },        { -EPERM, RPC_PERMISSION_DENIED },
	{ -EKEYEXPIRED, RPC_FAILED_PRECONDITION }, { -EAGAIN, RPC_FAILED_PRECONDITION },
	{ -EEXIST, RPC_ALREADY_EXISTS },           { -ENOENT, RPC_NOT_FOUND },
	{ -EDQUOT, RPC_RESOURCE_EXHAUSTED },       { -ENOSPC, RPC_RESOURCE_EXHAUSTED },
	{ -ENOMEM, RPC_RESOURCE_EXHAUSTED },
};

static void refuse(struct peer *p, int code, const struct error *why)
{
	enum rpc_status status = RPC_INTERNAL;

	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].code == code)
			status = statuses[i].status;
	log_warn("refused a call", KV_STR("why", why->text), KV_STR("peer", p->who.name),
		 KV_STR("method", p->method->path));
	peer_end(p, status, why);
}

/* A certificate that was revoked after its handshake, or one for TLS that the list names too. */
static int check_caller(const struct peer *p, struct tenant_list **ret, struct error *e)
{
	int r = orders_list_of(p->orders, &p->tenant, ret, e);

	if (r == 0 && revocations_has((*ret)->revocations, p->who.serial))
		r = error_set(e, -EACCES, "the certificate %s is revoked", p->who.serial);
	return r;
}

static struct order_context context_of(const struct peer *p, const struct tenant_list *list)
{
	return (struct order_context){ .authorities = p->orders->c.authorities,
				       .revocations = list->revocations,
				       .domain = p->who.domain,
				       .tenant = p->who.tenant,
				       .now_ns = p->orders->c.now(),
				       .clock_skew_ns = SKEW_NS };
}

/* ---- answers -------------------------------------------------------------------------------------------- */

static int send_step(void *ctx, const uint8_t *data, size_t len)
{
	Exhibit__V1__OrderAnswer answer = EXHIBIT__V1__ORDER_ANSWER__INIT;

	answer.step = exhibit__v1__order_step__unpack(NULL, len, data);
	if (!answer.step)
		return -EBADMSG;
	answer.kind_case = EXHIBIT__V1__ORDER_ANSWER__KIND_STEP;
	peer_send(ctx, &answer.base);
	exhibit__v1__order_step__free_unpacked(answer.step, NULL);
	return 0;
}

static int send_order(struct peer *p, const uint8_t *data, size_t len)
{
	Exhibit__V1__OrderAnswer answer = EXHIBIT__V1__ORDER_ANSWER__INIT;

	answer.order = exhibit__v1__signed_order__unpack(NULL, len, data);
	if (!answer.order)
		return -EBADMSG;
	answer.kind_case = EXHIBIT__V1__ORDER_ANSWER__KIND_ORDER;
	peer_send(p, &answer.base);
	exhibit__v1__signed_order__free_unpacked(answer.order, NULL);
	return 0;
}

static void watch(struct peer *p, int64_t seq, bool over)
{
	if (over)
		peer_end(p, RPC_OK, NULL);
	else
		p->watching = seq;
}

static bool is_open(const struct orders *o, int64_t seq)
{
	for (const struct open_order *x = o->open; x; x = x->next)
		if (x->seq == seq)
			return true;
	return false;
}

/* ---- Submit --------------------------------------------------------------------------------------------- */

static int check_order(struct peer *p, const uint8_t *data, size_t len, struct order_checked *ret,
		       struct error *e)
{
	struct orders *o = p->orders;
	struct tenant_list *list;
	struct order_context c;
	int r = check_caller(p, &list, e);

	if (r < 0)
		return r;
	c = context_of(p, list);
	(void)pthread_rwlock_rdlock(&o->trust);
	c.authorities = o->c.authorities;
	r = order_check(&c, data, len, ret, e);
	(void)pthread_rwlock_unlock(&o->trust);
	if (r < 0)
		return r;
	if (!identity_same_name(&ret->requester, &p->who)) {
		r = error_set(e, -EACCES, "the order is '%s's, and '%s' brings it",
			      ret->requester.name, p->who.name);
		order_checked_release(ret);
	}
	return r;
}

static int submit(struct peer *p, const uint8_t *data, size_t len, struct error *e)
{
	struct orders *o = p->orders;
	struct order_checked checked;
	int64_t seq = 0;
	int r = orders_limit_caller(o, &p->who, e);

	/* What exceeds the limit leaves no trace but a count: it is what the limit is for. */
	if (r < 0)
		return r;
	r = check_order(p, data, len, &checked, e);
	if (r == 0) {
		r = orders_limit_hosts(o, &p->tenant, checked.order, e);
		if (r == 0)
			r = orders_begin(o, p, data, len, &checked, &seq, e);
		order_checked_release(&checked);
	}
	if (r < 0) {
		if (r != -EEXIST)
			orders_refused(o, p, data, len, e);
		return r;
	}
	r = orders_store_steps(o->store, seq, send_step, p, e);
	if (r == 0)
		watch(p, seq, !is_open(o, seq));
	return r;
}

static void take_submit(struct peer *p, const uint8_t *data, size_t len)
{
	struct error e = { 0 };
	int r = submit(p, data, len, &e);

	if (r < 0)
		refuse(p, r, &e);
}

/* ---- Approve -------------------------------------------------------------------------------------------- */

/* The order with the approval is checked as hosts will check it: that it is somebody else's than the others
 * shows only there. */
static int approve(struct peer *p, struct open_order *x,
		   const Exhibit__V1__OrderSignature *approval, struct error *e)
{
	struct orders *o = p->orders;
	AUTO(free_ptr) uint8_t *data = NULL;
	struct order_checked checked;
	struct tenant_list *list;
	struct order_context c;
	struct identity who;
	size_t len;
	int r = check_caller(p, &list, e);

	if (r < 0)
		return r;
	data = orders_with_approval(x, approval, &len, e);
	if (!data)
		return e->code;
	c = context_of(p, list);
	(void)pthread_rwlock_rdlock(&o->trust);
	c.authorities = o->c.authorities;
	r = order_check(&c, data, len, &checked, e);
	(void)pthread_rwlock_unlock(&o->trust);
	if (r < 0)
		return r;
	who = checked.approvers[checked.n_approvers - 1];
	order_checked_release(&checked);
	if (!identity_same_name(&who, &p->who))
		return error_set(e, -EACCES, "the approval is '%s's, and '%s' brings it", who.name,
				 p->who.name);
	return orders_approved(o, x, data, len, &who, e);
}

static int show_or_approve(struct peer *p, const Exhibit__V1__ApproveRequest *m, struct error *e)
{
	struct open_order *x = NULL;
	int64_t seq;
	int r;

	if (m->order_id.len == ORDER_ID_LEN)
		x = orders_find_open(p->orders, &p->tenant, m->order_id.data);
	if (!x) {
		(void)error_set(e, -ENOENT, "there is no such order, or it is over");
		error_hint(e, "'exhibit orders' lists them");
		return -ENOENT;
	}
	if (!m->approval) {
		r = send_order(p, x->signed_order, x->len);
		if (r == 0)
			peer_end(p, RPC_OK, NULL);
		return r;
	}
	seq = x->seq;
	r = approve(p, x, m->approval, e);
	if (r == 0)
		r = orders_store_steps(p->orders->store, seq, send_step, p, e);
	if (r == 0)
		peer_end(p, RPC_OK, NULL);
	return r;
}

static void take_approve(struct peer *p, const uint8_t *data, size_t len)
{
	Exhibit__V1__ApproveRequest *m = exhibit__v1__approve_request__unpack(NULL, len, data);
	struct error e = { 0 };
	int r = m ? show_or_approve(p, m, &e) :
		    error_set(&e, -EBADMSG, "the request cannot be read");

	if (m)
		exhibit__v1__approve_request__free_unpacked(m, NULL);
	if (r < 0)
		refuse(p, r, &e);
}

/* ---- List ----------------------------------------------------------------------------------------------- */

#define FOUND_BYTES_MAX MiB(32)

/* Copies: steps are read after, and the store calls back with its lock held. */
struct found {
	size_t n, bytes;
	bool open; /* the last one */
	struct found_order {
		int64_t seq;
		uint8_t *data;
		size_t len;
	} orders[ORDERS_LISTED_MAX];
};

static void found_free(struct found **f)
{
	for (size_t i = 0; *f && i < (*f)->n; i++)
		free((*f)->orders[i].data);
	free(*f);
}

static int remember(void *ctx, const struct orders_row *row)
{
	struct found *f = ctx;
	struct found_order *x = &f->orders[f->n];

	if (f->n == ORDERS_LISTED_MAX || f->bytes + row->len > FOUND_BYTES_MAX)
		return -E2BIG;
	x->data = malloc(row->len + 1);
	if (!x->data)
		return -ENOMEM;
	memcpy(x->data, row->signed_order, row->len);
	x->len = row->len;
	x->seq = row->seq;
	f->bytes += row->len;
	f->open = row->open;
	f->n++;
	return 0;
}

static int check_query(const Exhibit__V1__OrdersQuery *m, struct error *e)
{
	if (m->order_id.len != 0 && m->order_id.len != ORDER_ID_LEN)
		return error_set(e, -EINVAL, "an order's id has 16 bytes");
	if (m->follow && m->order_id.len == 0)
		return error_set(e, -EINVAL, "only one order can be followed");
	return 0;
}

static int find(struct peer *p, const Exhibit__V1__OrdersQuery *m, struct found *f, struct error *e)
{
	struct orders_which w = { .tenant = &p->tenant };
	int r;

	w.id = m->order_id.len ? m->order_id.data : NULL;
	w.case_id = m->case_id.len ? m->case_id.data : NULL;
	w.case_len = m->case_id.len;
	w.limit = !m->limit ? 100 : m->limit < ORDERS_LISTED_MAX ? m->limit : ORDERS_LISTED_MAX;
	r = orders_store_each(p->orders->store, &w, remember, f, e);
	if (r == -E2BIG)
		return error_set(e, -ENOSPC,
				 "too many orders for one answer; give --limit or --case");
	if (r == 0 && m->follow && f->n == 0)
		return error_set(e, -ENOENT, "there is no such order");
	return r;
}

static int list(struct peer *p, const Exhibit__V1__OrdersQuery *m, struct error *e)
{
	AUTO(found_free) struct found *f = calloc(1, sizeof(*f));
	struct tenant_list *revoked;
	int r = f ? check_caller(p, &revoked, e) :
		    error_set(e, -ENOMEM, "cannot list orders: out of memory");

	if (r == 0)
		r = check_query(m, e);
	if (r == 0)
		r = find(p, m, f, e);
	for (size_t i = 0; r == 0 && i < f->n; i++) {
		r = send_order(p, f->orders[i].data, f->orders[i].len);
		if (r == 0)
			r = orders_store_steps(p->orders->store, f->orders[i].seq, send_step, p, e);
	}
	if (r == 0)
		watch(p, f->n ? f->orders[0].seq : 0, !m->follow || !f->open);
	return r;
}

static void take_list(struct peer *p, const uint8_t *data, size_t len)
{
	Exhibit__V1__OrdersQuery *m = exhibit__v1__orders_query__unpack(NULL, len, data);
	struct error e = { 0 };
	int r = m ? list(p, m, &e) : error_set(&e, -EBADMSG, "the question cannot be read");

	if (m)
		exhibit__v1__orders_query__free_unpacked(m, NULL);
	if (r < 0 && !e.text[0])
		(void)error_set(&e, r, "cannot list orders: %m");
	if (r < 0)
		refuse(p, r, &e);
}

/* ---- Publish -------------------------------------------------------------------------------------------- */

static void take_publish(struct peer *p, const uint8_t *data, size_t len)
{
	Exhibit__V1__PublishReply reply = EXHIBIT__V1__PUBLISH_REPLY__INIT;
	struct error e = { 0 };
	int r = orders_publish(p->orders, p, data, len, &reply.number, &e);

	if (r < 0) {
		refuse(p, r, &e);
		return;
	}
	peer_send(p, &reply.base);
	peer_end(p, RPC_OK, NULL);
}
