/* SPDX-License-Identifier: Apache-2.0 */
/* Orders and the hosts that they name: what a host says of one, and when it is sent one. */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"
#include "proto/base/log.h"

#define S(word) EXHIBIT__V1__ORDER_STATE__ORDER_##word
#define BIT(word) (1U << (S(word)))
#define REASON_MAX 1000
/* What was sent may have begun on a host that is away now: its word is awaited for so long after the order's
 * end. */
#define LATE_NS (15 * 60 * (int64_t)NSEC_PER_SEC)
/* What has begun runs for 7 days at most (proto/order.c). A host that says nothing of it for longer is gone, or has
 * forgotten it; for ever open it would count against what one host may have open. */
#define SILENT_NS (8 * 86400 * (int64_t)NSEC_PER_SEC)
/* A host that is back says first what it could not say: only then is an order sent to it again. */
#define SETTLE_NS (5 * (int64_t)NSEC_PER_SEC)
#define TELL_NS (10 * (int64_t)NSEC_PER_SEC) /* between two log lines */

/* What a host may say, and after what: a late or repeated word changes nothing. */
static const struct {
	Exhibit__V1__OrderState state;
	unsigned int after;
} host_says[] = {
	{ S(REFUSED), BIT(SENT) },
	{ S(STARTED), BIT(SENT) },
	{ S(PROGRESS), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
	{ S(DONE), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
	{ S(FAILED), BIT(SENT) | BIT(STARTED) | BIT(PROGRESS) },
};

static struct target *target_of(struct open_order *x, const struct batch_name *host)
{
	for (size_t i = 0; i < x->n_targets; i++)
		if (batch_name_equal(&x->targets[i].host, host))
			return &x->targets[i];
	return NULL;
}

static bool may_follow(Exhibit__V1__OrderState state, Exhibit__V1__OrderState before)
{
	for (size_t i = 0; i < ARRAY_LEN(host_says); i++)
		if (host_says[i].state == state)
			return (host_says[i].after & (1U << before)) != 0;
	return false;
}

/* An agent that was started again goes on, and says so: once. */
static bool began_again(const Exhibit__V1__OrderStep *said, const struct target *t)
{
	return said->state == S(STARTED) && (t->state == S(STARTED) || t->state == S(PROGRESS)) &&
	       said->wall_ns > t->said_ns && t->n_steps < ORDERS_STEPS_MAX;
}

static bool may_say(Exhibit__V1__OrderState state)
{
	for (size_t i = 0; i < ARRAY_LEN(host_says); i++)
		if (host_says[i].state == state)
			return true;
	return false;
}

static int check_host_step(const Exhibit__V1__OrderStep *step, struct error *e)
{
	if (step->order_id.len != ORDER_ID_LEN || !may_say(step->state) ||
	    step->reason.len > REASON_MAX ||
	    (step->exhibit_id.len != 0 && step->exhibit_id.len != 16) ||
	    (step->manifest_sha256.len != 0 && step->manifest_sha256.len != SEAL_HASH_LEN))
		return error_set(e, -EBADMSG, "a step of an order is malformed");
	return 0;
}

int orders_host_step(struct orders *o, const struct peer *p, const Exhibit__V1__OrderStep *said,
		     struct error *e)
{
	struct open_order *x;
	struct target *t;
	char actor[IDENTITY_SPIFFE_MAX];
	int r = check_host_step(said, e);

	if (r < 0)
		return r;
	x = orders_find_open(o, &p->tenant, said->order_id.data);
	t = x ? target_of(x, &p->host) : NULL;
	if (t)
		t->heard_ns = o->c.now();
	/* Over, or never this host's: neither is worth a stream, hosts repeat what they are not sure of. */
	if (!t || (!may_follow(said->state, t->state) && !began_again(said, t))) {
		log_debug("a host's step changes nothing", KV_STR("host", p->who.name),
			  KV_STR("state", order_state_name(said->state)));
		return 0;
	}
	Exhibit__V1__OrderStep step = orders_step_of(o, x, said->state);

	/* Who it is and what it is about is ours to say. */
	step.host_id = orders_name_bytes(&p->host);
	(void)identity_spiffe(&p->who, actor);
	step.actor = orders_bytes(actor, strlen(actor));
	step.reason = said->reason;
	step.bytes_done = said->bytes_done;
	step.bytes_total = said->bytes_total;
	step.exhibit_id = said->exhibit_id;
	step.manifest_sha256 = said->manifest_sha256;
	/* It is said again when a stream began anew. */
	step.lasting = said->lasting && said->wall_ns > t->said_ns;
	if (said->wall_ns > 0)
		step.wall_ns = said->wall_ns;
	r = orders_take_step(o, x, t, &step, e);
	if (r == 0)
		orders_close_over(o, x);
	return r;
}

/* ---- where it goes -------------------------------------------------------------------------------------- */

static void our_step(struct orders *o, struct open_order *x, struct target *t,
		     Exhibit__V1__OrderState state, const char *reason)
{
	Exhibit__V1__OrderStep step = orders_step_of(o, x, state);
	struct error e = { 0 };

	step.host_id = orders_name_bytes(&t->host);
	step.reason = orders_bytes(reason, strlen(reason));
	if (orders_take_step(o, x, t, &step, &e) == 0 ||
	    (o->told_failure_ns <= step.wall_ns && step.wall_ns < o->told_failure_ns + TELL_NS))
		return;
	/* It is tried again with every look at the order. */
	o->told_failure_ns = step.wall_ns;
	log_failure(LOG_LEVEL_ERROR, "a step of an order cannot be stored", &e);
}

static bool send_to(struct peer *host, const struct open_order *x)
{
	Exhibit__V1__OrdersReply reply = EXHIBIT__V1__ORDERS_REPLY__INIT;

	reply.order = exhibit__v1__signed_order__unpack(NULL, x->len, x->signed_order);
	if (!reply.order)
		return false;
	reply.kind_case = EXHIBIT__V1__ORDERS_REPLY__KIND_ORDER;
	peer_send(host, &reply.base);
	exhibit__v1__signed_order__free_unpacked(reply.order, NULL);
	return !host->ended;
}

/* It is not known whether the host got it: after a restart of ours, or on a new stream of the host's. */
static bool send_again(const struct target *t, const struct peer *host, int64_t now)
{
	return t->state == S(SENT) && t->sent_ns < host->greeted_ns &&
	       now - host->greeted_ns >= SETTLE_NS;
}

/* Once more, as hosts will: a list that came meanwhile may name who signed it, and a certificate may be over.
 * A host would take what it refuses for this collector's own making. */
static int check_still(struct orders *o, const struct open_order *x, struct error *e)
{
	char tenant[IDENTITY_PART_MAX + 1];
	struct order_context c = { .tenant = tenant, .now_ns = o->c.now() };
	struct order_checked checked;
	struct tenant_list *list;
	struct identity who;
	int r = orders_list_of(o, &x->tenant, &list, e);

	if (r == 0)
		r = identity_parse_spiffe((const char *)x->order->requester.data,
					  x->order->requester.len, &who, e);
	if (r < 0)
		return r;
	(void)snprintf(tenant, sizeof(tenant), "%.*s", (int)x->tenant.len,
		       (const char *)x->tenant.b);
	c.domain = who.domain;
	c.revocations = list->revocations;
	(void)pthread_rwlock_rdlock(&o->trust);
	c.authorities = o->c.authorities;
	r = order_check(&c, x->signed_order, x->len, &checked, e);
	(void)pthread_rwlock_unlock(&o->trust);
	if (r == 0)
		order_checked_release(&checked);
	return r;
}

static void dispatch_to(struct orders *o, struct open_order *x, struct target *t, int64_t now)
{
	struct peer *host = orders_agent_of(o, &x->tenant, &t->host);
	bool first = t->state == S(MADE) || t->state == S(WAITING);
	struct error e = { 0 };

	if (!host && t->state == S(MADE)) {
		our_step(o, x, t, S(WAITING), "the host is away");
		return;
	}
	if (!host || (!first && !send_again(t, host, now)))
		return;
	if (first && check_still(o, x, &e) < 0) {
		our_step(o, x, t, S(REFUSED), e.text);
		return;
	}
	/* Stored before it is sent: an upload that follows at once must find it. */
	if (first)
		our_step(o, x, t, S(SENT), "");
	if (t->state == S(SENT) && send_to(host, x))
		t->sent_ns = now;
}

static bool has_expired(const struct open_order *x, const struct target *t, int64_t now)
{
	if (t->state == S(MADE) || t->state == S(WAITING))
		return now > x->order->expires_ns;
	if (t->state == S(SENT))
		return now > x->order->expires_ns + LATE_NS;
	return now > t->heard_ns + SILENT_NS;
}

static const char *why_expired(const struct target *t, bool ready)
{
	if (t->state == S(MADE) || t->state == S(WAITING))
		return ready ? "the host did not return in time" :
			       "its approvals did not come in time";
	return t->state == S(SENT) ? "the host never said what became of it" :
				     "the host began, and has said nothing of it for 8 days";
}

void orders_dispatch(struct orders *o, struct open_order *x)
{
	int64_t now = o->c.now();
	bool ready = x->n_approvals >= o->c.approvals[x->order->kind] &&
		     now >= x->order->not_before_ns;

	for (size_t i = 0; i < x->n_targets; i++) {
		struct target *t = &x->targets[i];

		if (orders_is_over(t->state))
			continue;
		if (t->heard_ns == 0)
			t->heard_ns = now;
		if (has_expired(x, t, now))
			our_step(o, x, t, S(EXPIRED), why_expired(t, ready));
		else if (ready)
			dispatch_to(o, x, t, now);
	}
	orders_close_over(o, x);
}

void orders_state_tick(struct orders *o)
{
	struct open_order *next;

	for (struct open_order *x = o->open; x; x = next) {
		next = x->next;
		orders_dispatch(o, x);
	}
}
