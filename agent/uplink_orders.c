/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink_orders.h"

#include <errno.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/envelope.h"
#include "proto/order.h"

#define PATH "/exhibit.v1.Agent/Orders"
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 30000
#define WITHOUT_MS 300000 /* a collector that has no orders: N-1 */
#define STEPS_MAX 512
#define MESSAGE_MAX (REVOCATIONS_BYTES_MAX + KiB(1))

/* Field numbers of OrdersRequest, OrdersReply, OrdersHello (service.proto). */
enum { ORDERS_HELLO = 1, ORDERS_STEP = 2, ORDERS_CONTRADICTION = 3 };
enum {
	REPLY_HELLO = 1,
	REPLY_ORDER = 2,
	REPLY_REVOCATIONS = 3,
	REPLY_LEDGER = 4,
	REPLY_GOODBYE = 5
};
enum { HELLO_HELLO = 1 };

struct message {
	uint8_t *data;
	size_t len;
};

struct uplink_orders {
	struct uplink_wire *wire;
	struct rpc_stream *stream; /* NULL: none */
	uint64_t stream_no, open_at_ns, backoff_ms;
	bool greeted;
	uint8_t *hello; /* OrdersHello's first field, then what sense holds */
	size_t hello_len;
	uint8_t *held;
	size_t held_len;
	bool held_known;
	size_t first, n; /* steps that wait */
	struct message steps[STEPS_MAX];
};

int uplink_orders_new(struct uplink_wire *wire, const uint8_t *hello, size_t len,
		      struct uplink_orders **ret, struct error *e)
{
	struct uplink_orders *o = calloc(1, sizeof(*o));

	if (o != NULL)
		o->hello = envelope_make(HELLO_HELLO, hello, len, &o->hello_len);
	if (o == NULL || o->hello == NULL) {
		free(o);
		return error_set(e, -ENOMEM, "cannot take orders: out of memory");
	}
	o->wire = wire;
	o->backoff_ms = BACKOFF_FIRST_MS;
	*ret = o;
	return 0;
}

static struct message *step_at(struct uplink_orders *o, size_t i)
{
	return &o->steps[(o->first + i) % STEPS_MAX];
}

static void drop_step(struct uplink_orders *o)
{
	free(TAKE(step_at(o, 0)->data));
	o->first = (o->first + 1) % STEPS_MAX;
	o->n--;
}

void uplink_orders_free(struct uplink_orders *o)
{
	if (o == NULL)
		return;
	rpc_stream_unref(o->stream);
	while (o->n > 0)
		drop_step(o);
	free(o->hello);
	free(o->held);
	free(o);
}

/* Fields of one message that follow each other are one message. */
static int send_hello(struct uplink_orders *o)
{
	size_t sum = o->hello_len + o->held_len, len = 0;
	AUTO(free_ptr) uint8_t *both = malloc(sum);
	uint8_t *message = NULL;

	if (both == NULL)
		return -ENOMEM;
	memcpy(both, o->hello, o->hello_len);
	if (o->held_len > 0)
		memcpy(both + o->hello_len, o->held, o->held_len);
	message = envelope_make(ORDERS_HELLO, both, sum, &len);
	int r = message == NULL ? -ENOMEM : rpc_stream_send(o->stream, message, len);

	if (r < 0)
		free(message);
	return r;
}

static void send_steps(struct uplink_orders *o)
{
	while (o->greeted && o->n > 0) {
		struct message *m = step_at(o, 0);
		int r = rpc_stream_send(o->stream, m->data, m->len);

		if (r == -EAGAIN)
			return; /* on_sendable */
		if (r < 0) {
			rpc_stream_cancel(o->stream);
			return;
		}
		m->data = NULL;
		drop_step(o);
	}
}

