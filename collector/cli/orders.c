/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit orders, exhibit approve */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/host_ids.h"
#include "collector/cli/order_describe.h"
#include "collector/cli/order_find.h"
#include "collector/cli/order_watch.h"
#include "collector/cli/person.h"
#include "collector/cli/session.h"
#include "proto/base/clock.h"

#define LIST_PATH "/exhibit.v1.Orders/List"
#define APPROVE_PATH "/exhibit.v1.Orders/Approve"

static const char *const headers[] = { "TIME", "ORDER", "KIND", "HOST", "STATE",
				       "CASE", "BY",    "WHAT", NULL };

static bool of_host(const struct host_ids *hosts, const ProtobufCBinaryData *host)
{
	for (size_t i = 0; i < hosts->n; i++)
		if (strlen(hosts->id[i]) == host->len &&
		    memcmp(hosts->id[i], host->data, host->len) == 0)
			return true;
	return hosts->n == 0 || host->len == 0;
}

/* One of the hosts is among those that the order names. */
static bool concerns(const struct host_ids *hosts, const struct found_order *x)
{
	for (size_t i = 0; x->order && i < x->order->n_hosts; i++)
		if (of_host(hosts, &x->order->hosts[i]))
			return true;
	return hosts->n == 0;
}

static bool in_time(const struct args *a, const struct found_order *x)
{
	int64_t made_ns = x->n_steps ? x->steps[0]->wall_ns : 0;

	return (!a->since_ns || made_ns >= a->since_ns) && (!a->until_ns || made_ns < a->until_ns);
}

/* ---- a list ---------------------------------------------------------------------------------------------- */

/* "ann" of spiffe://DOMAIN/TENANT/responder/ann. */
static void add_person(struct table *t, const ProtobufCBinaryData *name)
{
	struct identity who;

	if (identity_parse_spiffe((const char *)name->data, name->len, &who, NULL) == 0)
		table_add(t, COLOR_NONE, "%s", who.name);
	else
		table_add_bytes(t, COLOR_NONE, name->data, name->len);
}

/* all: who did this step; else whose order it is. */
static void add_row(struct table *t, const struct found_order *x,
		    const Exhibit__V1__OrderStep *step, bool all)
{
	const char *kind = order_kind_name(step->kind);
	char at[CLOCK_TEXT_MAX], id[ORDER_ID_TEXT], note[ERROR_TEXT_MAX + 512];

	order_step_note(step, note, sizeof(note));
	table_add(t, COLOR_DIM, "%s", outcome_time(step->wall_ns, 0, at));
	table_add(t, COLOR_BOLD, "%.8s", order_id_text(&step->order_id, id));
	table_add(t, COLOR_NONE, "%s", kind ? kind : "?");
	table_add_bytes(t, COLOR_NONE, step->host_id.data, step->host_id.len);
	table_add(t, order_state_color(step->state), "%s", order_state_name(step->state));
	table_add_bytes(t, COLOR_NONE, step->case_id.data, step->case_id.len);
	add_person(t, !x->order || (all && step->actor.len) ? &step->actor : &x->order->requester);
	table_add_bytes(t, COLOR_NONE, note, strlen(note));
}

/* The newest step of each host, or of the whole while hosts said nothing. */
static bool is_newest(const struct found_order *x, size_t i)
{
	const ProtobufCBinaryData *host = &x->steps[i]->host_id;

	for (size_t k = i + 1; k < x->n_steps; k++) {
		const ProtobufCBinaryData *later = &x->steps[k]->host_id;

		if (host->len == 0 ||
		    (later->len == host->len && memcmp(later->data, host->data, host->len) == 0))
			return false;
	}
	return true;
}

/* all: every step; else what became of it so far. */
static void show(const struct args *a, const struct host_ids *hosts, const struct found_orders *f,
		 bool all, struct outcome *o)
{
	AUTO(table_free_ptr) struct table *t = table_new(headers);
	struct screen s;

	screen_init(&s, a);
	for (size_t i = 0; t && i < f->n; i++)
		for (size_t k = 0; k < f->at[i].n_steps; k++) {
			const Exhibit__V1__OrderStep *step = f->at[i].steps[k];

			if ((!all && !is_newest(&f->at[i], k)) || !in_time(a, &f->at[i]) ||
			    !concerns(hosts, &f->at[i]) || !of_host(hosts, &step->host_id))
				continue;
			o->rows++;
			if (s.table)
				add_row(t, &f->at[i], step, all);
			else
				order_step_json(s.out, f->at[i].order, step, NULL);
		}
	if (t && s.table && o->rows)
		table_print(t, &s);
}

