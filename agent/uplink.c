/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>

#include "agent/frame_id.h"
#include "agent/launch.h"
#include "agent/link.h"
#include "agent/privilege.h"
#include "agent/uplink_inbox.h"
#include "agent/uplink_orders.h"
#include "agent/uplink_uploads.h"
#include "agent/uplink_wire.h"
#include "agent/window.h"
#include "batch.pb-c.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"
#include "proto/base/version.h"
#include "proto/envelope.h"
#include "proto/rpc_client.h"
#include "proto/rpc_guard.h"
#include "service.pb-c.h"

#define EVENTS_PATH "/exhibit.v1.Agent/Events"
#define RECORD_MAX KiB(8)
#define COMPLAIN_EVERY_NS (10 * NSEC_PER_SEC)
#define ACK_LIMIT_NS (60 * NSEC_PER_SEC) /* sent and not acknowledged for so long: begin anew */
#define HELLO_LIMIT_NS (5 * NSEC_PER_SEC) /* no answer to the hello: say so */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS 30000
#define WAIT_MS 200

/* A frame that the connection had no room for. */
struct held {
	uint8_t *data;
	size_t len;
	uint64_t position;
	struct window_id id;
};

struct uplink {
	const struct agent_config *config;
	struct uplink_wire wire;
	struct uplink_orders *orders;
	struct uplink_uploads *uploads;
	struct rpc_loop *loop;
	struct rpc_stream *stream; /* of events; NULL: none open */
	struct arena *arena;
	uint64_t stream_no;
	bool greeted; /* the collector answered our hello */
	bool refused; /* the collector ended the last stream for what we are or sent */
	bool told_failure; /* sense heard of this outage already */
	bool stopping;
	uint64_t open_at_ns, backoff_ms; /* when to open the next stream */
	uint64_t last_ack_ns, complained_ns;
	struct window lane[BATCH_LANES + 1]; /* by lane */
	struct held held[BATCH_LANES + 1];
	uint8_t *record; /* SignedHostRecord */
	size_t record_len;
	uint8_t *hello; /* Hello */
	size_t hello_len;
	int signals;
};

static void tell_state(struct uplink *u, bool connected, const char *sentence)
{
	uint8_t body[513] = { connected ? 1 : 0 };
	size_t n = strnlen(sentence, sizeof(body) - 1);

	memcpy(body + 1, sentence, n);
	/* Full: sense is stuck, and has better to do than to read this. */
	(void)!link_send(u->wire.link,
			 &(struct link_message){ .kind = LINK_STATE, .body = body, .len = n + 1 });
}

static void drop_held(struct uplink *u)
{
	for (size_t i = 1; i <= BATCH_LANES; i++) {
		free(u->held[i].data);
		u->held[i] = (struct held){ 0 };
	}
}

static void schedule_open(struct uplink *u)
{
	u->open_at_ns = uplink_later(&u->backoff_ms, BACKOFF_MAX_MS);
}

/* The same for every stream: made once. */
static int make_hello(struct uplink *u, struct error *e)
{
	Exhibit__V1__Hello hello = EXHIBIT__V1__HELLO__INIT;
	char name[256] = "";
	struct utsname kernel;

	(void)gethostname(name, sizeof(name) - 1);
	if (uname(&kernel) == 0)
		hello.kernel = (ProtobufCBinaryData){ .data = (uint8_t *)kernel.release,
						      .len = strlen(kernel.release) };
	hello.protocol_min = hello.protocol_max = 1;
	hello.version =
		(ProtobufCBinaryData){ .data = (uint8_t[]){ VERSION }, .len = strlen(VERSION) };
	hello.host_name = (ProtobufCBinaryData){ .data = (uint8_t *)name, .len = strlen(name) };
	hello.host_record = exhibit__v1__signed_host_record__unpack(NULL, u->record_len, u->record);
	if (hello.host_record == NULL)
		return error_set(e, -EBADMSG, "seal.host-record is not a host record");
	u->hello = malloc(exhibit__v1__hello__get_packed_size(&hello));
	if (u->hello != NULL)
		u->hello_len = exhibit__v1__hello__pack(&hello, u->hello);
	exhibit__v1__signed_host_record__free_unpacked(hello.host_record, NULL);
	return u->hello == NULL ? error_set(e, -ENOMEM, "cannot start the uplink: out of memory") :
				  0;
}

