/* SPDX-License-Identifier: Apache-2.0 */
/* An order, or an approval, that was checked becomes durable; one that was refused too. */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word
#define REASON_MAX 1000

struct same {
	const uint8_t *hash;
	int64_t seq;
	bool same;
};

static int compare(void *ctx, const struct orders_row *row)
{
	struct same *s = ctx;
	Exhibit__V1__SignedOrder *m =
		exhibit__v1__signed_order__unpack(NULL, row->len, row->signed_order);
	struct seal_hash hash;

	if (!m)
		return -EBADMSG;
	s->seq = row->seq;
	s->same = seal_sha256(m->order.data, m->order.len, &hash) == 0 &&
		  memcmp(hash.b, s->hash, sizeof(hash.b)) == 0;
	exhibit__v1__signed_order__free_unpacked(m, NULL);
	return 0;
}

/* Handed in again, after a broken connection, it is the same order; another one may not take its name. */
static int find_same(struct orders *o, const struct peer *p, const struct order_checked *checked,
		     int64_t *ret_seq, struct error *e)
{
	struct orders_which w = { .tenant = &p->tenant, .id = checked->id };
	struct same same = { .hash = checked->hash.b };
	int r = orders_store_each(o->store, &w, compare, &same, e);

	if (r < 0 || same.seq == 0)
		return r;
	*ret_seq = same.seq;
	return same.same ? 1 : error_set(e, -EEXIST, "another order with this id is here already");
}

static int store_new(struct orders *o, const struct peer *p, struct open_order *x, struct error *e)
{
	struct orders_row row = {
		.tenant = p->tenant, .signed_order = x->signed_order, .len = x->len, .open = true
	};
	Exhibit__V1__OrderStep step = orders_step_of(o, x, S(MADE));
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;

	memcpy(row.id, x->order->order_id.data, ORDER_ID_LEN);
	step.actor = x->order->requester;
	step.reason = x->order->reason;
	data = orders_pack_step(&step, &len, e);
	return data ? orders_store_put(o->store, &row, x->order->case_id.data,
				       x->order->case_id.len, data, len, &x->seq, e) :
		      -ENOMEM;
}

int orders_begin(struct orders *o, const struct peer *p, const void *data, size_t len,
		 const struct order_checked *checked, int64_t *ret_seq, struct error *e)
{
	AUTO(open_order_free_ptr) struct open_order *x = NULL;
	char subject[IDENTITY_SPIFFE_MAX];
	int r = find_same(o, p, checked, ret_seq, e);

	if (r != 0)
		return r < 0 ? r : 0;
	r = orders_from_bytes(&p->tenant, data, len, &x, e);
	if (r == 0)
		r = orders_leaf_order(o, EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER, &p->tenant,
				      identity_spiffe(&checked->requester, subject), &x->hash, len,
				      x->order, e);
	if (r == 0)
		r = store_new(o, p, x, e);
	if (r < 0)
		return r;
	*ret_seq = x->seq;
	log_info("an order is made", KV_STR("kind", order_kind_name(x->order->kind)),
		 KV_STR("by", p->who.name),
		 KV_BYTES("case", x->order->case_id.data, x->order->case_id.len));
	orders_keep_open(o, x);
	orders_dispatch(o, TAKE(x));
	return 0;
}

static int store_refused(struct orders *o, const struct peer *p, const uint8_t *data, size_t len,
			 const struct open_order *x, const char *why, struct error *e)
{
	struct orders_row row = { .tenant = p->tenant, .signed_order = data, .len = len };
	Exhibit__V1__OrderStep step = orders_step_of(o, x, S(REFUSED));
	AUTO(free_ptr) uint8_t *packed = NULL;
	char actor[IDENTITY_SPIFFE_MAX];
	size_t packed_len = 0;
	int64_t seq;
	int r;

	memcpy(row.id, x->order->order_id.data, ORDER_ID_LEN);
	/* Who brought it: whether the name in it is right is not known. */
	(void)identity_spiffe(&p->who, actor);
	step.actor = orders_bytes(actor, strlen(actor));
	step.reason = orders_bytes(why, strlen(why));
	packed = orders_pack_step(&step, &packed_len, e);
	r = packed ? orders_leaf_step(o, &p->tenant, &x->hash, &step, e) : -ENOMEM;
	if (r == 0)
		r = orders_store_put(o->store, &row, x->order->case_id.data, x->order->case_id.len,
				     packed, packed_len, &seq, e);
	return r == -EEXIST ? 0 : r;
}

