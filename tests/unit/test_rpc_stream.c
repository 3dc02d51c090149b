/* SPDX-License-Identifier: Apache-2.0 */
/* Streams between a real server and real clients: order, back-pressure, limits, and every kind of end. */
#include "tests/unit/rows.h"
#include "tests/unit/rpc_world.h"

#include <errno.h>
#include <stdio.h>

static struct world world;

static int setup(void **state)
{
	(void)state;
	world_start(&world, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_stop(&world);
	return 0;
}

/* ---- ends -------------------------------------------------------------------------------------- */

static void refused_port_is_unavailable_at_once(void **state)
{
	struct caller c = { 0 };
	struct rpc_client *client;
	struct error e = { 0 };

	(void)state;
	(void)snprintf(world.address, sizeof(world.address), "127.0.0.1:1");
	client = world_client(&world, "host");
	(void)snprintf(world.address, sizeof(world.address), "127.0.0.1:%u", world.port);
	caller_open(&c, client, "/test.T/Echo", false, 0);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_UNAVAILABLE);
	assert_int_equal(rpc_client_explain(client, c.status, c.text, &e), -ECONNREFUSED);
	assert_non_null(strstr(e.text, "127.0.0.1:1"));
	assert_non_null(strstr(e.hint, "is the collector running"));
	c.client = client;
	caller_release(&c);
}

static void waiting_ends_with_the_deadline(void **state)
{
	struct caller c = { 0 };
	struct rpc_client *client;

	(void)state;
	(void)snprintf(world.address, sizeof(world.address), "127.0.0.1:1");
	client = world_client(&world, "host");
	(void)snprintf(world.address, sizeof(world.address), "127.0.0.1:%u", world.port);
	caller_open(&c, client, "/test.T/Echo", true, 700);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_DEADLINE_EXCEEDED);
	c.client = client;
	caller_release(&c);
}

static void note_state(enum rpc_client_state state, void *ctx)
{
	atomic_uint *seen = ctx;

	atomic_fetch_add(&seen[state], 1);
}

static void states_of_the_connection_are_told(void **state)
{
	atomic_uint seen[4] = { 0 };
	const struct rpc_client_config config = {
		.address = world.address,
		.cert_file = pki_path(&world.pki, "host", ".crt"),
		.key_file = pki_path(&world.pki, "host", ".key"),
		.order_ca_file = pki_path(&world.pki, "order", ".crt"),
		.fleet_ca_file = pki_path(&world.pki, "fleet", ".crt"),
		.server_name = "localhost",
		.on_state = note_state,
		.ctx = seen,
	};
	struct rpc_client *client = NULL;
	struct caller c = { 0 };

	(void)state;
	assert_int_equal(rpc_client_new(world.loop, &config, &client, NULL), 0);
	caller_open(&c, client, "/test.T/Echo", true, 0);
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	wait_for(&seen[RPC_CLIENT_READY], 1);
	assert_int_equal(seen[RPC_CLIENT_FAILING], 0);
	c.client = client;
	caller_release(&c);
}

static void unknown_method_is_unimplemented(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Nothing");
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_UNIMPLEMENTED);
	assert_non_null(strstr(c.text, "/test.T/Nothing"));
	caller_release(&c);
}

static void client_cancel_closes_both_sides(void **state)
{
	struct caller c = { 0 };
	unsigned int before = atomic_load(&world.server_closed);

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Echo");
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	rpc_stream_cancel(c.stream);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_CANCELLED);
	wait_for(&world.server_closed, before + 1);
	assert_int_equal(rpc_stream_send_copy(c.stream, "y", 1), -EPIPE);
	caller_release(&c);
}

static void server_cancel_reaches_the_client(void **state)
{
	struct caller c = { 0 };
	unsigned int before = atomic_load(&world.sink_messages);

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Sink");
	caller_send(&c, "x", 1);
	wait_for(&world.sink_messages, before + 1);
	rpc_stream_cancel(atomic_load(&world.last_sink));
	caller_wait_closed(&c);
	assert_int_not_equal(c.status, RPC_OK);
	caller_release(&c);
}

static void silent_stream_is_cancelled(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Patient");
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_DEADLINE_EXCEEDED);
	assert_string_equal(c.text, "no whole message came for 1 s");
	caller_release(&c);
}

static void stream_that_falls_silent_is_cancelled(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Patient");
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_DEADLINE_EXCEEDED);
	caller_release(&c);
}

static void greeted_stream_may_be_silent(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Greet");
	caller_send(&c, "x", 1);
	caller_wait_messages(&c, 1);
	(void)sleep(3);
	caller_send(&c, "y", 1);
	caller_wait_messages(&c, 2);
	caller_release(&c);
}