static int send_hello(struct uplink *u)
{
	size_t len;
	uint8_t *message = envelope_make(ENVELOPE_HELLO, u->hello, u->hello_len, &len);
	int r = message == NULL ? -ENOMEM : rpc_stream_send(u->stream, message, len);

	if (r < 0)
		free(message);
	return r;
}

static void open_stream(struct uplink *u)
{
	u->stream = uplink_open(&u->wire, EVENTS_PATH, INBOX_MESSAGE_MAX, &u->stream_no);
	if (u->stream == NULL) {
		schedule_open(u);
		return;
	}
	u->greeted = false;
	u->last_ack_ns = clock_monotonic_ns();
	for (size_t i = 1; i <= BATCH_LANES; i++)
		window_reset(&u->lane[i]);
	drop_held(u);
	rpc_stream_want_read(u->stream, true);
	if (send_hello(u) < 0)
		rpc_stream_cancel(u->stream);
}

static void close_stream(struct uplink *u, enum rpc_status status, const char *text)
{
	struct error e = { 0 };
	char sentence[512];

	rpc_stream_unref(u->stream);
	u->stream = NULL;
	u->greeted = false;
	u->refused = status != RPC_OK && status != RPC_CANCELLED && status != RPC_UNAVAILABLE;
	schedule_open(u);
	if (rpc_client_explain(u->wire.client, status, text, &e) == 0)
		(void)error_set(&e, -EPIPE, "the collector ended the stream");
	if (!u->told_failure)
		tell_state(u, false, error_format(&e, sentence, sizeof(sentence)));
	u->told_failure = true;
}

/* Everything the connection has room for. false: full, on_sendable will say. */
static bool send_held(struct uplink *u, uint8_t lane)
{
	struct held *h = &u->held[lane];

	if (h->data == NULL)
		return true;
	int r = rpc_stream_send(u->stream, h->data, h->len);

	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		rpc_stream_cancel(u->stream); /* closed meanwhile, or out of memory: begin anew */
		free(h->data);
	} else {
		if (u->lane[BATCH_LANE_CRITICAL].n + u->lane[BATCH_LANE_BULK].n == 0)
			u->last_ack_ns = clock_monotonic_ns();
		window_sent(&u->lane[lane], h->position, &h->id);
	}
	*h = (struct held){ 0 };
	return r == 0;
}

static void ask(struct uplink *u)
{
	for (uint8_t lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANE_BULK; lane++) {
		struct window *w = &u->lane[lane];

		if (!u->greeted || u->held[lane].data != NULL || !window_wants(w))
			continue;
		w->asked = link_send(u->wire.link, &(struct link_message){ .kind = LINK_WANT,
									   .round = w->round,
									   .lane = lane,
									   .position = w->next }) ==
			   0;
	}
}

/* sense looked at it before: what fails here is short of memory, and is asked for again. */
static bool identify(struct uplink *u, const struct link_message *m, struct window_id *ret)
{
	enum journal_kind kind = m->kind == LINK_BATCH ? JOURNAL_BATCH : JOURNAL_TOMBSTONE;
	uint64_t now = clock_monotonic_ns();
	struct error e = { 0 };

	if (frame_id(kind, m->body, m->len, u->arena, ret, &e) == 0)
		return true;
	if (u->complained_ns == 0 || now - u->complained_ns > COMPLAIN_EVERY_NS) {
		log_failure(LOG_LEVEL_ERROR, "a frame of the journal cannot be sent yet", &e);
		u->complained_ns = now;
	}
	return false;
}

