/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_server.h"

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/rpc_guard.h"
#include "proto/rpc_server_core.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#define CALLS_REQUESTED 16 /* asked of core ahead */
#define WAIT_SLICE_MS 20
#define WATCHERS_END_MS 200 /* to tell those who watch health that it is over */
#define MEMORY_LIMIT_DEFAULT MiB(512)
#define QUOTA_MIN MiB(64)
#define HOST_TEXT_MAX 256

static void call_arrived(void *owner, bool ok);
static void shut_down_done(void *owner, bool ok);

/* ---- making ------------------------------------------------------------------------------------ */

/* Each value's reason stands in transport.md 2.2. */
static void collect_args(struct rpc_server *s, struct rpc_args *args)
{
	const struct {
		const char *key;
		int value;
	} rows[] = {
		{ GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)RPC_MESSAGE_MAX },
		{ GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)RPC_MESSAGE_MAX },
		/* A stalled reader must not buffer 4 MB per connection. */
		{ GRPC_ARG_HTTP2_BDP_PROBE, 0 },
		{ GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 262144 },
		{ GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)s->config.streams_per_connection },
		{ GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 20000 },
		/* A second collector on the same port must fail, not take half of the agents. */
		{ GRPC_ARG_ALLOW_REUSEPORT, 0 },
		{ GRPC_ARG_KEEPALIVE_TIME_MS, 60000 },
		{ GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000 },
		{ GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1 },
		{ GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20000 },
		/* So that certificates are shown again. */
		{ GRPC_ARG_MAX_CONNECTION_AGE_MS, 12 * 3600 * 1000 },
		{ GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, 60000 },
		/* A compressed message is refused, see rpc_stream_receive.c. */
		{ GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0 },
		{ GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0 },
		{ GRPC_ARG_ENABLE_CHANNELZ, 0 },
		{ GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		rpc_args_int(args, rows[i].key, rows[i].value);
	rpc_args_quota(args, s->quota);
}

static void set_defaults(struct rpc_server_config *c)
{
	if (c->memory_limit_bytes == 0)
		c->memory_limit_bytes = MEMORY_LIMIT_DEFAULT;
	if (c->streams_per_connection == 0)
		c->streams_per_connection = 8;
	if (c->calls_per_second == 0)
		c->calls_per_second = 100;
}

/* max_receive_message_length does not bound memory, the quota does (transport.md fact 3). */
static void make_core(struct rpc_server *s)
{
	uint64_t quarter = s->config.memory_limit_bytes / 4;
	struct rpc_args args = { 0 };
	grpc_channel_args core_args;

	s->quota = grpc_resource_quota_create("server");
	grpc_resource_quota_resize(s->quota, quarter > QUOTA_MIN ? quarter : QUOTA_MIN);
	collect_args(s, &args);
	core_args = (grpc_channel_args){ args.n, args.arg };
	s->core = grpc_server_create(&core_args, NULL);
	grpc_server_register_completion_queue(s->core, rpc_loop_queue(s->loop), NULL);
}

static int fill(struct rpc_server *s, struct rpc_loop *l, const struct rpc_server_config *config,
		struct error *e)
{
	const struct rpc_tls_files files = { config->cert_file, config->key_file,
					     config->fleet_ca_file, config->order_ca_file,
					     config->deny_file };

	if (config->cert_file == NULL || config->key_file == NULL)
		return error_set(e, -EINVAL, "a certificate file and a key file are needed");
	s->loop = l;
	s->config = *config;
	set_defaults(&s->config);
	s->address = strdup(config->address);
	s->limit = rpc_limit_new(s->config.calls_per_second);
	s->cuts = rpc_limit_new(1);
	if (s->address == NULL || s->limit == NULL || s->cuts == NULL)
		return error_set(e, -ENOMEM, "cannot make a server: %m");
	return rpc_tls_new(&files, &s->tls, e);
}

