/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1.Health (grpc/doc/health-checking.md): Check answers once, Watch stays open. */
#include "proto/rpc_health.h"

#include "proto/base/reader.h"
#include "proto/rpc_server_core.h"

#define SERVICE_FIELD 1 /* HealthCheckRequest.service, a string */
#define STATUS_TAG 0x08 /* HealthCheckResponse.status, a varint */

enum health { SERVING = 1, SERVICE_UNKNOWN = 3 };

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

static enum health look_up(const struct rpc_server *server, const uint8_t *data, size_t len,
			   bool *ret_good)
{
	const char *name;
	size_t name_len;

	*ret_good = rpc_health_parse(data, len, &name, &name_len);
	if (!*ret_good)
		return SERVICE_UNKNOWN;
	return name_len == 0 || rpc_server_has_service(server, name, name_len) ? SERVING :
										 SERVICE_UNKNOWN;
}

static void check(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	bool good;
	enum health status = look_up(ctx, data, len, &good);

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

/* The end comes with the server's drain, which cancels it. */
static void watch(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	bool good;
	enum health status = look_up(ctx, data, len, &good);

	free(data);
	rpc_stream_want_read(s, false);
	if (good)
		reply(s, status);
	else
		rpc_stream_finish(s, RPC_INVALID_ARGUMENT, "not a HealthCheckRequest");
}

static void open_check(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = check };

	rpc_stream_serve(s, &ops, ctx);
	rpc_stream_want_read(s, true);
}

static void open_watch(struct rpc_stream *s, void *ctx)
{
	static const struct rpc_stream_ops ops = { .on_message = watch };

	rpc_stream_serve(s, &ops, ctx);
	rpc_stream_want_read(s, true);
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
	int r = rpc_server_method(server, &row, e);

	if (r < 0)
		return r;
	row.path = "/grpc.health.v1.Health/Watch";
	row.on_open = open_watch;
	return rpc_server_method(server, &row, e);
}