static void freeing_a_client_closes_its_streams(void **state)
{
	struct caller c[3] = { 0 };
	struct rpc_client *client = world_client(&world, "host");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		caller_open(&c[i], client, "/test.T/Sink", true, 0);
	caller_send(&c[0], "x", 1);
	rpc_client_free(client);
	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		assert_int_equal(c[i].closed, 1);
		assert_int_equal(c[i].status, RPC_CANCELLED);
		caller_release(&c[i]);
	}
}

/* ---- messages ---------------------------------------------------------------------------------- */

static void message_above_the_cap_is_refused_before_sending(void **state)
{
	uint8_t *big = calloc(1, RPC_MESSAGE_MAX + 1);
	struct caller c = { 0 };

	(void)state;
	assert_non_null(big);
	caller_connect(&c, &world, "host", "/test.T/Echo");
	assert_int_equal(rpc_stream_send(c.stream, big, RPC_MESSAGE_MAX + 1), -EMSGSIZE);
	caller_send(&c, "still there", 11);
	caller_wait_messages(&c, 1);
	assert_memory_equal(c.last, "still there", 11);
	free(big);
	caller_release(&c);
}

static const struct size_row {
	const char *name;
	size_t len;
} size_rows[] = { { "empty", 0 },
		  { "one byte", 1 },
		  { "64 KiB and one", 65537 },
		  { "the cap", RPC_MESSAGE_MAX } };

static void echo_comes_back(void **state)
{
	const struct size_row *row = *state;
	struct caller c = { 0 };
	uint8_t *data = malloc(row->len + 1);

	assert_non_null(data);
	memset(data, 'e', row->len);
	caller_connect(&c, &world, "host", "/test.T/Echo");
	assert_int_equal(rpc_stream_send(c.stream, data, row->len), 0);
	caller_wait_messages(&c, 1);
	assert_int_equal(c.bytes, row->len);
	if (row->len > 0)
		assert_int_equal(c.last[c.last_len - 1], 'e');
	rpc_stream_close_send(c.stream);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_OK);
	caller_release(&c);
}

static void half_close_lets_what_is_queued_through(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Echo");
	for (int i = 0; i < RPC_SEND_QUEUE_MAX; i++)
		caller_send(&c, &i, sizeof(i));
	rpc_stream_close_send(c.stream);
	assert_int_equal(rpc_stream_send_copy(c.stream, "x", 1), -EPIPE);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_OK);
	assert_int_equal(c.messages, RPC_SEND_QUEUE_MAX);
	assert_int_equal(c.last[0], RPC_SEND_QUEUE_MAX - 1);
	caller_release(&c);
}

static void full_queue_says_again_then_sendable(void **state)
{
	static const uint8_t block[65536];
	struct caller c = { 0 };
	int r = 0, sent = 0;

	(void)state;
	atomic_store(&world.sink_reads, false);
	caller_connect(&c, &world, "host", "/test.T/Sink");
	for (; sent < 1000 && (r = rpc_stream_send_copy(c.stream, block, sizeof(block))) == 0;
	     sent++)
		(void)usleep(1000);
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(rpc_stream_queued(c.stream), RPC_SEND_QUEUE_MAX);
	assert_int_equal(c.sendable, 0);
	atomic_store(&world.sink_messages, 0);
	atomic_store(&world.sink_reads, true);
	rpc_stream_want_read(atomic_load(&world.last_sink), true);
	wait_for(&world.sink_messages, (unsigned int)sent);
	assert_int_equal(c.sendable, 1);
	caller_send(&c, "room", 4);
	wait_for(&world.sink_messages, (unsigned int)sent + 1);
	caller_release(&c);
}

static void server_stream_arrives_whole(void **state)
{
	struct caller c = { 0 };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Flood");
	caller_send(&c, "300", 3);
	rpc_stream_close_send(c.stream);
	caller_wait_closed(&c);
	assert_int_equal(c.status, RPC_OK);
	assert_string_equal(c.text, "all sent");
	assert_int_equal(c.messages, 300);
	assert_int_equal(c.bytes, 300 * 32768);
	caller_release(&c);
}

static void paused_reader_gets_one_then_all_then_the_end(void **state)
{
	struct caller c = { .stop_after_one = true };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Flood");
	caller_send(&c, "50", 2);
	rpc_stream_close_send(c.stream);
	caller_wait_messages(&c, 1);
	(void)usleep(300000);
	assert_int_equal(c.messages, 1);
	assert_int_equal(c.closed, 0);
	for (unsigned int n = 2; n <= 50; n++) {
		rpc_stream_want_read(c.stream, true);
		caller_wait_messages(&c, n);
	}
	rpc_stream_want_read(c.stream, true);
	caller_wait_closed(&c);
	assert_int_equal(c.messages, 50);
	assert_int_equal(c.status, RPC_OK);
	caller_release(&c);
}