static void release(struct rpc_server *s)
{
	for (size_t i = 0; i < s->n_methods; i++)
		free((char *)(uintptr_t)s->method[i].path);
	rpc_health_free(s->health);
	rpc_tls_free(s->tls);
	rpc_limit_free(s->limit);
	rpc_limit_free(s->cuts);
	if (s->quota != NULL)
		grpc_resource_quota_unref(s->quota);
	free(s->address);
	rpc_registry_release(&s->streams);
	(void)pthread_cond_destroy(&s->changed);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

int rpc_server_new(struct rpc_loop *l, const struct rpc_server_config *config,
		   struct rpc_server **ret, struct error *e)
{
	struct rpc_server *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot make a server: %m");
	rpc_registry_init(&s->streams, RPC_STREAMS_MAX);
	(void)pthread_mutex_init(&s->lock, NULL);
	(void)pthread_cond_init(&s->changed, NULL);
	s->tag_shutdown = (struct rpc_tag){ shut_down_done, s };
	r = fill(s, l, config, e);
	if (r >= 0)
		r = rpc_health_add(s, e);
	if (r < 0) {
		release(s);
		return error_wrap(e, r, "cannot serve on '%s'", config->address);
	}
	*ret = s;
	return 0;
}

int rpc_server_method(struct rpc_server *s, const struct rpc_method *row, struct error *e)
{
	size_t n = atomic_load(&s->n_methods);
	char *path;

	for (size_t i = 0; i < s->n_methods; i++) {
		if (strcmp(s->method[i].path, row->path) == 0)
			return error_set(e, -EEXIST, "the method '%s' is served already",
					 row->path);
	}
	if (n == RPC_METHODS_MAX || strlen(row->path) >= RPC_PATH_MAX)
		return error_set(e, -ENOSPC, "there is no room for the method '%s'", row->path);
	path = strdup(row->path);
	if (path == NULL)
		return error_set(e, -ENOMEM, "cannot serve the method '%s': %m", row->path);
	s->method[n] = *row;
	s->method[n].path = path;
	atomic_store(&s->n_methods, n + 1); /* from now on threads look at it */
	return 0;
}

bool rpc_server_has_service(const struct rpc_server *server, const char *name, size_t len)
{
	for (size_t i = 0; i < server->n_methods; i++) {
		const char *path = server->method[i].path;

		if (strlen(path) > len + 1 && memcmp(path + 1, name, len) == 0 &&
		    path[len + 1] == '/')
			return true;
	}
	return false;
}

/* ---- calls ------------------------------------------------------------------------------------- */

/* Ask core for one more call. Lock held, not stopping: so core's server is there. */
static bool request_call(struct rpc_server *s)
{
	struct rpc_stream *stream = rpc_stream_new(s->loop, true);

	if (stream == NULL)
		return false;
	stream->owner = s;
	stream->tag_open = (struct rpc_tag){ call_arrived, stream };
	if (rpc_loop_begin(s->loop) < 0) {
		rpc_stream_unref(stream);
		return false;
	}
	if (grpc_server_request_call(s->core, &stream->call, &stream->details, &stream->metadata,
				     rpc_loop_queue(s->loop), rpc_loop_queue(s->loop),
				     &stream->tag_open) == GRPC_CALL_OK)
		return true;
	rpc_loop_undo(s->loop);
	rpc_stream_unref(stream);
	return false;
}

static void request_calls(struct rpc_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->stopping && s->requested < CALLS_REQUESTED && request_call(s))
		s->requested++;
	pthread_mutex_unlock(&s->lock);
}

static void describe(struct rpc_stream *stream)
{
	char *remote = grpc_call_get_peer(stream->call);
	size_t len = GRPC_SLICE_LENGTH(stream->details.method);

	if (len < sizeof(stream->path)) /* a longer one is none of ours: "" */
		memcpy(stream->path, GRPC_SLICE_START_PTR(stream->details.method), len);
	(void)snprintf(stream->remote, sizeof(stream->remote), "%s", remote != NULL ? remote : "");
	gpr_free(remote);
}

static bool enlist(struct rpc_server *s, struct rpc_stream *stream, struct rpc_refusal *ret)
{
	if (rpc_registry_add(&s->streams, &stream->link, stream)) {
		stream->registry = &s->streams;
		return true;
	}
	ret->status = RPC_RESOURCE_EXHAUSTED;
	error_set(&ret->why, -EMFILE, "%d calls are open", RPC_STREAMS_MAX);
	atomic_fetch_add(&s->count.refused_full, 1);
	return false;
}

static void serve(struct rpc_stream *stream, const struct rpc_method *row)
{
	stream->first_message_ms = row->first_message_ms;
	stream->idle_ms = row->idle_ms;
	row->on_open(stream, row->ctx);
}

/* Callbacks are held back until on_open has set them. stream: with a reference for us. */
static void open_call(struct rpc_server *s, struct rpc_stream *stream)
{
	struct rpc_refusal refusal = { 0 };
	const struct rpc_method *row = NULL;
	bool good;

	atomic_fetch_add(&s->count.calls, 1);
	describe(stream);
	good = rpc_admit(s, stream, &row, &refusal) && enlist(s, stream, &refusal);
	stream->delivering = true;
	if (rpc_stream_begin(stream, false) < 0) {
		if (stream->registry != NULL)
			rpc_registry_remove(stream->registry, &stream->link);
		rpc_stream_unref(stream); /* ours */
		rpc_stream_unref(stream); /* the library's: no end will come to drop it */
		return;
	}
	if (good)
		serve(stream, row);
	else
		rpc_stream_finish(stream, refusal.status, refusal.why.text);
	rpc_stream_opened(stream);
}

