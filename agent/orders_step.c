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

static void send_packed(struct orders *o, const uint8_t *packed, size_t len)
{
	struct mail *m = mail_new(LINK_STEP, packed, len, -1);

	/* Full: it is repeated when the next stream of orders begins. */
	if (m == NULL || !queue_try_push(o->c.mail->out, m))
		mail_free(m);
}

/* One slot per order; the oldest is overwritten. */
static struct orders_step *slot_for(struct orders *o, const uint8_t id[static ORDER_ID_LEN])
{
	for (size_t i = 0; i < o->n_steps; i++)
		if (memcmp(o->steps[i].id, id, ORDER_ID_LEN) == 0)
			return &o->steps[i];
	struct orders_step *s = &o->steps[o->next_step];

	o->next_step = (o->next_step + 1) % STEPS_MAX;
	if (o->n_steps < STEPS_MAX)
		o->n_steps++;
	memcpy(s->id, id, ORDER_ID_LEN);
	return s;
}

static void send_step(struct orders *o, const Exhibit__V1__OrderStep *step)
{
	size_t len = exhibit__v1__order_step__get_packed_size(step);
	uint8_t *packed = malloc(len);

	if (packed == NULL)
		return;
	(void)exhibit__v1__order_step__pack(step, packed);
	send_packed(o, packed, len);
	if (step->order_id.len != ORDER_ID_LEN ||
	    step->state == EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED) {
		free(packed);
		return;
	}
	struct orders_step *s = slot_for(o, step->order_id.data);

	free(s->packed);
	s->packed = packed;
	s->len = len;
}

bool orders_repeat_step(struct orders *o, const uint8_t id[static ORDER_ID_LEN])
{
	for (size_t i = 0; i < o->n_steps; i++)
		if (memcmp(o->steps[i].id, id, ORDER_ID_LEN) == 0) {
			send_packed(o, o->steps[i].packed, o->steps[i].len);
			return true;
		}
	return false;
}

void orders_repeat_steps(struct orders *o)
{
	for (size_t i = 0; i < o->n_steps; i++)
		send_packed(o, o->steps[i].packed, o->steps[i].len);
}

void orders_forget_steps(struct orders *o)
{
	for (size_t i = 0; i < o->n_steps; i++)
		free(o->steps[i].packed);
	o->n_steps = 0;
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
	send_step(o, &step);
	if (!said->quiet)
		say_event(o, &ev, ACTION_ORDER, said->error);
}

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
		send_step(o, &step);
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
