/* SPDX-License-Identifier: Apache-2.0 */
/* The Query service over real TLS: who may ask, what is refused, slow readers, tails, and the end. */
#include "tests/unit/fake_store.h"

#include "collector/query_service.h"
#include "proto/base/clock.h"
#include "proto/rpc_guard.h"
#include "tests/unit/rpc_world.h"

struct site {
	struct world w; /* for the callers: pki, address */
	struct store *store;
	struct hosts hosts;
	struct live *live;
	struct fake_builder *builder;
	struct query_service *service;
};

static void add_batch(struct site *s, uint64_t number, size_t events)
{
	fake_begin(s->builder, "h1", 1, BATCH_LANE_CRITICAL, number, number * 1000);
	s->builder->h.tenant = fake_name(FIXTURE_TENANT);
	for (size_t i = 0; i < events; i++) {
		static uint8_t path[2000];
		Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
		Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;

		memset(path, 'x', sizeof(path));
		file.path = (ProtobufCBinaryData){ sizeof(path), path };
		e.action = EXHIBIT__V1__ACTION__ACTION_CREATE;
		e.boottime_ns = number * 1000 + i;
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
		e.file = &file;
		fake_event(s->builder, &e);
	}
	fake_end(s->builder, s->store);
}

static void open_server(struct site *s)
{
	struct world *w = &s->w;
	struct rpc_server_config config = { .address = "127.0.0.1:0" };
	struct error e = { 0 };

	config.cert_file = pki_path(&w->pki, "collector", ".crt");
	config.key_file = pki_path(&w->pki, "collector", ".key");
	config.fleet_ca_file = pki_path(&w->pki, "fleet", ".crt");
	config.order_ca_file = pki_path(&w->pki, "order", ".crt");
	if (rpc_loop_new(3, &w->loop, &e) < 0 || rpc_loop_start(w->loop, &e) < 0 ||
	    rpc_server_new(w->loop, &config, &w->server, &e) < 0 ||
	    query_service_register(s->service, w->server, &e) < 0 ||
	    rpc_server_start(w->server, &w->port, &e) < 0)
		fail_msg("%s", e.text);
	(void)snprintf(w->address, sizeof(w->address), "127.0.0.1:%u", w->port);
}

static int setup(void **state)
{
	struct site *s = calloc(1, sizeof(*s));
	struct query_service_config c = { .threads = 2, .deadline_ms = 20000, .stall_ms = 20000 };
	struct error e = { 0 };

	assert_int_equal(rpc_guard_scrub_environment(&e), 0);
	pki_make(&s->w.pki);
	pki_issue(&s->w.pki, "order", IDENTITY_COLLECTOR, "c1", "collector", 3600);
	pki_issue(&s->w.pki, "order", IDENTITY_RESPONDER, "alice", "responder", 3600);
	pki_issue(&s->w.pki, "fleet", IDENTITY_HOST, "h1", "host", 3600);
	s->store = fake_store_new();
	s->builder = calloc(1, sizeof(*s->builder));
	s->hosts.items[s->hosts.n++] =
		(struct host_info){ .host_id = fake_name("h1"), .registered = true };
	assert_int_equal(live_new(&s->live, &e), 0);
	for (uint64_t i = 1; i <= 40; i++)
		add_batch(s, i, 100);
	c.env = (struct query_env){
		.store = s->store, .hosts = &s->hosts, .live = s->live, .now = clock_wall_ns
	};
	if (query_service_new(&c, &s->service, &e) < 0)
		fail_msg("%s", e.text);
	open_server(s);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct site *s = *state;

	query_service_close(s->service);
	rpc_server_free(s->w.server);
	query_service_free(s->service);
	rpc_loop_free(s->w.loop);
	live_free(s->live);
	fake_store_free(s->store);
	pki_remove(&s->w.pki);
	free(s->builder);
	free(s);
	return 0;
}