static void call_arrived(void *owner, bool ok)
{
	struct rpc_stream *stream = owner;
	struct rpc_server *s = stream->owner;

	pthread_mutex_lock(&s->lock);
	s->requested--;
	s->opening++;
	pthread_mutex_unlock(&s->lock);
	if (ok) {
		request_calls(s);
		open_call(s, rpc_stream_ref(stream));
	} else {
		rpc_stream_unref(stream);
	}
	pthread_mutex_lock(&s->lock);
	s->opening--;
	(void)pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

/* ---- running ----------------------------------------------------------------------------------- */

struct idle_check {
	uint64_t now_ns;
	uint64_t cancelled;
};

static void check_idle(struct rpc_stream *stream, void *arg)
{
	struct idle_check *c = arg;

	if (rpc_stream_check_idle(stream, c->now_ns))
		c->cancelled++;
}

static void tick(void *ctx, uint64_t now_ns)
{
	struct rpc_server *s = ctx;
	struct idle_check c = { .now_ns = now_ns };

	rpc_registry_each(&s->streams, check_idle, &c);
	atomic_fetch_add(&s->count.idle_cancelled, c.cancelled);
	request_calls(s); /* what failed for want of memory */
}

struct busy_list {
	struct rpc_endpoint *at;
	size_t n, max;
};

static void add_busy(struct rpc_stream *stream, void *arg)
{
	struct busy_list *list = arg;

	if (list->n < list->max && rpc_endpoint_parse(stream->remote, &list->at[list->n]))
		list->n++;
}

static size_t busy(void *ctx, struct rpc_endpoint *ret, size_t max)
{
	struct rpc_server *s = ctx;
	struct busy_list list = { .at = ret, .max = max };

	rpc_registry_each(&s->streams, add_busy, &list);
	return list.n;
}

static void count_cut(void *ctx, size_t n)
{
	struct rpc_server *s = ctx;

	atomic_fetch_add(&s->count.cut_descriptors, n);
}

static void wedged(const char *why, void *ctx)
{
	struct rpc_server *s = ctx;

	if (s->config.on_wedged != NULL)
		s->config.on_wedged(why, s->config.on_wedged_ctx);
}

static int start_governor(struct rpc_server *s, struct error *e)
{
	char host[HOST_TEXT_MAX];
	const char *colon = strrchr(s->address, ':');
	const struct rpc_governor_config config = {
		.host = host,
		.port = s->port,
		.memory_limit_bytes = s->config.memory_limit_bytes,
		.tick = tick,
		.busy = busy,
		.on_cut = count_cut,
		.on_wedged = wedged,
		.ctx = s,
	};

	(void)snprintf(host, sizeof(host), "%.*s", colon != NULL ? (int)(colon - s->address) : 0,
		       s->address);
	return rpc_governor_start(&config, &s->governor, e);
}

static int bind_port(struct rpc_server *s, struct error *e)
{
	grpc_server_credentials *credentials =
		rpc_tls_server_credentials(s->tls, s->config.anonymous);
	int port = credentials != NULL ?
			   grpc_server_add_http2_port(s->core, s->address, credentials) :
			   0;

	if (credentials != NULL)
		grpc_server_credentials_release(credentials);
	if (port > 0) {
		s->port = (uint16_t)port;
		return 0;
	}
	error_set(e, -EADDRINUSE, "cannot listen on '%s'", s->address);
	error_hint(
		e,
		"is the address one of this machine's, HOST:PORT, and does no other program listen there?");
	return -EADDRINUSE;
}

int rpc_server_start(struct rpc_server *s, uint16_t *ret_port, struct error *e)
{
	int r;

	make_core(s);
	r = bind_port(s, e);
	if (r < 0) {
		grpc_server_destroy(s->core);
		s->core = NULL;
		return r;
	}
	if (!s->config.hold)
		atomic_store(&s->phase, RPC_SERVING);
	grpc_server_start(s->core);
	request_calls(s);
	*ret_port = s->port;
	return start_governor(s, e);
}

static void enter(struct rpc_server *s, enum rpc_phase phase)
{
	atomic_store(&s->phase, phase);
	rpc_health_changed(s);
}

void rpc_server_open(struct rpc_server *s)
{
	enter(s, RPC_SERVING);
}

static void cancel_denied(struct rpc_stream *stream, void *arg)
{
	const struct rpc_trust *trust = arg;

	if (!rpc_deny_matches(trust->deny, &stream->peer))
		return;
	log_warn("cancelled a stream: its peer is now denied", KV_STR("name", stream->peer.name),
		 KV_STR("serial", stream->peer.serial), KV_STR("remote", stream->remote));
	rpc_stream_abort(stream, RPC_PERMISSION_DENIED,
			 "the certificate or host is on the deny list");
}

int rpc_server_reload(struct rpc_server *s, struct error *e)
{
	struct rpc_trust *trust;
	int r = rpc_tls_reload(s->tls, e);

	if (r < 0)
		return error_wrap(e, r, "kept the certificates in use");
	trust = rpc_tls_current(s->tls);
	rpc_registry_each(&s->streams, cancel_denied, trust);
	rpc_trust_unref(trust);
	return 0;
}

static void cancel_refused(struct rpc_stream *stream, void *arg)
{
	const struct rpc_server_config *c = arg;

	if (!c->refuses(c->refuses_ctx, &stream->peer))
		return;
	log_warn("cancelled a stream: its peer's certificate is revoked",
		 KV_STR("name", stream->peer.name), KV_STR("serial", stream->peer.serial),
		 KV_STR("remote", stream->remote));
	rpc_stream_abort(stream, RPC_PERMISSION_DENIED, "the certificate is revoked");
}

void rpc_server_recheck(struct rpc_server *s)
{
	if (s->config.refuses != NULL)
		rpc_registry_each(&s->streams, cancel_refused, &s->config);
}

/* ---- ending ------------------------------------------------------------------------------------ */

static void shut_down_done(void *owner, bool ok)
{
	struct rpc_server *s = owner;

	(void)ok;
	pthread_mutex_lock(&s->lock);
	s->shut_down = true;
	(void)pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void begin_shutdown(struct rpc_server *s)
{
	bool first;

	pthread_mutex_lock(&s->lock);
	first = !s->stopping;
	s->stopping = true;
	pthread_mutex_unlock(&s->lock);
	if (!first)
		return;
	rpc_governor_stop(s->governor);
	s->governor = NULL;
	if (rpc_loop_begin(s->loop) >= 0)
		grpc_server_shutdown_and_notify(s->core, rpc_loop_queue(s->loop), &s->tag_shutdown);
}

static bool wait_shut_down(struct rpc_server *s, unsigned int seconds)
{
	struct timespec until;
	bool done;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	pthread_mutex_lock(&s->lock);
	while (!(done = s->shut_down && s->requested == 0 && s->opening == 0) && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	pthread_mutex_unlock(&s->lock);
	return done;
}

static void cut_one(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg)
{
	(void)inode;
	(void)peer;
	(void)arg;
	(void)shutdown(fd, SHUT_RDWR);
}

/* Others than those who only watch us go. More of them may come and go. */
static bool wait_for_calls(struct rpc_server *s, uint64_t ms)
{
	uint64_t until = clock_monotonic_ns() + ms * NSEC_PER_MSEC;

	while (!rpc_registry_wait(&s->streams, rpc_health_watchers(s), WAIT_SLICE_MS)) {
		if (clock_monotonic_ns() >= until)
			return false;
	}
	return true;
}

/* Core's shutdown waits for live streams for ever, and a peer need not let go of its connection. */
void rpc_server_drain(struct rpc_server *s, uint64_t ms)
{
	if (s->core == NULL)
		return;
	if (atomic_load(&s->phase) != RPC_DRAINING)
		enter(s, RPC_DRAINING);
	bool done = wait_for_calls(s, ms);

	begin_shutdown(s);
	rpc_health_end(s);
	if (!done || !rpc_registry_wait_empty(&s->streams, WATCHERS_END_MS))
		grpc_server_cancel_all_calls(s->core);
	while (!wait_shut_down(s, 2)) {
		grpc_server_cancel_all_calls(s->core);
		(void)!rpc_sockets_each(s->port, cut_one, NULL);
	}
	(void)rpc_registry_wait_empty(&s->streams, UINT64_MAX);
}

void rpc_server_free(struct rpc_server *s)
{
	if (s == NULL)
		return;
	rpc_server_drain(s, 0);
	if (s->core != NULL)
		grpc_server_destroy(s->core);
	release(s);
}

void rpc_server_stats(struct rpc_server *s, struct rpc_server_stats *ret)
{
	*ret = (struct rpc_server_stats){
		.calls = atomic_load(&s->count.calls),
		.refused_identity = atomic_load(&s->count.refused_identity),
		.refused_denied = atomic_load(&s->count.refused_denied),
		.refused_full = atomic_load(&s->count.refused_full),
		.unimplemented = atomic_load(&s->count.unimplemented),
		.cut_rate = atomic_load(&s->count.cut_rate),
		.cut_descriptors = atomic_load(&s->count.cut_descriptors),
		.idle_cancelled = atomic_load(&s->count.idle_cancelled),
		.open = rpc_registry_count(&s->streams),
	};
	for (unsigned int why = 0; why < RPC_HANDSHAKE_FAILURES; why++)
		ret->handshakes_failed +=
			rpc_guard_handshake_failures((enum rpc_handshake_failure)why);
}
