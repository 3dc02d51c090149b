/* SPDX-License-Identifier: Apache-2.0 */
/* Agent.Orders: what hosts say, and the checkpoints that they are told. */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"
#include "proto/base/version.h"

#define TELL_NS (10 * (int64_t)NSEC_PER_SEC) /* between two checkpoints for one host */

/* FNV-1a: only our own fleet's hosts have names here. */
static struct peer **bucket_of(struct orders *o, const struct batch_name *host)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < host->len; i++)
		hash = (hash ^ host->b[i]) * 16777619U;
	return &o->by_host[hash % ORDERS_BUCKETS];
}

static bool is_host(const struct peer *p, const struct batch_name *tenant,
		    const struct batch_name *host)
{
	return batch_name_equal(&p->host, host) && batch_name_equal(&p->tenant, tenant);
}

struct peer *orders_agent_of(struct orders *o, const struct batch_name *tenant,
			     const struct batch_name *host)
{
	for (struct peer *p = *bucket_of(o, host); p; p = p->host_next)
		if (is_host(p, tenant, host) && !p->ended && !atomic_load(&p->closed))
			return p;
	return NULL;
}

/* One host's streams cost a bounded amount; whoever opens more ends its own oldest. */
static void end_oldest(const struct peer *newest)
{
	struct peer *oldest = NULL;
	struct error e = { 0 };
	size_t n = 0;

	for (struct peer *p = newest->host_next; p; p = p->host_next)
		if (is_host(p, &newest->tenant, &newest->host) && !p->ended) {
			oldest = p;
			n++;
		}
	if (n < ORDERS_STREAMS_PER_HOST)
		return;
	(void)error_set(&e, -EBUSY, "this host has opened newer streams of orders");
	peer_end(oldest, RPC_ABORTED, &e);
}

static void agent_came(struct peer *p)
{
	struct peer **bucket = bucket_of(p->orders, &p->host);

	p->greeted = true;
	p->greeted_ns = p->orders->c.now();
	p->host_next = *bucket;
	*bucket = p;
	end_oldest(p);
}

void orders_agent_gone(struct peer *p)
{
	struct peer **at = p->greeted ? bucket_of(p->orders, &p->host) : NULL;

	for (; at && *at; at = &(*at)->host_next)
		if (*at == p) {
			*at = p->host_next;
			return;
		}
}

static void tell_checkpoint(struct peer *p)
{
	struct orders *o = p->orders;
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;
	AUTO(free_ptr) uint8_t *data = NULL;
	struct error e = { 0 };
	uint64_t size = 0;
	size_t len;

	p->told_ns = o->c.now();
	if (!o->c.checkpoint)
		return;
	if (o->c.checkpoint(o->c.ledger_ctx, p->tree_size, &data, &len, &size, &e) < 0) {
		log_failure(LOG_LEVEL_WARN, "a host is not told of a checkpoint", &e);
		return;
	}
	/* A smaller log than the host knows is told too: the host is to see it. */
	if (size == p->tree_size)
		return;
	reply.ledger = exhibit__v1__ledger_update__unpack(NULL, len, data);
	if (!reply.ledger)
		return;
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_LEDGER;
	peer_send(p, &reply.base);
	p->tree_size = size;
	exhibit__v1__ledger_update__free_unpacked(reply.ledger, NULL);
}

void orders_agents_tick(struct orders *o)
{
	int64_t now = o->c.now();

	for (struct peer *p = o->peers; p; p = p->next)
		if (p->greeted && !p->ended && (now - p->told_ns >= TELL_NS || now < p->told_ns))
			tell_checkpoint(p);
}

/* ---- messages ------------------------------------------------------------------------------------------- */

static void reply_hello(struct peer *p)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;
	Exhibit__V1__HelloReply hello = EXHIBIT__V1__HELLO_REPLY__INIT;

	hello.protocol = 1;
	hello.version = orders_bytes(VERSION, strlen(VERSION));
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_HELLO;
	reply.hello = &hello;
	peer_send(p, &reply.base);
}

