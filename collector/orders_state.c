/* SPDX-License-Identifier: Apache-2.0 */
/* The orders of which something may still happen, and what happens to them. */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word

static bool all_over(const struct open_order *x)
{
	for (size_t i = 0; i < x->n_targets; i++)
		if (!orders_is_over(x->targets[i].state))
			return false;
	return true;
}

/* ---- in memory ------------------------------------------------------------------------------------------ */

void open_order_free(struct open_order *x)
{
	if (!x)
		return;
	exhibit__v1__order__free_unpacked(x->order, NULL);
	free(x->signed_order);
	free(x);
}

void orders_free_open(struct orders *o)
{
	while (o->open) {
		struct open_order *next = o->open->next;

		open_order_free(o->open);
		o->open = next;
	}
	o->n_open = 0;
}

struct open_order *orders_find_open(struct orders *o, const struct batch_name *tenant,
				    const uint8_t id[static ORDER_ID_LEN])
{
	for (struct open_order *x = o->open; x; x = x->next)
		if (batch_name_equal(&x->tenant, tenant) &&
		    memcmp(x->order->order_id.data, id, ORDER_ID_LEN) == 0)
			return x;
	return NULL;
}

static void set_targets(struct open_order *x)
{
	x->n_targets = x->order->n_hosts;
	for (size_t i = 0; i < x->n_targets; i++) {
		struct target *t = &x->targets[i];

		t->state = S(MADE);
		t->host.len = (uint8_t)x->order->hosts[i].len;
		memcpy(t->host.b, x->order->hosts[i].data, t->host.len);
	}
}

/* From bytes that were checked when they came. */
int orders_from_bytes(const struct batch_name *tenant, const uint8_t *data, size_t len,
		      struct open_order **ret, struct error *e)
{
	AUTO(open_order_free_ptr) struct open_order *x = calloc(1, sizeof(*x));
	Exhibit__V1__SignedOrder *s = exhibit__v1__signed_order__unpack(NULL, len, data);
	int r = s ? 0 : error_set(e, -EBADMSG, "a stored order cannot be read");

	if (x)
		x->signed_order = malloc(len + 1);
	if (r == 0 && (!x || !x->signed_order))
		r = error_set(e, -ENOMEM, "cannot keep an order: %m");
	if (r == 0)
		r = order_parse(s->order.data, s->order.len, &x->order, e);
	if (r == 0)
		r = seal_sha256(s->order.data, s->order.len, &x->hash);
	if (r == 0) {
		x->tenant = *tenant;
		x->n_approvals = s->n_approvals;
		memcpy(x->signed_order, data, len);
		x->len = len;
		set_targets(x);
		*ret = TAKE(x);
	}
	if (s)
		exhibit__v1__signed_order__free_unpacked(s, NULL);
	return r;
}

void orders_keep_open(struct orders *o, struct open_order *x)
{
	x->next = o->open;
	o->open = x;
	o->n_open++;
}

