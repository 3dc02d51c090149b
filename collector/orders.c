/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/orders.h"

#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define NOTES_MAX 65536
#define TICK_MS 500

/* ---- the thread ------------------------------------------------------------------------------------------ */

static void drop_closed(struct orders *o)
{
	struct peer **at = &o->peers;

	while (*at) {
		struct peer *p = *at;

		if (!atomic_load(&p->closed)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		orders_agent_gone(p);
		peer_unref(p);
	}
}

static void take_open(struct orders *o, struct peer *p)
{
	(void)atomic_fetch_add(&p->refs, 1);
	p->next = o->peers;
	o->peers = p;
}

static void take_goodbye(struct orders *o)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;
	Exhibit__V1__Goodbye bye = EXHIBIT__V1__GOODBYE__INIT;
	struct error e = { 0 };

	(void)error_set(&e, -ESHUTDOWN, "the collector is stopping");
	bye.reason = orders_bytes("stopping", 8);
	bye.retry_after_ms = 1000;
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_GOODBYE;
	reply.goodbye = &bye;
	for (struct peer *p = o->peers; p; p = p->next) {
		if (p->greeted)
			peer_send(p, &reply.base);
		peer_end(p, RPC_UNAVAILABLE, &e);
	}
}

static void take_message(struct peer *p, const struct note *n)
{
	if (p->ended || atomic_load(&p->closed))
		return;
	p->method->take(p, n->data, n->len);
	if (p->method->many && !p->ended)
		rpc_stream_want_read(p->stream, true);
}

static void take_note(struct orders *o, struct note *n)
{
	switch (n->kind) {
	case NOTE_OPEN:
		take_open(o, n->peer);
		break;
	case NOTE_MESSAGE:
		take_message(n->peer, n);
		break;
	case NOTE_ROOM:
		peer_pump(n->peer);
		break;
	case NOTE_CLOSED:
		drop_closed(o);
		break;
	case NOTE_GOODBYE:
		take_goodbye(o);
		break;
	}
	peer_unref(n->peer);
	free(n->data);
	free(n);
}

static void tick(struct orders *o)
{
	drop_closed(o);
	if (atomic_load(&o->closing))
		take_goodbye(o);
	orders_state_tick(o);
	orders_agents_tick(o);
	for (struct peer *p = o->peers; p; p = p->next)
		peer_pump(p);
}

static void *run(void *arg)
{
	struct orders *o = arg;
	uint64_t ticked = clock_monotonic_ns();

	while (!atomic_load(&o->stop)) {
		struct note *n = queue_pop(o->notes, TICK_MS);
		uint64_t now = clock_monotonic_ns();

		if (n)
			take_note(o, n);
		if (now - ticked < TICK_MS * NSEC_PER_MSEC)
			continue;
		ticked = now;
		tick(o);
	}
	return NULL;
}

/* ---- its beginning and end ------------------------------------------------------------------------------- */

static int parse_approval(const char *word, uint8_t ret[static ORDERS_KINDS_MAX], struct error *e)
{
	Exhibit__V1__OrderKind kind;
	const char *equals = strchr(word, '=');
	char name[32];
	bool all;

	if (equals && (size_t)(equals - word) < sizeof(name) && equals[1] >= '0' &&
	    equals[1] <= '0' + ORDER_APPROVALS_MAX && equals[2] == '\0') {
		memcpy(name, word, (size_t)(equals - word));
		name[equals - word] = '\0';
		all = strcmp(name, "all") == 0;
		if (all)
			memset(ret, equals[1] - '0', ORDERS_KINDS_MAX);
		else if (order_kind_parse(name, &kind) && (size_t)kind < ORDERS_KINDS_MAX)
			ret[kind] = (uint8_t)(equals[1] - '0');
		else
			equals = NULL;
		if (equals)
			return 0;
	}
	(void)error_set(e, -EINVAL, "orders.require-approvals: '%s' is not KIND=N", word);
	error_hint(e, "such as memory=1, or all=2; at most %d", ORDER_APPROVALS_MAX);
	return -EINVAL;
}

int orders_parse_approvals(const struct option_list *list, uint8_t ret[static ORDERS_KINDS_MAX],
			   struct error *e)
{
	int r = 0;

	_Static_assert(EXHIBIT__V1__ORDER_KIND__ORDER_ARREST < ORDERS_KINDS_MAX, "room for kinds");
	memset(ret, 0, ORDERS_KINDS_MAX);
	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = parse_approval(list->item[i], ret, e);
	return r;
}

static void orders_free_ptr(struct orders **o)
{
	orders_free(*o);
}

static int make_slots(struct orders *o)
{
	size_t n = 0;

	while (orders_method_at(n))
		n++;
	o->slots = calloc(n, sizeof(*o->slots));
	for (size_t i = 0; o->slots && i < n; i++)
		o->slots[i] = (struct method_slot){ o, orders_method_at(i) };
	return o->slots ? 0 : -ENOMEM;
}

