/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc_world.h"

#include "proto/base/clock.h"
#include "proto/rpc_guard.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define FLOOD_BYTES 32768

/* ---- the server's methods ---------------------------------------------------------------------- */

static void count_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct world *w = ctx;

	(void)s;
	(void)status;
	(void)text;
	atomic_fetch_add(&w->server_closed, 1);
}

static void echo_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	(void)ctx;
	if (rpc_stream_send(s, data, len) < 0) {
		free(data);
		rpc_stream_finish(s, RPC_RESOURCE_EXHAUSTED, "the echo is full");
	}
}

static void echo_open(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = echo_message,
						   .on_closed = count_closed };

	rpc_stream_serve(s, &ops, ctx);
	rpc_stream_want_read(s, true);
}

static void sink_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct world *w = ctx;

	(void)len;
	free(data);
	atomic_fetch_add(&w->sink_messages, 1);
	if (!atomic_load(&w->sink_reads))
		rpc_stream_want_read(s, false);
}

static void sink_open(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = sink_message,
						   .on_closed = count_closed };
	struct world *w = ctx;

	rpc_stream_serve(s, &ops, ctx);
	rpc_stream_want_read(s, atomic_load(&w->sink_reads));
	rpc_stream_unref(atomic_exchange(&w->last_sink, rpc_stream_ref(s)));
}

struct flood {
	struct world *world;
	unsigned long left;
};

static void flood_more(struct rpc_stream *s, void *ctx)
{
	static const uint8_t block[FLOOD_BYTES];
	struct flood *f = ctx;

	for (; f->left > 0; f->left--) {
		int r = rpc_stream_send_copy(s, block, sizeof(block));

		if (r == -EAGAIN)
			return;
		if (r < 0)
			break;
	}
	rpc_stream_finish(s, RPC_OK, "all sent");
}

static void flood_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct flood *f = ctx;

	(void)len;
	f->left = strtoul((const char *)data, NULL, 10);
	free(data);
	flood_more(s, ctx);
}

static void flood_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct flood *f = ctx;

	count_closed(s, status, text, f->world);
	free(f);
}

static void flood_read_end(struct rpc_stream *s, void *ctx)
{
	(void)s;
	(void)ctx;
}

static void flood_open(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = flood_message,
						   .on_sendable = flood_more,
						   .on_read_end = flood_read_end,
						   .on_closed = flood_closed };
	struct flood *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->world = ctx;
	rpc_stream_serve(s, &ops, f);
	rpc_stream_want_read(s, true);
}