static void take_frame(struct uplink *u, const struct link_message *m)
{
	struct held *h = &u->held[m->lane];

	if (!window_accepts(&u->lane[m->lane], m->round) || u->stream == NULL || h->data != NULL)
		return;
	if (!identify(u, m, &h->id))
		return;
	uint32_t field = m->kind == LINK_BATCH ? ENVELOPE_BATCH : ENVELOPE_TOMBSTONE;

	h->position = m->position;
	h->data = envelope_make(field, m->body, m->len, &h->len);
	if (h->data != NULL)
		(void)!send_held(u, m->lane);
	ask(u);
}

/* An idle message names the last header: it only makes sense to a collector that has that one. */
static void pass_idle(struct uplink *u, const struct link_message *m)
{
	if (u->stream == NULL || !u->greeted || u->lane[m->lane].n > 0 ||
	    u->held[m->lane].data != NULL)
		return;
	size_t len;
	uint8_t *message = envelope_make(ENVELOPE_IDLE, m->body, m->len, &len);

	if (message != NULL && rpc_stream_send(u->stream, message, len) < 0)
		free(message); /* the next one comes in 5 s */
}

static int receive_link(struct uplink *u)
{
	struct link_message m;
	int r;

	while ((r = link_receive(u->wire.link, &m)) > 0) {
		switch (m.kind) {
		case LINK_BATCH:
		case LINK_TOMBSTONE:
			take_frame(u, &m);
			break;
		case LINK_IDLE:
			pass_idle(u, &m);
			break;
		case LINK_STOP:
			u->stopping = true;
			break;
		case LINK_HELD:
		case LINK_STEP:
		case LINK_CONTRADICTION:
			uplink_orders_take(u->orders, &m);
			break;
		case LINK_UPLOAD:
		case LINK_MANIFEST:
			uplink_uploads_take(u->uploads, &m,
					    m.kind == LINK_UPLOAD ? link_take_fd(u->wire.link) :
								    -1);
			break;
		case LINK_WANT:
		case LINK_ACK:
		case LINK_STATE:
		case LINK_ORDERS:
		case LINK_ORDER:
		case LINK_REVOCATIONS:
		case LINK_LEDGER:
		case LINK_RECEIPT:
		case LINK_UPLOAD_FAILED:
		case LINK_CLOCK:
		case LINK_KINDS:
			break; /* the link's table lets none of these through */
		}
	}
	return r;
}

static void take_ack(struct uplink *u, const uint8_t *body, size_t len)
{
	Exhibit__V1__Ack *ack = exhibit__v1__ack__unpack(NULL, len, body);
	struct window_id id = { 0 };
	uint64_t position;

	if (ack != NULL && ack->boot_id.len == sizeof(id.boot_id) &&
	    ack->epoch.len == sizeof(id.epoch) && ack->header_hash.len == sizeof(id.hash.b) &&
	    (ack->lane == 1 || ack->lane == 2)) {
		memcpy(id.boot_id, ack->boot_id.data, sizeof(id.boot_id));
		memcpy(id.epoch, ack->epoch.data, sizeof(id.epoch));
		memcpy(id.hash.b, ack->header_hash.data, sizeof(id.hash.b));
		id.number = ack->number;
		if (window_acknowledge(&u->lane[ack->lane], &id, &position)) {
			u->last_ack_ns = clock_monotonic_ns();
			/* Lost when sense is stuck: the frame is sent again and acknowledged again. */
			(void)!link_send(u->wire.link,
					 &(struct link_message){ .kind = LINK_ACK,
								 .lane = (uint8_t)ack->lane,
								 .position = position,
								 .body = id.hash.b,
								 .len = sizeof(id.hash.b) });
		}
	}
	if (ack != NULL)
		exhibit__v1__ack__free_unpacked(ack, NULL);
	ask(u);
}