static void put_step(struct uplink_orders *o, uint32_t field, const struct link_message *m)
{
	struct message step = { 0 };

	step.data = envelope_make(field, m->body, m->len, &step.len);
	if (step.data == NULL)
		return;
	/* The oldest goes: sense says the newest of each order again. */
	if (o->n == STEPS_MAX)
		drop_step(o);
	*step_at(o, o->n++) = step;
	send_steps(o);
}

/* The number of the newest list goes along with the hello: the collector then sends a newer one. */
static void take_held(struct uplink_orders *o, const struct link_message *m)
{
	uint8_t *copy = malloc(m->len + 1);

	if (copy == NULL)
		return;
	if (m->len > 0)
		memcpy(copy, m->body, m->len);
	free(o->held);
	o->held = copy;
	o->held_len = m->len;
	o->held_known = true;
}

void uplink_orders_take(struct uplink_orders *o, const struct link_message *m)
{
	if (m->kind == LINK_HELD)
		take_held(o, m);
	else if (m->kind == LINK_STEP)
		put_step(o, ORDERS_STEP, m);
	else if (m->kind == LINK_CONTRADICTION)
		put_step(o, ORDERS_CONTRADICTION, m);
}

/* Sense is slow: the collector says on the next stream what was not answered. */
static void pass_on(struct uplink_orders *o, enum link_kind kind, const uint8_t *body, size_t len)
{
	int r = link_send(o->wire->link,
			  &(struct link_message){ .kind = kind, .body = body, .len = len });

	if (r == -EINVAL)
		log_warn("the collector sent a message about orders that is too long");
	else if (r < 0)
		rpc_stream_cancel(o->stream);
}

static void take_reply(struct uplink_orders *o, const uint8_t *data, size_t len)
{
	uint32_t field;
	const uint8_t *body;
	size_t body_len;
	int r = envelope_open(data, len, REPLY_GOODBYE, &field, &body, &body_len);

	if (r == -ENOMSG)
		return; /* from a later protocol */
	if (r < 0) {
		rpc_stream_cancel(o->stream);
		return;
	}
	if (field == REPLY_HELLO) {
		o->greeted = true;
		o->backoff_ms = BACKOFF_FIRST_MS;
		pass_on(o, LINK_ORDERS, NULL, 0);
		send_steps(o);
	} else if (field == REPLY_ORDER) {
		pass_on(o, LINK_ORDER, body, body_len);
	} else if (field == REPLY_REVOCATIONS) {
		pass_on(o, LINK_REVOCATIONS, body, body_len);
	} else if (field == REPLY_LEDGER) {
		pass_on(o, LINK_LEDGER, body, body_len);
	} else {
		rpc_stream_close_send(o->stream);
	}
}

static void take_closed(struct uplink_orders *o, enum rpc_status status)
{
	rpc_stream_unref(TAKE(o->stream));
	o->greeted = false;
	if (status == RPC_UNIMPLEMENTED)
		o->backoff_ms = WITHOUT_MS;
	o->open_at_ns = uplink_later(&o->backoff_ms, BACKOFF_MAX_MS);
}

bool uplink_orders_inbox(struct uplink_orders *o, struct inbox_item *i)
{
	if (o->stream == NULL || i->stream_no != o->stream_no)
		return false;
	if (i->kind == INBOX_MESSAGE)
		take_reply(o, i->data, i->len);
	else if (i->kind == INBOX_SENDABLE)
		send_steps(o);
	else
		take_closed(o, i->status);
	return true;
}

void uplink_orders_tick(struct uplink_orders *o, bool connected)
{
	if (o->stream != NULL || !connected || !o->held_known ||
	    clock_monotonic_ns() < o->open_at_ns)
		return;
	o->stream = uplink_open(o->wire, PATH, MESSAGE_MAX, &o->stream_no);
	if (o->stream == NULL) {
		o->open_at_ns = uplink_later(&o->backoff_ms, BACKOFF_MAX_MS);
		return;
	}
	rpc_stream_want_read(o->stream, true);
	if (send_hello(o) < 0)
		rpc_stream_cancel(o->stream);
}