/* The receive was in flight when reading was no longer wanted. */
static void caught_message_waits(struct caller *c, const char *count)
{
	*c = (struct caller){ 0 };
	caller_connect(c, &world, "host", "/test.T/Flood");
	rpc_stream_want_read(c->stream, false);
	caller_send(c, count, strlen(count));
	rpc_stream_close_send(c->stream);
	(void)usleep(300000);
	assert_int_equal(c->messages, 0);
	assert_int_equal(c->closed, 0);
}

static void unwanted_message_waits_until_wanted(void **state)
{
	struct caller c;

	(void)state;
	caught_message_waits(&c, "3");
	rpc_stream_want_read(c.stream, true);
	caller_wait_closed(&c);
	assert_int_equal(c.messages, 3);
	assert_int_equal(c.status, RPC_OK);
	caller_release(&c);
}

static void cancel_drops_an_unwanted_last_message(void **state)
{
	struct caller c;

	(void)state;
	caught_message_waits(&c, "1");
	rpc_stream_cancel(c.stream);
	caller_wait_closed(&c);
	assert_int_equal(c.messages, 0);
	caller_release(&c);
}

static void cancelling_a_paused_reader_ends_it(void **state)
{
	struct caller c = { .stop_after_one = true };

	(void)state;
	caller_connect(&c, &world, "host", "/test.T/Flood");
	caller_send(&c, "3", 1);
	caller_wait_messages(&c, 1);
	rpc_stream_cancel(c.stream);
	caller_wait_closed(&c);
	assert_int_equal(c.messages, 1);
	caller_release(&c);
}

/* ---- many at once ------------------------------------------------------------------------------ */

#define MANY 24

static void many_streams_keep_their_order(void **state)
{
	struct caller *c = calloc(MANY, sizeof(*c));
	unsigned int i, n;

	(void)state;
	assert_non_null(c);
	for (i = 0; i < MANY; i++)
		caller_connect(&c[i], &world, "host", "/test.T/Echo");
	for (n = 1; n <= 20; n++) {
		for (i = 0; i < MANY; i++)
			caller_send(&c[i], &n, sizeof(n));
		for (i = 0; i < MANY; i++) {
			caller_wait_messages(&c[i], n);
			assert_memory_equal(c[i].last, &n, sizeof(n));
		}
	}
	for (i = 0; i < MANY; i++)
		caller_release(&c[i]);
	free(c);
}

static void opening_and_cancelling_leaves_nothing(void **state)
{
	struct rpc_client *client = world_client(&world, "host");
	struct rpc_server_stats stats;

	(void)state;
	for (int i = 0; i < 60; i++) {
		struct caller c = { 0 };

		caller_open(&c, client, "/test.T/Echo", true, 0);
		if (i % 3 == 0)
			caller_send(&c, "x", 1);
		if (i % 3 == 1)
			(void)usleep(5000);
		caller_release(&c);
	}
	rpc_client_free(client);
	for (int i = 0; i < WAIT_S * 100; i++) {
		rpc_server_stats(world.server, &stats);
		if (stats.open == 0)
			break;
		(void)usleep(10000);
	}
	assert_int_equal(stats.open, 0);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, refused_port_is_unavailable_at_once);
	ADD_TEST(&t, waiting_ends_with_the_deadline);
	ADD_TEST(&t, states_of_the_connection_are_told);
	ADD_TEST(&t, unknown_method_is_unimplemented);
	ADD_TEST(&t, client_cancel_closes_both_sides);
	ADD_TEST(&t, server_cancel_reaches_the_client);
	ADD_TEST(&t, silent_stream_is_cancelled);
	ADD_TEST(&t, stream_that_falls_silent_is_cancelled);
	ADD_TEST(&t, greeted_stream_may_be_silent);
	ADD_TEST(&t, freeing_a_client_closes_its_streams);
	ADD_TEST(&t, message_above_the_cap_is_refused_before_sending);
	ADD_ROWS(&t, echo_comes_back, size_rows);
	ADD_TEST(&t, half_close_lets_what_is_queued_through);
	ADD_TEST(&t, full_queue_says_again_then_sendable);
	ADD_TEST(&t, server_stream_arrives_whole);
	ADD_TEST(&t, paused_reader_gets_one_then_all_then_the_end);
	ADD_TEST(&t, unwanted_message_waits_until_wanted);
	ADD_TEST(&t, cancel_drops_an_unwanted_last_message);
	ADD_TEST(&t, cancelling_a_paused_reader_ends_it);
	ADD_TEST(&t, many_streams_keep_their_order);
	ADD_TEST(&t, opening_and_cancelling_leaves_nothing);
	setup(NULL);
	return tests_run(&t, "rpc_stream") + teardown(NULL);
}
