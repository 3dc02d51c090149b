/* SPDX-License-Identifier: Apache-2.0 */
/* Whether an order counts. */
#include <errno.h>

#include "agent/acquire/acquire.h"
#include "agent/orders_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "service.pb-c.h"

#define HOUR_NS (3600 * (int64_t)NSEC_PER_SEC)

int orders_path(const struct orders *o, const char *name, char ret[static PATH_MAX],
		struct error *e)
{
	if (snprintf(ret, PATH_MAX, "%s/%s", o->c.dir, name) < PATH_MAX)
		return 0;
	return error_set(e, -E2BIG, "the folder '%s' has too long a name", o->c.dir);
}

/* A collector checks all of this before it sends an order on: what is false in this way was made, or
 * altered, by the collector itself or on its way from there. */
static bool is_tampering(int r)
{
	return r == -EBADMSG || r == -EACCES;
}

static unsigned int approvals_for(const struct orders *o, const uint8_t *data, size_t len)
{
	Exhibit__V1__SignedOrder *s = exhibit__v1__signed_order__unpack(NULL, len, data);
	Exhibit__V1__Order *order =
		s == NULL ? NULL : exhibit__v1__order__unpack(NULL, s->order.len, s->order.data);
	unsigned int n = order != NULL && order->kind > 0 && (int)order->kind < ORDERS_KINDS ?
				 o->c.policy.approvals[order->kind] :
				 0;

	if (order != NULL)
		exhibit__v1__order__free_unpacked(order, NULL);
	if (s != NULL)
		exhibit__v1__signed_order__free_unpacked(s, NULL);
	return n;
}

static struct order_context context_for(const struct orders *o, const uint8_t *data, size_t len)
{
	return (struct order_context){
		.authorities = o->c.authorities,
		.revocations = o->revocations,
		.domain = o->c.domain,
		.tenant = o->c.host.tenant,
		.host_id = o->c.host.host_id,
		.now_ns = clock_wall_ns(),
		.approvals = approvals_for(o, data, len),
		.clock_skew_ns = (int64_t)(o->c.clock_skew_ms * NSEC_PER_MSEC),
	};
}

/* What an order that does not count says of itself, for those who look into it: NULL when it is nothing at
 * all. Its signatures mean nothing here. */
static Exhibit__V1__Order *order_in(const uint8_t *data, size_t len, struct seal_hash *ret_hash)
{
	Exhibit__V1__SignedOrder *s = exhibit__v1__signed_order__unpack(NULL, len, data);
	Exhibit__V1__Order *order = NULL;

	*ret_hash = (struct seal_hash){ { 0 } };
	if (s != NULL && order_parse(s->order.data, s->order.len, &order, NULL) == 0)
		(void)!seal_sha256(s->order.data, s->order.len, ret_hash);
	if (s != NULL)
		exhibit__v1__signed_order__free_unpacked(s, NULL);
	return order;
}

/* signed_well: by the requester at least. */
static void refuse_unchecked(struct orders *o, const uint8_t *data, size_t len, bool signed_well,
			     const struct error *why)
{
	struct seal_hash hash;
	Exhibit__V1__Order *order = order_in(data, len, &hash);

	if (is_tampering(why->code))
		orders_alarm(o, order, &hash, why->text, (uint32_t)-why->code);
	orders_refuse(o, order, &hash, signed_well, why);
	if (order != NULL)
		exhibit__v1__order__free_unpacked(order, NULL);
}

static int check_target(const struct orders *o, const Exhibit__V1__Order *order, struct error *e)
{
	for (size_t i = 0; i < o->n_runs; i++)
		if (o->runs[i]->phase != RUN_UPLOADING &&
		    orders_policy_same_target(o->runs[i]->order.order, order))
			return error_set(e, -EBUSY,
					 "another order of this kind is acquiring the same target");
	return 0;
}

static int check_load(const struct orders *o, const struct order_checked *order, struct error *e)
{
	char caller[IDENTITY_SPIFFE_MAX];
	int64_t since = clock_wall_ns() - HOUR_NS;
	struct orders_load load = { .last_hour = nonces_since(o->nonces, since, NULL) };

	load.last_hour_caller =
		nonces_since(o->nonces, since, identity_spiffe(&order->requester, caller));
	for (size_t i = 0; i < o->n_runs; i++)
		load.running += o->runs[i]->phase != RUN_UPLOADING;
	if (o->n_runs == RUNS_MAX)
		return error_set(e, -EAGAIN,
				 "%d exhibits of this host wait for the collector to take them",
				 RUNS_MAX);
	return orders_policy_load(&o->c.policy, &load, e);
}

/* What this host itself has to say. The order is taken, once, when this returns 0. */
static int accept_order(struct orders *o, const struct order_checked *order, struct error *e)
{
	char caller[IDENTITY_SPIFFE_MAX];
	int r = orders_policy_kind(&o->c.policy, order->order->kind, e);

	if (r == 0 && acquire_by_kind(order->order->kind) == NULL)
		r = error_set(e, -EOPNOTSUPP, "this agent cannot do orders of kind '%s'",
			      order_kind_name(order->order->kind));
	if (r == 0 && o->nonces == NULL)
		r = error_set(e, -EIO, "%s", o->no_nonces);
	if (r == 0)
		r = check_load(o, order, e);
	if (r == 0)
		r = check_target(o, order->order, e);
	return r < 0 ? r :
		       nonces_take(o->nonces, order->id, order->order->expires_ns, clock_wall_ns(),
				   identity_spiffe(&order->requester, caller), e);
}

