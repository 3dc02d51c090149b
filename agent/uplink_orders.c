/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink_orders.h"

#include <errno.h>

#include "agent/clock_offset.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/writer.h"
#include "proto/envelope.h"
#include "proto/order.h"
#include "service.pb-c.h"

#define PATH "/exhibit.v1.Agent/Orders"
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 30000
#define WITHOUT_MS 300000 /* a collector that has no orders: N-1 */
#define STEPS_MAX 512
/* Of a stream's first questions about the collector's clock one a second, then few. */
#define CLOCK_FIRST 4
#define CLOCK_EACH_NS (30 * NSEC_PER_SEC)
#define MESSAGE_MAX (REVOCATIONS_BYTES_MAX + KiB(1))

/* Field numbers of OrdersRequest, OrdersReply, OrdersHello (service.proto). */
enum { ORDERS_HELLO = 1, ORDERS_STEP = 2, ORDERS_CONTRADICTION = 3, ORDERS_CLOCK = 4 };
enum {
	REPLY_HELLO = 1,
	REPLY_ORDER = 2,
	REPLY_REVOCATIONS = 3,
	REPLY_LEDGER = 4,
	REPLY_GOODBYE = 5,
	REPLY_CLOCK = 6
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
	/* The question about the collector's clock that is under way. */
	struct clock_sample asked; /* sent_ns 0: none */
	uint64_t asked_ns, ask_at_ns; /* monotonic */
	unsigned int n_asked; /* on this stream */
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

/* ---- the collector's clock ------------------------------------------------------------------------ */

/* A question that gets no answer (of a collector that knows none) is forgotten with the next. */
static void ask_clock(struct uplink_orders *o)
{
	uint64_t now = clock_monotonic_ns();
	Exhibit__V1__ClockProbe probe = EXHIBIT__V1__CLOCK_PROBE__INIT;
	uint8_t packed[16], *message;
	size_t len = 0;

	if (!o->greeted || now < o->ask_at_ns)
		return;
	o->ask_at_ns = now + (++o->n_asked < CLOCK_FIRST ? NSEC_PER_SEC : CLOCK_EACH_NS);
	o->asked = (struct clock_sample){ .sent_ns = clock_wall_ns(),
					  .boottime_ns = clock_boottime_ns() };
	o->asked_ns = now;
	probe.sent_ns = o->asked.sent_ns;
	message = envelope_make(ORDERS_CLOCK, packed,
				exhibit__v1__clock_probe__pack(&probe, packed), &len);
	if (message == NULL || rpc_stream_send(o->stream, message, len) < 0) {
		free(message);
		o->asked.sent_ns = 0;
	}
}

static void pass_clock(struct uplink_orders *o)
{
	uint8_t body[LINK_CLOCK_LEN];
	struct writer w = writer_init(body, sizeof(body));

	writer_u64(&w, (uint64_t)o->asked.sent_ns);
	writer_u64(&w, (uint64_t)o->asked.received_ns);
	writer_u64(&w, (uint64_t)o->asked.answered_ns);
	writer_u64(&w, o->asked.elapsed_ns);
	writer_u64(&w, o->asked.boottime_ns);
	pass_on(o, LINK_CLOCK, body, sizeof(body));
}

static void take_clock(struct uplink_orders *o, const uint8_t *body, size_t len)
{
	uint64_t now = clock_monotonic_ns();
	Exhibit__V1__ClockReply *m = exhibit__v1__clock_reply__unpack(NULL, len, body);

	if (m != NULL && o->asked.sent_ns != 0 && m->sent_ns == o->asked.sent_ns) {
		o->asked.received_ns = m->received_ns;
		o->asked.answered_ns = m->answered_ns;
		o->asked.elapsed_ns = now - o->asked_ns;
		pass_clock(o);
		o->asked.sent_ns = 0;
	}
	if (m != NULL)
		exhibit__v1__clock_reply__free_unpacked(m, NULL);
}

static void take_reply(struct uplink_orders *o, const uint8_t *data, size_t len)
{
	uint32_t field;
	const uint8_t *body;
	size_t body_len;
	int r = envelope_open(data, len, REPLY_CLOCK, &field, &body, &body_len);

	if (r == -ENOMSG)
		return; /* from a later protocol */
	if (r < 0) {
		rpc_stream_cancel(o->stream);
		return;
	}
	if (field == REPLY_HELLO) {
		o->greeted = true;
		o->n_asked = 0;
		o->ask_at_ns = 0;
		o->backoff_ms = BACKOFF_FIRST_MS;
		pass_on(o, LINK_ORDERS, NULL, 0);
		send_steps(o);
	} else if (field == REPLY_ORDER) {
		pass_on(o, LINK_ORDER, body, body_len);
	} else if (field == REPLY_REVOCATIONS) {
		pass_on(o, LINK_REVOCATIONS, body, body_len);
	} else if (field == REPLY_LEDGER) {
		pass_on(o, LINK_LEDGER, body, body_len);
	} else if (field == REPLY_CLOCK) {
		take_clock(o, body, body_len);
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
	ask_clock(o);
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
