/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of orders: to the collector over the link, and as events. */
#include <errno.h>

#include "agent/orders_internal.h"
#include "proto/actions.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define ALARMS_MAX 60
#define ALARMS_NS (60 * NSEC_PER_SEC)
#define REASON_MAX 1000

static ProtobufCBinaryData data_of(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)data, .len = len };
}

static ProtobufCBinaryData text_of(const char *text)
{
	size_t len = text == NULL ? 0 : strlen(text);

	return data_of(text, len < REASON_MAX ? len : REASON_MAX);
}

static struct bytes bytes_of(ProtobufCBinaryData b)
{
	return (struct bytes){ .at = b.data, .len = b.len };
}

static void say_event(struct orders *o, const struct event_order *ev, uint32_t action,
		      uint32_t error)
{
	if (!o->c.say(o->c.ctx, ev, action, error))
		log_warn("an event about an order could not be recorded");
}

static void fill_order(Exhibit__V1__OrderStep *step, struct event_order *ev,
		       const Exhibit__V1__Order *order)
{
	if (order == NULL)
		return;
	step->order_id = order->order_id;
	step->kind = order->kind;
	step->case_id = order->case_id;
	ev->order_id = bytes_of(order->order_id);
	ev->kind = (uint32_t)order->kind;
	ev->case_id = bytes_of(order->case_id);
	ev->requester = bytes_of(order->requester);
}

static void begin_step(const struct orders *o, Exhibit__V1__OrderStep *step)
{
	exhibit__v1__order_step__init(step);
	step->host_id = text_of(o->c.host.host_id);
	step->actor = text_of(o->self);
	step->wall_ns = clock_wall_ns();
}

void orders_say(struct orders *o, const struct run *run, const struct orders_said *said)
{
	Exhibit__V1__OrderStep step;
	struct event_order ev = { .state = (uint32_t)said->state, .bytes = run->bytes };

	begin_step(o, &step);
	fill_order(&step, &ev, run->order.order);
	step.state = said->state;
	step.lasting = !said->passing;
	step.reason = text_of(said->reason);
	step.bytes_done = run->bytes;
	step.bytes_total = run->expected_bytes;
	step.exhibit_id = data_of(run->exhibit_id, sizeof(run->exhibit_id));
	if (run->packed != NULL)
		step.manifest_sha256 = data_of(run->manifest_hash.b, sizeof(run->manifest_hash.b));
	ev.reason = bytes_of(step.reason);
	ev.exhibit_id = bytes_of(step.exhibit_id);
	ev.manifest_sha256 = bytes_of(step.manifest_sha256);
	ev.order_sha256 = (struct bytes){ run->order.hash.b, sizeof(run->order.hash.b) };
	orders_send_step(o, &step);
	if (!said->passing)
		say_event(o, &ev, ACTION_ORDER, said->error);
}

/* ---- who signed ---------------------------------------------------------------------------------- */

/* ret_new: nothing was told of this order before. */
static struct orders_told *told_of(struct orders *o, const uint8_t id[static ORDER_ID_LEN],
				   bool *ret_new)
{
	for (size_t i = 0; i < o->n_told; i++)
		if (memcmp(o->told[i].id, id, ORDER_ID_LEN) == 0)
			return &o->told[i];
	struct orders_told *t = &o->told[o->next_told];

	o->next_told = (o->next_told + 1) % STEPS_MAX;
	if (o->n_told < STEPS_MAX)
		o->n_told++;
	*t = (struct orders_told){ 0 };
	memcpy(t->id, id, ORDER_ID_LEN);
	*ret_new = true;
	return t;
}

static bool told_approver(struct orders_told *t, const struct seal_hash *certificate)
{
	for (size_t i = 0; i < t->n_approvers; i++)
		if (memcmp(t->approvers[i].b, certificate->b, SEAL_HASH_LEN) == 0)
			return true;
	if (t->n_approvers < ORDER_APPROVALS_MAX)
		t->approvers[t->n_approvers++] = *certificate;
	return false;
}

static void say_signature(struct orders *o, const struct order_checked *order,
			  Exhibit__V1__OrderState state, const struct identity *who,
			  const struct seal_hash *certificate)
{
	Exhibit__V1__OrderStep unused;
	struct event_order ev = { .state = (uint32_t)state };
	char name[IDENTITY_SPIFFE_MAX];

	begin_step(o, &unused);
	fill_order(&unused, &ev, order->order);
	ev.order_sha256 = (struct bytes){ order->hash.b, sizeof(order->hash.b) };
	ev.actor = bytes_of(text_of(identity_spiffe(who, name)));
	ev.certificate_sha256 = (struct bytes){ certificate->b, sizeof(certificate->b) };
	if (state == EXHIBIT__V1__ORDER_STATE__ORDER_MADE) {
		ev.reason = bytes_of(order->order->reason);
		ev.signed_ns = order->order->made_ns;
	}
	say_event(o, &ev, ACTION_ORDER, 0);
}

void orders_say_signed(struct orders *o, const struct order_checked *order)
{
	bool new = false;

	if (!order->requester_good || (o->nonces != NULL && nonces_known(o->nonces, order->id)))
		return;
	struct orders_told *t = told_of(o, order->id, &new);

	if (new)
		say_signature(o, order, EXHIBIT__V1__ORDER_STATE__ORDER_MADE, &order->requester,
			      &order->requester_certificate);
	for (size_t i = 0; i < order->n_approvers; i++)
		if (!told_approver(t, &order->approver_certificates[i]))
			say_signature(o, order, EXHIBIT__V1__ORDER_STATE__ORDER_APPROVED,
				      &order->approvers[i], &order->approver_certificates[i]);
}

/* ---- refusals and alarms -------------------------------------------------------------------------- */

void orders_refuse(struct orders *o, const Exhibit__V1__Order *order, const struct seal_hash *hash,
		   bool checked, const struct error *why)
{
	char sentence[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	Exhibit__V1__OrderStep step;
	struct event_order ev = { .state = EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED };

	(void)error_format(why, sentence, sizeof(sentence));
	begin_step(o, &step);
	fill_order(&step, &ev, order);
	step.state = EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED;
	step.reason = text_of(sentence);
	ev.reason = bytes_of(step.reason);
	ev.order_sha256 = (struct bytes){ hash->b, sizeof(hash->b) };
	if (!checked)
		ev.requester = (struct bytes){ 0 }; /* nobody who may say so says so */
	log_warn("an order was refused", KV_STR("error", sentence));
	if (order != NULL)
		orders_send_step(o, &step);
	say_event(o, &ev, ACTION_ORDER, (uint32_t)-why->code);
}

void orders_alarm(struct orders *o, const Exhibit__V1__Order *order, const struct seal_hash *hash,
		  const char *sentence, uint32_t error)
{
	Exhibit__V1__OrderStep unused;
	struct event_order ev = { .state = EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED };
	uint64_t now = clock_monotonic_ns();

	if (o->alarms_from_ns == 0 || now - o->alarms_from_ns > ALARMS_NS) {
		o->alarms_from_ns = now;
		o->alarms = 0;
	}
	if (++o->alarms > ALARMS_MAX)
		return;
	begin_step(o, &unused);
	fill_order(&unused, &ev, order);
	ev.requester = (struct bytes){ 0 };
	ev.reason = bytes_of(text_of(sentence));
	if (hash != NULL)
		ev.order_sha256 = (struct bytes){ hash->b, sizeof(hash->b) };
	log_error("ALARM the collector, or whoever speaks for it, is not to be trusted",
		  KV_STR("error", sentence));
	say_event(o, &ev, ACTION_TAMPER, error);
}
