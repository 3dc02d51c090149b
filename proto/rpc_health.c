/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1.Health (grpc/doc/health-checking.md): Check answers once, Watch stays open. */
#include "proto/rpc_health.h"

#include "proto/base/reader.h"
#include "proto/rpc_server_core.h"

#include <errno.h>

#define SERVICE_FIELD 1 /* HealthCheckRequest.service, a string */
#define STATUS_TAG 0x08 /* HealthCheckResponse.status, a varint */

#define NAME_MAX_LEN 128 /* of a service that could be ours */

enum health { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* One Watch. Listed from its question to its end. */
struct watch {
	struct rpc_server *server;
	struct rpc_stream *stream; /* the library's reference holds it until on_closed */
	struct watch *next;
	bool asked;
	size_t name_len;
	char name[NAME_MAX_LEN];
};

struct rpc_health {
	pthread_mutex_t lock; /* before a stream's */
	struct watch *watches;
	size_t n;
};

bool rpc_health_parse(const uint8_t *data, size_t len, const char **ret_name, size_t *ret_len)
{
	struct reader r = reader_init(data, len);

	*ret_name = "";
	*ret_len = 0;
	while (r.left > 0 && !r.bad) {
		if (reader_varint(&r) != (SERVICE_FIELD << 3 | 2))
			return false;
		*ret_len = reader_varint(&r);
		*ret_name = (const char *)reader_bytes(&r, *ret_len);
	}
	return reader_done(&r);
}

static void reply(struct rpc_stream *s, enum health status)
{
	const uint8_t message[] = { STATUS_TAG, (uint8_t)status };

	if (rpc_stream_send_copy(s, message, sizeof(message)) < 0)
		rpc_stream_finish(s, RPC_UNAVAILABLE, "the answer cannot be sent");
}

/* Until all methods are there nobody can say which services are not. */
static enum health look_up(const struct rpc_server *server, const char *name, size_t len)
{
	int phase = atomic_load(&server->phase);

	if (phase != RPC_STARTING && len > 0 && !rpc_server_has_service(server, name, len))
		return SERVICE_UNKNOWN;
	return phase == RPC_SERVING ? SERVING : NOT_SERVING;
}

static void check(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	const char *name;
	size_t name_len;
	bool good = rpc_health_parse(data, len, &name, &name_len);
	enum health status = good ? look_up(ctx, name, name_len) : SERVICE_UNKNOWN;

	free(data);
	rpc_stream_want_read(s, false);
	if (!good) {
		rpc_stream_finish(s, RPC_INVALID_ARGUMENT, "not a HealthCheckRequest");
	} else if (status == SERVICE_UNKNOWN) {
		rpc_stream_finish(s, RPC_NOT_FOUND, "there is no such service here");
	} else {
		reply(s, status);
		rpc_stream_finish(s, RPC_OK, NULL);
	}
}

/* What was asked is kept: the answer changes with the server's phase. */
static void watch(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct watch *w = ctx;
	struct rpc_health *h = w->server->health;
	const char *name;
	size_t name_len;
	bool good = rpc_health_parse(data, len, &name, &name_len);

	rpc_stream_want_read(s, false);
	if (!good || name_len > sizeof(w->name)) {
		rpc_stream_finish(s, RPC_INVALID_ARGUMENT, "not a HealthCheckRequest");
		free(data);
		return;
	}
	if (name_len > 0)
		memcpy(w->name, name, name_len);
	free(data);
	pthread_mutex_lock(&h->lock);
	w->name_len = name_len;
	w->asked = true;
	reply(s, look_up(w->server, w->name, w->name_len));
	pthread_mutex_unlock(&h->lock);
}

static void watch_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct watch *w = ctx;
	struct rpc_health *h = w->server->health;

	(void)s;
	(void)status;
	(void)text;
	pthread_mutex_lock(&h->lock);
	for (struct watch **at = &h->watches; *at != NULL; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			h->n--;
			break;
		}
	}
	pthread_mutex_unlock(&h->lock);
	free(w);
}

void rpc_health_changed(struct rpc_server *server)
{
	struct rpc_health *h = server->health;

	pthread_mutex_lock(&h->lock);
	for (const struct watch *w = h->watches; w != NULL; w = w->next) {
		if (w->asked)
			reply(w->stream, look_up(server, w->name, w->name_len));
	}
	pthread_mutex_unlock(&h->lock);
}

size_t rpc_health_watchers(struct rpc_server *server)
{
	struct rpc_health *h = server->health;
	size_t n;

	pthread_mutex_lock(&h->lock);
	n = h->n;
	pthread_mutex_unlock(&h->lock);
	return n;
}

void rpc_health_end(struct rpc_server *server)
{
	struct rpc_health *h = server->health;

	pthread_mutex_lock(&h->lock);
	for (const struct watch *w = h->watches; w != NULL; w = w->next)
		rpc_stream_finish(w->stream, RPC_UNAVAILABLE, "the server ends");
	pthread_mutex_unlock(&h->lock);
}

static void open_check(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = check };

	rpc_stream_serve(s, &ops, ctx);
	rpc_stream_want_read(s, true);
}

static void open_watch(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = watch, .on_closed = watch_closed };
	struct rpc_server *server = ctx;
	struct rpc_health *h = server->health;
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		rpc_stream_finish(s, RPC_RESOURCE_EXHAUSTED, "the server is out of memory");
		return;
	}
	*w = (struct watch){ .server = server, .stream = s };
	pthread_mutex_lock(&h->lock);
	w->next = h->watches;
	h->watches = w;
	h->n++;
	pthread_mutex_unlock(&h->lock);
	rpc_stream_serve(s, &ops, w);
	rpc_stream_want_read(s, true);
}

bool rpc_health_is_ours(const struct rpc_method *row)
{
	return row->on_open == open_check || row->on_open == open_watch;
}

void rpc_health_free(struct rpc_health *h)
{
	if (h == NULL)
		return;
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}

int rpc_health_add(struct rpc_server *server, struct error *e)
{
	struct rpc_method row = {
		.path = "/grpc.health.v1.Health/Check",
		.allow = RPC_ALLOW_HOST | RPC_ALLOW_RESPONDER | RPC_ALLOW_COLLECTOR,
		.on_open = open_check,
		.ctx = server,
		.first_message_ms = 10000,
	};

	server->health = calloc(1, sizeof(*server->health));
	if (server->health == NULL)
		return error_set(e, -ENOMEM, "cannot answer for the server's health: %m");
	(void)pthread_mutex_init(&server->health->lock, NULL);
	int r = rpc_server_method(server, &row, e);

	if (r < 0)
		return r;
	row.path = "/grpc.health.v1.Health/Watch";
	row.on_open = open_watch;
	return rpc_server_method(server, &row, e);
}
