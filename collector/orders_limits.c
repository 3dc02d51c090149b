/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/orders_internal.h"

/* The caller's bucket; the one unused for longest makes room. */
static struct caller *caller_of(struct orders *o, const char *name)
{
	struct caller *oldest = &o->callers[0];

	for (size_t i = 0; i < ORDERS_CALLERS; i++) {
		struct caller *c = &o->callers[i];

		if (strcmp(c->name, name) == 0)
			return c;
		if (c->at_ns < oldest->at_ns)
			oldest = c;
	}
	(void)snprintf(oldest->name, sizeof(oldest->name), "%s", name);
	oldest->tokens = (double)o->c.per_minute;
	oldest->at_ns = o->c.now();
	return oldest;
}

int orders_limit_caller(struct orders *o, const struct identity *who, struct error *e)
{
	double most = (double)o->c.per_minute, per_ns = most / 60.0 / (double)NSEC_PER_SEC;
	char name[IDENTITY_SPIFFE_MAX];
	struct caller *c = caller_of(o, identity_spiffe(who, name));
	int64_t now = o->c.now();

	/* A clock that is set back refills nothing. */
	if (now > c->at_ns)
		c->tokens += per_ns * (double)(now - c->at_ns);
	c->at_ns = now;
	if (c->tokens > most)
		c->tokens = most;
	if (c->tokens >= 1) {
		c->tokens -= 1;
		return 0;
	}
	(void)error_set(e, -EDQUOT, "'%s' has given more than %llu orders within a minute",
			who->name, (unsigned long long)o->c.per_minute);
	error_hint(e, "wait %d s; the limit is the collector's orders.per-minute",
		   (int)((1 - c->tokens) / per_ns / (double)NSEC_PER_SEC) + 1);
	return -EDQUOT;
}

static uint64_t open_for(const struct orders *o, const struct batch_name *tenant,
			 const ProtobufCBinaryData *host)
{
	uint64_t n = 0;

	for (const struct open_order *x = o->open; x; x = x->next) {
		if (!batch_name_equal(&x->tenant, tenant))
			continue;
		for (size_t i = 0; i < x->n_targets; i++)
			if (x->targets[i].host.len == host->len &&
			    memcmp(x->targets[i].host.b, host->data, host->len) == 0)
				n += !orders_is_over(x->targets[i].state);
	}
	return n;
}

int orders_limit_hosts(struct orders *o, const struct batch_name *tenant,
		       const Exhibit__V1__Order *order, struct error *e)
{
	if (o->n_open >= ORDERS_OPEN_MAX)
		return error_set(e, -EDQUOT, "%d orders are open, more are not taken",
				 ORDERS_OPEN_MAX);
	for (size_t i = 0; i < order->n_hosts; i++) {
		const ProtobufCBinaryData *host = &order->hosts[i];

		if (open_for(o, tenant, host) < o->c.per_host)
			continue;
		(void)error_set(e, -EDQUOT, "%llu orders for host '%.*s' are open already",
				(unsigned long long)o->c.per_host, (int)host->len,
				(const char *)host->data);
		error_hint(e,
			   "wait until one is over; the limit is the collector's orders.per-host");
		return -EDQUOT;
	}
	return 0;
}