static int follow(const struct args *a, struct found_order *x)
{
	Exhibit__V1__OrdersQuery q = EXHIBIT__V1__ORDERS_QUERY__INIT;
	AUTO(order_watch_release) struct order_watch w = { 0 };
	struct error e = { 0 };

	if (!x->order) {
		(void)error_set(&e, -EBADMSG, "this order cannot be read by this version");
		return outcome_failure(&e);
	}
	order_watch_begin(&w, a, x->order);
	x->order = NULL;
	w.made = true;
	q.order_id = (ProtobufCBinaryData){ sizeof(w.id), w.id };
	q.follow = true;
	if (order_watch_run(&w, LIST_PATH, &q, ORDER_WATCH_OVER, &e) < 0)
		return outcome_failure(&e);
	return order_watch_show(&w);
}

int verb_orders(const struct args *a)
{
	AUTO(orders_found_release) struct found_orders f = { 0 };
	AUTO(host_ids_release) struct host_ids hosts = { 0 };
	struct outcome o = { 0 };
	struct error e = { 0 };
	int r;

	if (a->follow && !a->object)
		r = error_set(&e, -EINVAL, "--follow takes an order's id");
	else
		r = a->object ? orders_find_one(a, a->object, &f, &e) : orders_find(a, "", &f, &e);
	if (r == 0 && a->n_hosts)
		r = host_ids_find(a, &hosts, &e);
	if (r < 0)
		return outcome_failure(&e);
	if (a->follow)
		return follow(a, &f.at[0]);
	show(a, &hosts, &f, a->object != NULL, &o);
	if (f.looked && !a->object)
		(void)fprintf(
			stderr,
			"cut by --limit: only the newest %" PRIu64
			" orders were looked at; --limit takes up to %d, --case all of one case\n",
			f.looked, ORDERS_LOOK_MAX);
	return outcome_exit(&o);
}

/* ---- approve --------------------------------------------------------------------------------------------- */

/* A script says --yes, or what a person would answer: silence is no consent. */
static int ask_person(const struct args *a, struct error *e)
{
	char line[8];

	if (a->yes)
		return 0;
	(void)fputs("sign it? [y/N] ", stderr);
	if (fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y'))
		return 0;
	if (isatty(STDIN_FILENO) != 1)
		(void)fputc('\n', stderr);
	(void)error_set(e, -ECANCELED, "nothing is signed");
	error_hint(e, "answer y, or give --yes");
	return -ECANCELED;
}

static int send_approval(const struct args *a, const struct found_order *x,
			 Exhibit__V1__OrderSignature *signature, struct found_orders *ret,
			 struct error *e)
{
	Exhibit__V1__ApproveRequest q = EXHIBIT__V1__APPROVE_REQUEST__INIT;
	AUTO(session_free_ptr) struct session *s = NULL;
	char id[ORDER_ID_TEXT];
	int r;

	q.order_id = x->order->order_id;
	q.approval = signature;
	r = session_open(a, APPROVE_PATH, &q, &s, e);
	while (r >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			break;
	}
	session_free(TAKE(s));
	return r < 0 ? r : orders_find_one(a, order_id_text(&x->order->order_id, id), ret, e);
}

static int approve(const struct args *a, const struct found_order *x, struct found_orders *ret,
		   struct error *e)
{
	Exhibit__V1__OrderSignature signature = EXHIBIT__V1__ORDER_SIGNATURE__INIT;
	AUTO(order_signer_free_ptr) struct order_signer *signer = NULL;
	int r;

	if (!x->order)
		return error_set(e, -EBADMSG,
				 "this order cannot be read by this version, so it "
				 "cannot be approved");
	order_describe(stderr, x->order);
	r = ask_person(a, e);
	if (r == 0)
		r = person_signer(a, &signer, e);
	if (r == 0)
		r = order_sign(signer, ORDER_DOMAIN_APPROVAL, x->signed_order->order.data,
			       x->signed_order->order.len, &signature, e);
	if (r == 0)
		r = send_approval(a, x, &signature, ret, e);
	order_signature_release(&signature);
	return r;
}

int verb_approve(const struct args *a)
{
	AUTO(orders_found_release) struct found_orders f = { 0 }, after = { 0 };
	struct outcome o = { 0 };
	struct error e = { 0 };
	int r = orders_find_one(a, a->object, &f, &e);

	if (r == 0)
		r = approve(a, &f.at[0], &after, &e);
	if (r < 0)
		return outcome_failure(&e);
	show(a, &(struct host_ids){ 0 }, &after, true, &o);
	return outcome_exit(&o);
}