static void ask(struct caller *c, struct site *s, const char *who, const char *path,
		const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *data = malloc(len + 1);

	(void)protobuf_c_message_pack(m, data);
	caller_connect(c, &s->w, who, path);
	/* A call that is refused may be closed before the question goes out. */
	if (rpc_stream_send_copy(c->stream, data, len) == 0)
		rpc_stream_close_send(c->stream);
	free(data);
}

#define EVENTS "/exhibit.v1.Query/Events"

static void has_rows(const ProtobufCServiceDescriptor *d, size_t rows)
{
	for (unsigned int i = 0; i < d->n_methods; i++) {
		char path[128];
		size_t found = 0;

		(void)snprintf(path, sizeof(path), "/%s/%s", d->name, d->methods[i].name);
		for (size_t k = 0; k < rows; k++)
			found += strcmp(query_method_path(k), path) == 0;
		if (found != 1)
			fail_msg("%s has %zu rows", path, found);
	}
}

/* Deny by default: the services' methods and the table's rows are the same set, for responders only. */
static void every_method_has_a_row(void **state)
{
	size_t rows = 0;

	(void)state;
	while (query_method_path(rows))
		assert_int_equal(query_method_allow(rows++), RPC_ALLOW_RESPONDER);
	assert_int_equal(rows, exhibit__v1__query__descriptor.n_methods +
				       exhibit__v1__ledger__descriptor.n_methods);
	has_rows(&exhibit__v1__query__descriptor, rows);
	has_rows(&exhibit__v1__ledger__descriptor, rows);
}

static void hosts_and_collectors_are_refused(void **state)
{
	static const char *const who[] = { "host", "collector" };
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;

	for (size_t i = 0; i < ARRAY_LEN(who); i++) {
		struct caller c = { 0 };

		ask(&c, *state, who[i], EVENTS, &m.base);
		caller_wait_closed(&c);
		assert_int_equal(c.status, RPC_PERMISSION_DENIED);
		assert_int_equal(c.messages, 0);
		caller_release(&c);
	}
}

static void garbage_is_refused(void **state)
{
	struct caller c = { 0 };

	caller_connect(&c, &((struct site *)*state)->w, "responder", EVENTS);
	caller_send(&c, "\xff\xff\xff", 3);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_INVALID_ARGUMENT);
	assert_string_equal(c.text, "the question cannot be read");
	caller_release(&c);
}

static void errors_have_status_and_hint(void **state)
{
	static uint8_t name[] = "web-9";
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	ProtobufCBinaryData host = { sizeof(name) - 1, name };
	struct caller c = { 0 };

	m.hosts = &host;
	m.n_hosts = 1;
	ask(&c, *state, "responder", EVENTS, &m.base);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_NOT_FOUND);
	assert_string_equal(c.text,
			    "no host is called 'web-9'; 'exhibit hosts' lists ids and names");
	caller_release(&c);
}

static void a_large_answer_arrives_whole(void **state)
{
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	struct caller c = { 0 };

	ask(&c, *state, "responder", EVENTS, &m.base);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_OK);
	assert_true(c.bytes > 4000 * 2000); /* far more than all queues hold */
	caller_release(&c);
}

static void a_reader_that_stops_holds_nobody_up(void **state)
{
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	Exhibit__V1__HostsRequest hosts = EXHIBIT__V1__HOSTS_REQUEST__INIT;
	struct caller stopped = { .stop_after_one = true }, other = { 0 };

	ask(&stopped, *state, "responder", EVENTS, &m.base);
	caller_wait_messages(&stopped, 1);
	ask(&other, *state, "responder", "/exhibit.v1.Query/Hosts", &hosts.base);
	caller_wait_closed(&other);
	assert_int_equal(other.status, RPC_OK);
	assert_int_equal(other.messages, 2);
	caller_release(&other);
	assert_int_equal(stopped.closed, 0);
	rpc_stream_cancel(stopped.stream);
	caller_wait_closed(&stopped);
	caller_release(&stopped);
}

