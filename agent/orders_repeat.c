/* SPDX-License-Identifier: Apache-2.0 */
/* Steps on their way to the collector, and which are said again when a new stream of orders begins: it ignores
 * what it has. */
#include "agent/orders_internal.h"

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

/* What was said while a stream ended may not have arrived, and comes before what was said since. */
static void keep_recent(struct orders *o, const uint8_t *packed, size_t len)
{
	struct orders_recent *r = &o->recent[o->next_recent];

	free(r->packed);
	r->packed = malloc(len);
	r->len = r->packed == NULL ? 0 : len;
	r->stream = o->streams;
	if (r->packed != NULL)
		memcpy(r->packed, packed, len);
	o->next_recent = (o->next_recent + 1) % RECENT_MAX;
}

void orders_send_step(struct orders *o, const Exhibit__V1__OrderStep *step)
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
	if (step->lasting)
		keep_recent(o, packed, len);
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

/* Of the stream that ended, and of the one before: its steps may have been on their way again. */
static void repeat_recent(struct orders *o)
{
	for (size_t i = 0; i < RECENT_MAX; i++) {
		const struct orders_recent *r = &o->recent[(o->next_recent + i) % RECENT_MAX];

		if (r->packed != NULL && r->stream + 1 >= o->streams)
			send_packed(o, r->packed, r->len);
	}
}

void orders_repeat_steps(struct orders *o)
{
	repeat_recent(o);
	o->streams++;
	for (size_t i = 0; i < o->n_steps; i++)
		send_packed(o, o->steps[i].packed, o->steps[i].len);
}

void orders_forget_steps(struct orders *o)
{
	for (size_t i = 0; i < o->n_steps; i++)
		free(o->steps[i].packed);
	o->n_steps = 0;
	for (size_t i = 0; i < RECENT_MAX; i++)
		free(TAKE(o->recent[i].packed));
}