void orders_refused(struct orders *o, const struct peer *p, const void *data, size_t len,
		    const struct error *why)
{
	AUTO(open_order_free_ptr) struct open_order *x = NULL;
	struct error e = { 0 };
	char text[REASON_MAX + 1];

	/* What is no order leaves a line in the log, which the caller writes. */
	if (orders_from_bytes(&p->tenant, data, len, &x, NULL) < 0)
		return;
	(void)snprintf(text, sizeof(text), "%s", why->text);
	if (store_refused(o, p, data, len, x, text, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "a refused order cannot be stored", &e);
}

uint8_t *orders_with_approval(const struct open_order *x,
			      const Exhibit__V1__OrderSignature *approval, size_t *ret_len,
			      struct error *e)
{
	Exhibit__V1__SignedOrder *s =
		exhibit__v1__signed_order__unpack(NULL, x->len, x->signed_order);
	Exhibit__V1__OrderSignature *more[ORDER_APPROVALS_MAX], **had;
	uint8_t *data = NULL;
	size_t n;

	if (!s || s->n_approvals >= ORDER_APPROVALS_MAX) {
		(void)error_set(e, s ? -EPERM : -EBADMSG, "the order takes no further approval");
		if (s)
			exhibit__v1__signed_order__free_unpacked(s, NULL);
		return NULL;
	}
	n = s->n_approvals;
	had = s->approvals;
	for (size_t i = 0; i < n; i++)
		more[i] = had[i];
	memcpy(&more[n], &approval, sizeof(more[n])); /* read only */
	s->approvals = more;
	s->n_approvals = n + 1;
	*ret_len = exhibit__v1__signed_order__get_packed_size(s);
	if (*ret_len <= ORDER_SIGNED_MAX)
		data = malloc(*ret_len + 1);
	if (data)
		(void)exhibit__v1__signed_order__pack(s, data);
	else
		(void)error_set(e, -ENOSPC, "the order has no room for another approval");
	s->approvals = had;
	s->n_approvals = n;
	exhibit__v1__signed_order__free_unpacked(s, NULL);
	return data;
}

int orders_approved(struct orders *o, struct open_order *x, const uint8_t *data, size_t len,
		    const struct identity *who, struct error *e)
{
	Exhibit__V1__OrderStep step = orders_step_of(o, x, S(APPROVED));
	AUTO(free_ptr) uint8_t *packed = NULL;
	uint8_t *copy = malloc(len + 1);
	char name[IDENTITY_SPIFFE_MAX];
	size_t packed_len = 0;
	int r;

	(void)identity_spiffe(who, name);
	step.actor = orders_bytes(name, strlen(name));
	packed = copy ? orders_pack_step(&step, &packed_len, e) : NULL;
	r = packed ? orders_leaf_order(o, EXHIBIT__V1__LEDGER_KIND__LEDGER_APPROVAL, &x->tenant,
				       name, &x->hash, x->len, x->order, e) :
		     error_set(e, -ENOMEM, "cannot keep an approval: %m");
	if (r == 0)
		r = orders_store_approve(o->store, x->seq, data, len, packed, packed_len, e);
	if (r < 0) {
		free(copy);
		return r;
	}
	memcpy(copy, data, len);
	free(x->signed_order);
	x->signed_order = copy;
	x->len = len;
	x->n_approvals++;
	log_info("an order is approved", KV_STR("by", who->name));
	orders_tell_watchers(o, x, &step);
	orders_dispatch(o, x);
	return 0;
}