void orders_take(struct orders *o, const uint8_t *data, size_t len)
{
	struct order_context c = context_for(o, data, len);
	struct order_checked order = { 0 };
	struct error e = { 0 };
	int r = order_check_keep(&c, data, len, &order, &e);

	orders_say_signed(o, &order);
	if (r < 0) {
		refuse_unchecked(o, data, len, order.requester_good, &e);
		order_checked_release(&order);
		return;
	}
	/* The collector says again what it does not know to have arrived. */
	if (orders_repeat_step(o, order.id)) {
		order_checked_release(&order);
		return;
	}
	r = accept_order(o, &order, &e);
	if (r < 0)
		orders_refuse(o, order.order, &order.hash, true, &e);
	else
		orders_begin(o, &order, data, len);
	order_checked_release(&order);
}

/* ---- revocations ------------------------------------------------------------------------------- */

void orders_take_revocations(struct orders *o, const uint8_t *data, size_t len)
{
	char path[PATH_MAX];
	struct error e = { 0 };
	int r = revocations_take(o->revocations, o->c.authorities, data, len, &e);

	if (r == -EALREADY)
		return;
	if (r == -EBADMSG)
		orders_alarm(o, NULL, NULL, e.text, EBADMSG);
	if (r == 0)
		r = orders_path(o, "revocations", path, &e);
	if (r == 0)
		r = files_replace(path, data, len, 0600, &e);
	if (r < 0) {
		log_failure(LOG_LEVEL_ERROR, "a list of revocations cannot be kept", &e);
		return;
	}
	log_info("a list of revocations was taken",
		 KV_U64("number", revocations_number(o->revocations)));
	orders_tell_held(o);
}

static void post(struct orders *o, enum link_kind kind, const void *body, size_t len)
{
	struct mail *m = mail_new(kind, body, len, -1);

	if (m == NULL || !queue_try_push(o->c.mail->out, m))
		mail_free(m);
}

void orders_tell_held(struct orders *o)
{
	Exhibit__V1__OrdersHello hello = EXHIBIT__V1__ORDERS_HELLO__INIT;
	const char *note = ledger_watch_note(o->ledger, &hello.checkpoint.len);

	hello.revocations = revocations_number(o->revocations);
	hello.checkpoint.data = (uint8_t *)(uintptr_t)note;
	hello.checkpoint_size = ledger_watch_size(o->ledger);
	AUTO(free_ptr)
	uint8_t *packed = malloc(exhibit__v1__orders_hello__get_packed_size(&hello) + 1);

	if (packed != NULL)
		post(o, LINK_HELD, packed, exhibit__v1__orders_hello__pack(&hello, packed));
}

/* ---- the ledger --------------------------------------------------------------------------------- */

void orders_tell_checkpoint(struct orders *o)
{
	struct seal_hash hash;

	if (o->c.checkpoint != NULL && ledger_watch_hash(o->ledger, &hash))
		o->c.checkpoint(o->c.checkpoint_ctx, &hash);
}

static void post_contradiction(struct orders *o, const uint8_t *data, size_t len)
{
	Exhibit__V1__LedgerUpdate *u = exhibit__v1__ledger_update__unpack(NULL, len, data);
	Exhibit__V1__LedgerContradiction c = EXHIBIT__V1__LEDGER_CONTRADICTION__INIT;

	if (u == NULL)
		return;
	c.held.data = (uint8_t *)(uintptr_t)ledger_watch_note(o->ledger, &c.held.len);
	c.offered = u->checkpoint;
	AUTO(free_ptr)
	uint8_t *packed = malloc(exhibit__v1__ledger_contradiction__get_packed_size(&c));

	if (packed != NULL)
		post(o, LINK_CONTRADICTION, packed,
		     exhibit__v1__ledger_contradiction__pack(&c, packed));
	exhibit__v1__ledger_update__free_unpacked(u, NULL);
}

void orders_take_ledger(struct orders *o, const uint8_t *data, size_t len)
{
	struct error e = { 0 };
	int r = ledger_watch_take(o->ledger, data, len, clock_wall_ns() / (int64_t)NSEC_PER_SEC,
				  &e);

	switch (r) {
	case 0:
		orders_tell_checkpoint(o);
		orders_tell_held(o);
		break;
	case -EALREADY:
	case -EAGAIN: /* the next stream begins with what is held */
		break;
	case 1: /* rebuilt, with a new key */
		orders_alarm(o, NULL, NULL, e.text, ESTALE);
		orders_tell_checkpoint(o);
		orders_tell_held(o);
		break;
	case -ESTALE: /* rebuilt; the collector knows from the hello what this host holds */
		orders_alarm(o, NULL, NULL, e.text, ESTALE);
		break;
	case -ECONNREFUSED:
		orders_alarm(o, NULL, NULL, e.text, ECONNREFUSED);
		post_contradiction(o, data, len);
		break;
	case -EBADMSG:
		orders_alarm(o, NULL, NULL, e.text, EBADMSG);
		break;
	default:
		log_failure(LOG_LEVEL_ERROR, "a checkpoint of the ledger cannot be kept", &e);
	}
}