static void take_hello(struct uplink *u)
{
	u->greeted = true;
	u->told_failure = false;
	/* It may refuse the same frame again in an instant. */
	if (!u->refused)
		u->backoff_ms = BACKOFF_FIRST_MS;
	tell_state(u, true, "");
	ask(u);
}

static void take_reply(struct uplink *u, const uint8_t *data, size_t len)
{
	uint32_t field;
	const uint8_t *body;
	size_t body_len;
	int r = envelope_open(data, len, ENVELOPE_GOODBYE, &field, &body, &body_len);

	if (r == -ENOMSG)
		return; /* from a later protocol */
	if (r < 0) {
		rpc_stream_cancel(u->stream);
		return;
	}
	if (field == ENVELOPE_ACK)
		take_ack(u, body, body_len);
	else if (field == ENVELOPE_HELLO_REPLY)
		take_hello(u);
	else
		rpc_stream_close_send(u->stream); /* goodbye: it drains, we come back */
}

static void take_inbox(struct uplink *u)
{
	for (struct inbox_item *i; (i = queue_pop(u->wire.inbox, 0)) != NULL; inbox_item_free(i)) {
		if (u->stream == NULL || i->stream_no != u->stream_no) {
			if (!uplink_orders_inbox(u->orders, i))
				(void)uplink_uploads_inbox(u->uploads, i);
			continue;
		}
		if (i->kind == INBOX_MESSAGE)
			take_reply(u, i->data, i->len);
		if (i->kind == INBOX_SENDABLE) {
			for (uint8_t lane = 1; lane <= BATCH_LANES; lane++)
				(void)!send_held(u, lane);
			ask(u);
		}
		if (i->kind == INBOX_CLOSED)
			close_stream(u, i->status, i->text);
	}
}

/* A stream waits for its connection as long as that takes, but not without a word. */
static void tell_silence(struct uplink *u)
{
	struct error e = { 0 };
	char sentence[512];

	(void)rpc_client_explain(u->wire.client, RPC_UNAVAILABLE, "no answer yet", &e);
	tell_state(u, false, error_format(&e, sentence, sizeof(sentence)));
	u->told_failure = true;
}

static void check_time(struct uplink *u)
{
	uint64_t now = clock_monotonic_ns();
	bool waiting = u->lane[BATCH_LANE_CRITICAL].n + u->lane[BATCH_LANE_BULK].n > 0;

	if (u->stream == NULL && now >= u->open_at_ns)
		open_stream(u);
	else if (u->stream != NULL && waiting && now - u->last_ack_ns > ACK_LIMIT_NS)
		rpc_stream_cancel(u->stream);
	else if (u->stream != NULL && !u->greeted && !u->told_failure &&
		 now - u->last_ack_ns > HELLO_LIMIT_NS)
		tell_silence(u);
	if (u->stream != NULL)
		ask(u); /* for what there was no memory for */
}

/* Nothing of events waits for the connection. */
static bool events_idle(const struct uplink *u)
{
	return u->held[BATCH_LANE_CRITICAL].data == NULL && u->held[BATCH_LANE_BULK].data == NULL;
}

static int wait_for_work(struct uplink *u, bool *ret_signal)
{
	struct pollfd fds[3 + UPLOADS_MAX] = { { .fd = link_fd(u->wire.link), .events = POLLIN },
					       { .fd = queue_fd(u->wire.inbox), .events = POLLIN },
					       { .fd = u->signals, .events = POLLIN } };
	size_t n = 3 + uplink_uploads_poll(u->uploads, fds + 3);
	bool busy = u->greeted && events_idle(u) && uplink_uploads_busy(u->uploads);

	fds[0].events = (short)(POLLIN | (link_pending(u->wire.link) ? POLLOUT : 0));
	if (poll(fds, n, busy ? 0 : WAIT_MS) < 0 && errno != EINTR)
		return -errno;
	*ret_signal = (fds[2].revents & POLLIN) != 0;
	return 0;
}

