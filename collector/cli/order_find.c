/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/order_find.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/order_show.h"
#include "collector/cli/session.h"

#define PATH "/exhibit.v1.Orders/List"
#define LISTED 100 /* orders, if no --limit is given */
#define STEPS_MAX 65536

static void release_one(struct found_order *x)
{
	if (x->signed_order)
		exhibit__v1__signed_order__free_unpacked(x->signed_order, NULL);
	if (x->order)
		exhibit__v1__order__free_unpacked(x->order, NULL);
	for (size_t i = 0; i < x->n_steps; i++)
		exhibit__v1__order_step__free_unpacked(x->steps[i], NULL);
	free(x->steps);
}

void orders_found_release(struct found_orders *f)
{
	for (size_t i = 0; i < f->n; i++)
		release_one(&f->at[i]);
	free(f->at);
	*f = (struct found_orders){ 0 };
}

static int add_order(struct found_orders *f, Exhibit__V1__OrderAnswer *m, struct error *e)
{
	struct found_order *more = reallocarray(f->at, f->n + 1, sizeof(*more)), *x;

	if (!more)
		return error_set(e, -ENOMEM, "cannot list orders: %m");
	f->at = more;
	x = &more[f->n];
	*x = (struct found_order){ 0 };
	/* What does not parse was refused for it; it is shown by its steps. */
	if (order_parse(m->order->order.data, m->order->order.len, &x->order, NULL) < 0)
		x->order = NULL;
	x->signed_order = m->order;
	m->order = NULL;
	f->n++;
	return 0;
}

static int add_step(struct found_orders *f, Exhibit__V1__OrderAnswer *m, struct error *e)
{
	struct found_order *x = f->n ? &f->at[f->n - 1] : NULL;
	Exhibit__V1__OrderStep **more;

	if (!x || x->n_steps == STEPS_MAX)
		return error_set(e, -EBADMSG, "the collector's answer is out of order");
	more = reallocarray(x->steps, x->n_steps + 1, sizeof(*more));
	if (!more)
		return error_set(e, -ENOMEM, "cannot list orders: %m");
	x->steps = more;
	x->steps[x->n_steps++] = m->step;
	m->step = NULL;
	return 0;
}

static int take(struct found_orders *f, const uint8_t *data, size_t len, struct error *e)
{
	Exhibit__V1__OrderAnswer *m = exhibit__v1__order_answer__unpack(NULL, len, data);
	int r = 0;

	if (!m)
		return error_set(
			e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	if (m->kind_case == EXHIBIT__V1__ORDER_ANSWER__KIND_ORDER)
		r = add_order(f, m, e);
	else if (m->kind_case == EXHIBIT__V1__ORDER_ANSWER__KIND_STEP)
		r = add_step(f, m, e);
	exhibit__v1__order_answer__free_unpacked(m, NULL);
	return r;
}

static int ask(const struct args *a, const Exhibit__V1__OrdersQuery *q, struct found_orders *f,
	       struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int r = session_open(a, PATH, q, &s, e);

	while (r >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			return r;
		r = take(f, data, len, e);
	}
	return r;
}

static bool begins_with(const struct found_order *x, const char *prefix)
{
	char id[ORDER_ID_TEXT];

	if (x->order)
		(void)order_id_text(&x->order->order_id, id);
	else if (x->n_steps)
		(void)order_id_text(&x->steps[0]->order_id, id);
	else
		return false;
	return strncmp(id, prefix, strlen(prefix)) == 0;
}

static uint64_t how_many(const struct args *a, const char *prefix)
{
	if (prefix[0] || (a->has_limit && (a->limit == 0 || a->limit > ORDERS_LOOK_MAX)))
		return ORDERS_LOOK_MAX;
	return a->has_limit ? a->limit : LISTED;
}

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* A whole id is asked for by the collector's own index, however old the order is. */
static bool whole_id(const char *prefix, uint8_t id[static ORDER_ID_LEN])
{
	if (strlen(prefix) != 2 * ORDER_ID_LEN)
		return false;
	for (size_t i = 0; i < ORDER_ID_LEN; i++)
		id[i] = (uint8_t)(digit(prefix[2 * i]) << 4 | digit(prefix[2 * i + 1]));
	return true;
}

int orders_find(const struct args *a, const char *prefix, struct found_orders *ret, struct error *e)
{
	Exhibit__V1__OrdersQuery q = EXHIBIT__V1__ORDERS_QUERY__INIT;
	uint8_t id[ORDER_ID_LEN];
	size_t kept = 0;
	int r;

	if (a->case_id)
		q.case_id = (ProtobufCBinaryData){ strlen(a->case_id),
						   (uint8_t *)(uintptr_t)a->case_id };
	if (whole_id(prefix, id))
		q.order_id = (ProtobufCBinaryData){ sizeof(id), id };
	q.limit = how_many(a, prefix);
	*ret = (struct found_orders){ 0 };
	r = ask(a, &q, ret, e);
	if (r < 0) {
		orders_found_release(ret);
		return r;
	}
	ret->looked = ret->n >= q.limit ? ret->n : 0;
	for (size_t i = 0; i < ret->n; i++)
		if (begins_with(&ret->at[i], prefix))
			ret->at[kept++] = ret->at[i];
		else
			release_one(&ret->at[i]);
	ret->n = kept;
	return 0;
}

static int not_one(struct found_orders *f, const char *text, struct error *e)
{
	if (f->n > 1) {
		(void)error_set(e, -ENOENT, "several orders begin with '%s'", text);
		error_hint(e, "give more of it");
	} else if (f->looked) {
		(void)error_set(e, -ENOENT,
				"none of the newest %" PRIu64 " orders begins with '%s'", f->looked,
				text);
		error_hint(e, "give its whole id");
	} else {
		(void)error_set(e, -ENOENT, "there is no order '%s'", text);
		error_hint(e, "'exhibit orders' lists them");
	}
	orders_found_release(f);
	return -ENOENT;
}

int orders_find_one(const struct args *a, const char *text, struct found_orders *ret,
		    struct error *e)
{
	char prefix[ORDER_ID_TEXT];
	int r;

	if (!text || !order_id_prefix(text, prefix)) {
		(void)error_set(e, -EINVAL, "'%s' is not the beginning of an order's id",
				text ? text : "");
		error_hint(e, "'exhibit orders' lists them");
		return -EINVAL;
	}
	r = orders_find(a, prefix, ret, e);
	if (r < 0 || ret->n == 1)
		return r;
	return not_one(ret, text, e);
}