static void add_methods(struct world *w)
{
	const struct rpc_method rows[] = {
		{ .path = "/test.T/Echo",
		  .allow = RPC_ALLOW_HOST | RPC_ALLOW_RESPONDER,
		  .on_open = echo_open,
		  .ctx = w },
		{ .path = "/test.T/Sink", .allow = RPC_ALLOW_HOST, .on_open = sink_open, .ctx = w },
		{ .path = "/test.T/Flood",
		  .allow = RPC_ALLOW_HOST,
		  .on_open = flood_open,
		  .ctx = w },
		{ .path = "/test.T/Greet",
		  .allow = RPC_ALLOW_HOST,
		  .on_open = echo_open,
		  .ctx = w,
		  .first_message_ms = 1000 },
		{ .path = "/test.T/Patient",
		  .allow = RPC_ALLOW_HOST,
		  .on_open = echo_open,
		  .ctx = w,
		  .first_message_ms = 1000,
		  .idle_ms = 1000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(rpc_server_method(w->server, &rows[i], NULL), 0);
}

/* ---- the world --------------------------------------------------------------------------------- */

void world_start(struct world *w, void (*change)(struct rpc_server_config *config, struct world *w))
{
	struct rpc_server_config config = { .address = "127.0.0.1:0" };
	struct error e = { 0 };

	*w = (struct world){ 0 };
	atomic_init(&w->sink_reads, true);
	assert_int_equal(rpc_guard_scrub_environment(&e), 0);
	pki_make(&w->pki);
	pki_issue(&w->pki, "order", IDENTITY_COLLECTOR, "c1", "collector", 3600);
	pki_issue(&w->pki, "fleet", IDENTITY_HOST, "h1", "host", 3600);
	config.cert_file = strdup(pki_path(&w->pki, "collector", ".crt"));
	config.key_file = pki_path(&w->pki, "collector", ".key");
	config.fleet_ca_file = pki_path(&w->pki, "fleet", ".crt");
	config.order_ca_file = pki_path(&w->pki, "order", ".crt");
	if (change != NULL)
		change(&config, w);
	if (rpc_loop_new(3, &w->loop, &e) < 0 || rpc_loop_start(w->loop, &e) < 0 ||
	    rpc_server_new(w->loop, &config, &w->server, &e) < 0)
		fail_msg("%s", e.text);
	add_methods(w);
	if (rpc_server_start(w->server, &w->port, &e) < 0)
		fail_msg("%s", e.text);
	(void)snprintf(w->address, sizeof(w->address), "127.0.0.1:%u", w->port);
	free((char *)(uintptr_t)config.cert_file);
}

void world_stop(struct world *w)
{
	rpc_stream_unref(atomic_exchange(&w->last_sink, NULL));
	rpc_server_free(w->server);
	rpc_loop_free(w->loop);
	pki_remove(&w->pki);
}

struct rpc_client *world_client(struct world *w, const char *name)
{
	const struct rpc_client_config config = {
		.address = w->address,
		.cert_file = pki_path(&w->pki, name, ".crt"),
		.key_file = pki_path(&w->pki, name, ".key"),
		.order_ca_file = pki_path(&w->pki, "order", ".crt"),
		.domain = FIXTURE_DOMAIN,
		.connect_timeout_ms = 10000,
	};
	struct rpc_client *client = NULL;
	struct error e = { 0 };

	if (rpc_client_new(w->loop, &config, &client, &e) < 0)
		fail_msg("%s", e.text);
	return client;
}

/* ---- callers ----------------------------------------------------------------------------------- */

static void got_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct caller *c = ctx;

	if (c->stop_after_one)
		rpc_stream_want_read(s, false);
	pthread_mutex_lock(&c->lock);
	c->messages++;
	c->bytes += len;
	c->last_len = len < sizeof(c->last) ? len : sizeof(c->last);
	memcpy(c->last, data, c->last_len);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	free(data);
}

static void got_read_end(struct rpc_stream *s, void *ctx)
{
	struct caller *c = ctx;

	(void)s;
	pthread_mutex_lock(&c->lock);
	c->read_ends++;
	pthread_mutex_unlock(&c->lock);
}

static void got_sendable(struct rpc_stream *s, void *ctx)
{
	struct caller *c = ctx;

	(void)s;
	pthread_mutex_lock(&c->lock);
	c->sendable++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void got_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct caller *c = ctx;

	(void)s;
	pthread_mutex_lock(&c->lock);
	c->closed++;
	c->status = status;
	(void)snprintf(c->text, sizeof(c->text), "%s", text);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void caller_open(struct caller *c, struct rpc_client *client, const char *path, bool wait_for_ready,
		 uint64_t deadline_ms)
{
	static const struct rpc_stream_ops ops = { got_message, got_sendable, got_read_end,
						   got_closed };
	const struct rpc_call call = { .path = path,
				       .ops = &ops,
				       .ctx = c,
				       .wait_for_ready = wait_for_ready,
				       .deadline_ms = deadline_ms };
	struct error e = { 0 };

	*c = (struct caller){ .stop_after_one = c->stop_after_one };
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->changed, NULL);
	if (rpc_client_open(client, &call, &c->stream, &e) < 0)
		fail_msg("%s", e.text);
	rpc_stream_want_read(c->stream, true);
}

void caller_connect(struct caller *c, struct world *w, const char *name, const char *path)
{
	struct rpc_client *client = world_client(w, name);

	caller_open(c, client, path, false, WAIT_S * 1000);
	c->client = client;
}

void caller_send(struct caller *c, const void *data, size_t len)
{
	assert_int_equal(rpc_stream_send_copy(c->stream, data, len), 0);
}

/* Lock held. */
static bool wait_changed(struct caller *c, const struct timespec *until)
{
	return pthread_cond_timedwait(&c->changed, &c->lock, until) != ETIMEDOUT;
}

static struct timespec limit(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += WAIT_S;
	return t;
}

void caller_wait_messages(struct caller *c, unsigned int n)
{
	struct timespec until = limit();
	unsigned int got;

	pthread_mutex_lock(&c->lock);
	while (c->messages < n && c->closed == 0 && wait_changed(c, &until))
		;
	got = c->messages;
	pthread_mutex_unlock(&c->lock);
	if (got < n)
		fail_msg("%u messages of %u came; closed %u: %s %s", got, n, c->closed,
			 rpc_status_name(c->status), c->text);
}

void caller_wait_closed(struct caller *c)
{
	struct timespec until = limit();
	unsigned int closed;

	pthread_mutex_lock(&c->lock);
	while (c->closed == 0 && wait_changed(c, &until))
		;
	closed = c->closed;
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(closed, 1);
}

void caller_release(struct caller *c)
{
	rpc_stream_cancel(c->stream);
	caller_wait_closed(c);
	rpc_stream_unref(c->stream);
	rpc_client_free(c->client);
	(void)pthread_cond_destroy(&c->changed);
	(void)pthread_mutex_destroy(&c->lock);
}

void wait_for(atomic_uint *n, unsigned int want)
{
	uint64_t until = clock_monotonic_ns() + WAIT_S * NSEC_PER_SEC;

	while (atomic_load(n) < want) {
		if (clock_monotonic_ns() > until)
			fail_msg("%u of %u after %d s", atomic_load(n), want, WAIT_S);
		(void)usleep(2000);
	}
}