static int take_hello(struct peer *p, const Exhibit__V1__OrdersHello *m, struct error *e)
{
	struct tenant_list *list;
	int r;

	if (p->greeted)
		return error_set(e, -EBADMSG, "a second hello on one stream");
	if (!m->hello)
		return error_set(e, -EBADMSG, "the hello is empty");
	if (m->hello->protocol_min > 1 || m->hello->protocol_max < 1)
		return error_set(
			e, -EPROTONOSUPPORT,
			"this collector speaks protocol 1, the agent %u to %u; upgrade the older one",
			m->hello->protocol_min, m->hello->protocol_max);
	r = orders_list_of(p->orders, &p->tenant, &list, e);
	if (r < 0)
		return r;
	agent_came(p);
	p->list_number = m->revocations;
	p->tree_size = m->checkpoint_size;
	if (p->orders->c.held)
		p->orders->c.held(p->orders->c.held_ctx, &p->tenant, &p->host, m->checkpoint.data,
				  m->checkpoint.len);
	reply_hello(p);
	/* Before any order: an order of somebody who was revoked meanwhile is refused. */
	orders_send_list(p, list);
	tell_checkpoint(p);
	orders_state_tick(p->orders);
	return 0;
}

static void take_contradiction(const struct peer *p, const Exhibit__V1__LedgerContradiction *m)
{
	log_error(
		"ALARM: a host holds a checkpoint that this ledger contradicts; was the collector set "
		"back to an old copy?",
		KV_STR("host", p->who.name), KV_BYTES("held", m->held.data, m->held.len),
		KV_BYTES("offered", m->offered.data, m->offered.len));
}

static void reply_clock(struct peer *p, const Exhibit__V1__ClockProbe *m, int64_t received_ns)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;
	Exhibit__V1__ClockReply clock = EXHIBIT__V1__CLOCK_REPLY__INIT;

	clock.sent_ns = m->sent_ns;
	clock.received_ns = received_ns;
	clock.answered_ns = p->orders->c.now();
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_CLOCK;
	reply.clock = &clock;
	peer_send(p, &reply.base);
}

static int take_message(struct peer *p, const Exhibit__V1__OrdersRequest *m, int64_t received_ns,
			struct error *e)
{
	if (m->kind_case == EXHIBIT__V1__ORDERS_REQUEST__KIND_HELLO)
		return take_hello(p, m->hello, e);
	if (!p->greeted)
		return error_set(e, -EBADMSG, "the first message is no hello");
	switch (m->kind_case) {
	case EXHIBIT__V1__ORDERS_REQUEST__KIND_STEP:
		return orders_host_step(p->orders, p, m->step, e);
	case EXHIBIT__V1__ORDERS_REQUEST__KIND_CONTRADICTION:
		take_contradiction(p, m->contradiction);
		return 0;
	case EXHIBIT__V1__ORDERS_REQUEST__KIND_CLOCK:
		reply_clock(p, m->clock, received_ns);
		return 0;
	case EXHIBIT__V1__ORDERS_REQUEST__KIND_HELLO:
	case EXHIBIT__V1__ORDERS_REQUEST__KIND__NOT_SET: /* of a later version */
	case _EXHIBIT__V1__ORDERS_REQUEST__KIND__CASE_IS_INT_SIZE:
		break;
	}
	return 0;
}

void orders_agent_take(struct peer *p, const uint8_t *data, size_t len)
{
	int64_t received_ns = p->orders->c.now();
	Exhibit__V1__OrdersRequest *m = exhibit__v1__orders_request__unpack(NULL, len, data);
	struct error e = { 0 };
	int r = m ? take_message(p, m, received_ns, &e) :
		    error_set(&e, -EBADMSG, "the message cannot be read");

	if (m)
		exhibit__v1__orders_request__free_unpacked(m, NULL);
	if (r == 0)
		return;
	log_warn("a host's orders stream is ended", KV_STR("host", p->who.name),
		 KV_STR("why", e.text));
	peer_end(p, r == -EBADMSG || r == -EPROTONOSUPPORT ? RPC_INVALID_ARGUMENT : RPC_INTERNAL,
		 &e);
}