static void a_tail_shows_what_arrives_once(void **state)
{
	struct site *s = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	struct caller c = { 0 };

	m.follow = true;
	m.limit = 1;
	ask(&c, s, "responder", EVENTS, &m.base);
	caller_wait_messages(&c, 1); /* the newest stored */
	add_batch(s, 41, 1);
	/* What the history covered comes live as well, as when it was stored just then: shown once. */
	live_feed(s->live, &s->store->batches[39].ref);
	live_feed(s->live, &s->store->batches[40].ref);
	caller_wait_messages(&c, 2);
	add_batch(s, 42, 1);
	live_feed(s->live, &s->store->batches[41].ref);
	caller_wait_messages(&c, 3);
	assert_int_equal(c.messages, 3);
	assert_int_equal(c.closed, 0);
	rpc_stream_cancel(c.stream);
	caller_wait_closed(&c);
	caller_release(&c);
}

/* Tails that were cancelled leave within a moment: until then there is no place. */
static void ask_for_a_tail(struct caller *c, struct site *s, const Exhibit__V1__EventsQuery *m)
{
	for (int tries = 0; tries < 100; tries++) {
		*c = (struct caller){ 0 };
		ask(c, s, "responder", EVENTS, &m->base);
		pthread_mutex_lock(&c->lock);
		while (!c->messages && !c->closed)
			(void)pthread_cond_wait(&c->changed, &c->lock);
		pthread_mutex_unlock(&c->lock);
		if (c->messages)
			return;
		caller_wait_closed(c);
		caller_release(c);
		(void)usleep(50000);
	}
	fail_msg("no place for a tail");
}

static void too_many_tails_are_refused(void **state)
{
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	struct caller c[LIVE_FOLLOWERS_MAX + 1] = { 0 };
	size_t refused = 0;

	m.follow = true;
	m.limit = 1;
	for (size_t i = 0; i < ARRAY_LEN(c) - 1; i++)
		ask_for_a_tail(&c[i], *state, &m);
	ask(&c[LIVE_FOLLOWERS_MAX], *state, "responder", EVENTS, &m.base);
	caller_wait_closed(&c[LIVE_FOLLOWERS_MAX]);
	refused += c[LIVE_FOLLOWERS_MAX].status == RPC_RESOURCE_EXHAUSTED;
	assert_int_equal(refused, 1);
	assert_non_null(strstr(c[LIVE_FOLLOWERS_MAX].text, "tails are open"));
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		rpc_stream_cancel(c[i].stream);
		caller_wait_closed(&c[i]);
		caller_release(&c[i]);
	}
}

/* Last: the service ends though a tail is open and a reader has stopped. */
static void closing_ends_everything(void **state)
{
	struct site *s = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	struct caller stopped = { .stop_after_one = true }, tail = { 0 };

	ask(&stopped, s, "responder", EVENTS, &m.base);
	caller_wait_messages(&stopped, 1);
	m.follow = true;
	m.limit = 1;
	ask_for_a_tail(&tail, s, &m);
	query_service_close(s->service);
	caller_wait_closed(&tail);
	rpc_stream_cancel(stopped.stream);
	caller_wait_closed(&stopped);
	caller_release(&tail);
	caller_release(&stopped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method_has_a_row),
		cmocka_unit_test(hosts_and_collectors_are_refused),
		cmocka_unit_test(garbage_is_refused),
		cmocka_unit_test(errors_have_status_and_hint),
		cmocka_unit_test(a_large_answer_arrives_whole),
		cmocka_unit_test(a_reader_that_stops_holds_nobody_up),
		cmocka_unit_test(a_tail_shows_what_arrives_once),
		cmocka_unit_test(too_many_tails_are_refused),
		cmocka_unit_test(closing_ends_everything),
	};

	return cmocka_run_group_tests_name("query_service", tests, setup, teardown);
}