int orders_start(const struct orders_config *c, struct orders **ret, struct error *e)
{
	AUTO(orders_free_ptr) struct orders *o = calloc(1, sizeof(*o));
	int r;

	if (!o)
		return error_set(e, -ENOMEM, "cannot start orders: out of memory");
	o->c = *c;
	(void)pthread_rwlock_init(&o->trust, NULL);
	(void)pthread_rwlock_init(&o->revoked, NULL);
	o->notes = queue_new(NOTES_MAX);
	o->callers = calloc(ORDERS_CALLERS, sizeof(*o->callers));
	o->by_host = calloc(ORDERS_BUCKETS, sizeof(struct peer *));
	if (!o->notes || !o->callers || !o->by_host || make_slots(o) < 0)
		return error_set(e, -ENOMEM, "cannot start orders: out of memory");
	r = orders_store_open(c->dir, &o->store, e);
	if (r == 0)
		r = orders_load_lists(o, e);
	if (r == 0)
		r = orders_load_open(o, e);
	if (r < 0)
		return r;
	r = -pthread_create(&o->thread, NULL, run, o);
	if (r < 0)
		return error_set(e, r, "cannot start the orders' thread: %m");
	(void)pthread_setname_np(o->thread, "orders");
	o->started = true;
	*ret = TAKE(o);
	return 0;
}

int orders_register(struct orders *o, struct rpc_server *server, struct error *e)
{
	const struct orders_method *m;
	int r = 0;

	for (size_t i = 0; r == 0 && (m = orders_method_at(i)); i++)
		r = rpc_server_method(server,
				      &(struct rpc_method){ .path = m->path,
							    .allow = m->allow,
							    .on_open = orders_peer_open,
							    .ctx = &o->slots[i],
							    .first_message_ms =
								    m->first_message_ms },
				      e);
	return r;
}

void orders_trust(struct orders *o, const struct authorities *a)
{
	(void)pthread_rwlock_wrlock(&o->trust);
	o->c.authorities = a;
	(void)pthread_rwlock_unlock(&o->trust);
}

void orders_goodbye(struct orders *o)
{
	struct note *n = calloc(1, sizeof(*n));

	atomic_store(&o->closing, true);
	if (n)
		n->kind = NOTE_GOODBYE;
	/* Without it the next tick sees that we are closing. */
	if (n && !queue_try_push(o->notes, n))
		free(n);
}

void orders_free(struct orders *o)
{
	struct note *n;

	if (!o)
		return;
	atomic_store(&o->stop, true);
	if (o->notes)
		queue_close(o->notes);
	if (o->started)
		(void)pthread_join(o->thread, NULL);
	while (o->notes && (n = queue_pop(o->notes, 0))) {
		peer_unref(n->peer);
		free(n->data);
		free(n);
	}
	while (o->peers) {
		struct peer *next = o->peers->next;

		peer_unref(o->peers);
		o->peers = next;
	}
	queue_free(o->notes);
	orders_free_open(o);
	orders_free_lists(o);
	orders_store_close(o->store);
	free(o->callers);
	free(o->by_host);
	free(o->slots);
	(void)pthread_rwlock_destroy(&o->trust);
	(void)pthread_rwlock_destroy(&o->revoked);
	free(o);
}

/* ---- for the vault --------------------------------------------------------------------------------------- */

static void copy_name(const ProtobufCBinaryData *from, struct batch_name *to)
{
	to->len = (uint8_t)(from->len < BATCH_NAME_MAX ? from->len : BATCH_NAME_MAX);
	memcpy(to->b, from->data, to->len);
}

static int describe(const Exhibit__V1__SignedOrder *s, struct orders_sent *ret, struct error *e)
{
	Exhibit__V1__Order *order = NULL;
	int r = order_parse(s->order.data, s->order.len, &order, e);

	if (r < 0)
		return r;
	ret->kind = order->kind;
	ret->max_bytes = order->limits ? order->limits->max_bytes : 0;
	copy_name(&order->case_id, &ret->case_id);
	copy_name(&order->requester, &ret->requester);
	exhibit__v1__order__free_unpacked(order, NULL);
	return 0;
}

int orders_sent(struct orders *o, const struct batch_name *tenant, const struct batch_name *host,
		const uint8_t id[static ORDER_ID_LEN], struct orders_sent *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	Exhibit__V1__SignedOrder *s;
	size_t len;
	int r = orders_store_sent(o->store, tenant, id, host, &data, &len, &ret->over, e);

	if (r < 0)
		return r;
	s = exhibit__v1__signed_order__unpack(NULL, len, data);
	if (!s)
		return error_set(e, -EBADMSG, "a stored order cannot be read");
	r = describe(s, ret, e);
	exhibit__v1__signed_order__free_unpacked(s, NULL);
	return r;
}