static int loop(struct uplink *u)
{
	while (!u->stopping) {
		bool signal_came = false;
		int r = wait_for_work(u, &signal_came);

		if (r < 0 || signal_came)
			return r; /* to be started anew */
		if (link_flush(u->wire.link) < 0)
			return 0; /* sense is gone, and so are we */
		r = receive_link(u);
		if (r < 0)
			return r == -EPIPE ? 0 : r;
		take_inbox(u);
		check_time(u);
		uplink_orders_tick(u->orders, u->greeted);
		uplink_uploads_tick(u->uploads, u->greeted, events_idle(u));
	}
	return 0;
}

static const char *name_or_null(const char *text)
{
	return text == NULL || *text == '\0' ? NULL : text;
}

static int open_parts(struct uplink *u, struct error *e)
{
	const struct agent_config *c = u->config;
	sigset_t mask;
	int r = files_read(c->host_record, RECORD_MAX, &u->record, &u->record_len, e);

	if (r < 0)
		return error_wrap(e, r, "cannot introduce this host");
	r = link_new(LAUNCH_LINK_FD, LINK_UPLINK, &u->wire.link, e);
	if (r == 0)
		r = make_hello(u, e);
	if (r == 0)
		r = uplink_orders_new(&u->wire, u->hello, u->hello_len, &u->orders, e);
	if (r == 0)
		r = uplink_uploads_new(&u->wire, c->upload_rate, &u->uploads, e);
	if (r < 0)
		return r;
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	/* Ctrl-C and systemd's stop reach every process: sense decides, and still has batches to send. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	u->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	u->wire.inbox = queue_new(INBOX_MAX);
	u->arena = arena_new(FRAME_ID_ARENA_MAX, KiB(256));
	if (u->signals < 0 || u->wire.inbox == NULL || u->arena == NULL)
		return error_set(e, -ENOMEM, "cannot start the uplink: out of memory");
	r = rpc_loop_new(1, &u->loop, e);
	if (r < 0)
		return r;
	/* Reads certificate and key: the last thing that takes root. */
	r = rpc_client_new(
		u->loop,
		&(struct rpc_client_config){ .address = c->collector_address,
					     .server_name = name_or_null(c->collector_server_name),
					     .cert_file = c->tls_cert,
					     .key_file = c->tls_key,
					     .order_ca_file = c->tls_order_ca },
		&u->wire.client, e);
	if (r < 0)
		return r;
	r = privilege_drop_uplink(c->uplink_user, e);
	if (r < 0)
		return r;
	return rpc_loop_start(u->loop, e);
}

static void close_parts(struct uplink *u)
{
	if (u->wire.inbox != NULL)
		queue_close(u->wire.inbox);
	rpc_stream_unref(u->stream);
	uplink_orders_free(u->orders);
	uplink_uploads_free(u->uploads);
	rpc_client_free(u->wire.client);
	rpc_loop_free(u->loop);
	for (struct inbox_item *i;
	     u->wire.inbox != NULL && (i = queue_pop(u->wire.inbox, 0)) != NULL;)
		inbox_item_free(i);
	queue_free(u->wire.inbox);
	drop_held(u);
	arena_free(u->arena);
	link_free(u->wire.link);
	free(u->record);
	free(u->hello);
	close_fd(&u->signals);
}

int uplink_run(const struct agent_config *config, struct error *e)
{
	struct uplink u = { .config = config, .signals = -1, .backoff_ms = BACKOFF_FIRST_MS };
	int r = open_parts(&u, e);

	if (r == 0) {
		r = loop(&u);
		if (r < 0)
			(void)error_set(e, r, "the link between sense and uplink broke: %m");
	} else if (u.wire.link != NULL) {
		char sentence[512];

		tell_state(&u, false, error_format(e, sentence, sizeof(sentence)));
	}
	close_parts(&u);
	return r;
}