/* What is over leaves memory; whoever watches it is done. */
void orders_close_over(struct orders *o, struct open_order *x)
{
	if (!all_over(x))
		return;
	for (struct peer *p = o->peers; p; p = p->next)
		if (p->watching == x->seq)
			peer_end(p, RPC_OK, NULL);
	for (struct open_order **at = &o->open; *at; at = &(*at)->next)
		if (*at == x) {
			*at = x->next;
			o->n_open--;
			open_order_free(x);
			return;
		}
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

void orders_tell_watchers(struct orders *o, const struct open_order *x,
			  Exhibit__V1__OrderStep *step)
{
	Exhibit__V1__OrderAnswer answer = EXHIBIT__V1__ORDER_ANSWER__INIT;

	answer.kind_case = EXHIBIT__V1__ORDER_ANSWER__KIND_STEP;
	answer.step = step;
	for (struct peer *p = o->peers; p; p = p->next) {
		/* Progress is worth nothing to whoever lags. */
		if (p->watching != x->seq || (step->state == S(PROGRESS) && p->n_out > 0))
			continue;
		peer_send(p, &answer.base);
	}
}

uint8_t *orders_pack_step(const Exhibit__V1__OrderStep *step, size_t *ret_len, struct error *e)
{
	uint8_t *data;

	*ret_len = exhibit__v1__order_step__get_packed_size(step);
	data = malloc(*ret_len + 1);
	if (data)
		(void)exhibit__v1__order_step__pack(step, data);
	else
		(void)error_set(e, -ENOMEM, "cannot keep a step of an order: %m");
	return data;
}

Exhibit__V1__OrderStep orders_step_of(const struct orders *o, const struct open_order *x,
				      Exhibit__V1__OrderState state)
{
	Exhibit__V1__OrderStep step = EXHIBIT__V1__ORDER_STEP__INIT;

	step.order_id = x->order->order_id;
	step.kind = x->order->kind;
	step.case_id = x->order->case_id;
	step.state = state;
	step.wall_ns = o->c.now();
	return step;
}

static void note_stored(struct target *t, const Exhibit__V1__OrderStep *step)
{
	t->state = step->state;
	t->said_ns = step->wall_ns;
	t->told = 0;
	t->n_steps++;
}

/* One leaf, however often the store fails behind it: a step is tried until it is stored. */
static int tell_ledger(struct orders *o, const struct open_order *x, struct target *t,
		       const Exhibit__V1__OrderStep *step, struct error *e)
{
	int r = t->told == step->state ? 0 : orders_leaf_step(o, &x->tenant, &x->hash, step, e);

	if (r == 0)
		t->told = step->state;
	return r;
}

/* A step of one host, from its own mouth or ours: leaf, store, memory, watchers. t NULL: of the order. */
int orders_take_step(struct orders *o, struct open_order *x, struct target *t,
		     Exhibit__V1__OrderStep *step, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len;
	int r;

	if (step->state == S(PROGRESS) && (!step->lasting || t->n_steps >= ORDERS_STEPS_MAX)) {
		t->state = S(PROGRESS);
		orders_tell_watchers(o, x, step);
		return 0;
	}
	data = orders_pack_step(step, &len, e);
	r = data ? tell_ledger(o, x, t, step, e) : -ENOMEM;
	if (r == 0) {
		Exhibit__V1__OrderState before = t->state;

		t->state = step->state;
		r = orders_store_step(o->store, x->seq, t->host.b, t->host.len, step->state, data,
				      len, !all_over(x), e);
		if (r < 0)
			t->state = before;
		else
			note_stored(t, step);
	}
	if (r == 0)
		orders_tell_watchers(o, x, step);
	return r;
}

/* ---- a start -------------------------------------------------------------------------------------------- */

struct load {
	struct orders *orders;
	struct error *e;
};

static int load_order(void *ctx, const struct orders_row *row)
{
	struct load *load = ctx;
	struct open_order *x = NULL;
	struct error why = { 0 };

	if (orders_from_bytes(&row->tenant, row->signed_order, row->len, &x, &why) < 0) {
		log_failure(LOG_LEVEL_ERROR, "a stored order is left aside", &why);
		return 0;
	}
	x->seq = row->seq;
	orders_keep_open(load->orders, x);
	return 0;
}

static int load_step(void *ctx, const uint8_t *data, size_t len)
{
	struct open_order *x = ctx;
	Exhibit__V1__OrderStep *step = exhibit__v1__order_step__unpack(NULL, len, data);

	if (!step)
		return -EBADMSG;
	for (size_t i = 0; i < x->n_targets; i++)
		if (step->host_id.len == x->targets[i].host.len && step->host_id.len > 0 &&
		    memcmp(step->host_id.data, x->targets[i].host.b, step->host_id.len) == 0)
			note_stored(&x->targets[i], step);
	exhibit__v1__order_step__free_unpacked(step, NULL);
	return 0;
}

int orders_load_open(struct orders *o, struct error *e)
{
	struct load load = { o, e };
	struct orders_which w = { .open = true };
	int r = orders_store_each(o->store, &w, load_order, &load, e);

	for (struct open_order *x = o->open; r == 0 && x; x = x->next)
		r = orders_store_steps(o->store, x->seq, load_step, x, e);
	return r;
}
