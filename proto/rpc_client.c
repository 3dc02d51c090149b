/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_client.h"

#include "proto/base/clock.h"
#include "proto/rpc_registry.h"
#include "proto/rpc_stream_core.h"
#include "proto/rpc_tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#define STREAMS_MAX 1024
#define CONNECT_TIMEOUT_MS_DEFAULT 120000
#define TARGET_MAX 512

/* Looks at the server's certificate in each handshake. Core may hold it longer than the client lives. */
struct verifier {
	atomic_uint refs;
	struct rpc_trust *trust;
	char *domain; /* NULL: any */
	pthread_mutex_t lock;
	char refused[ERROR_TEXT_MAX]; /* why it refused last; "": it did not, or has accepted since */
};

/* One connection's channel: alive while the client or a stream uses it. */
struct channel {
	atomic_uint users;
	struct rpc_client *client; /* waits in rpc_client_free for all its channels' watches */
	grpc_channel *core; /* NULL: destroyed; under the client's lock */
	bool watched; /* a state watch is in flight; under the client's lock */
	grpc_connectivity_state seen;
	struct rpc_tag tag_watch;
};

struct rpc_client {
	struct rpc_loop *loop;
	char *address, *server_name, *domain;
	uint64_t connect_timeout_ms;
	void (*on_state)(enum rpc_client_state state, void *ctx);
	void *ctx;
	struct rpc_tls *tls;
	struct rpc_registry streams;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t unwatched;
	size_t watches;
	struct channel *channel;
	struct verifier *verifier; /* of channel */
};

/* ---- the server's certificate ------------------------------------------------------------------ */

static void verifier_unref(void *ctx)
{
	struct verifier *v = ctx;

	if (v == NULL || atomic_fetch_sub(&v->refs, 1) != 1)
		return;
	rpc_trust_unref(v->trust);
	free(v->domain);
	(void)pthread_mutex_destroy(&v->lock);
	free(v);
}

static struct verifier *verifier_new(struct rpc_client *c)
{
	struct verifier *v = calloc(1, sizeof(*v));

	if (v == NULL)
		return NULL;
	atomic_init(&v->refs, 1);
	(void)pthread_mutex_init(&v->lock, NULL);
	v->trust = rpc_tls_current(c->tls);
	v->domain = c->domain != NULL ? strdup(c->domain) : NULL;
	if (c->domain == NULL || v->domain != NULL)
		return v;
	verifier_unref(v);
	return NULL;
}

static int check_collector(const struct verifier *v, const char *pem, struct error *e)
{
	struct identity id;
	int r = identity_from_leaf(pem, strlen(pem), v->trust->authorities,
				   clock_wall_ns() / (int64_t)NSEC_PER_SEC, &id, e);

	if (r < 0)
		return r;
	if (id.kind != IDENTITY_COLLECTOR)
		return error_set(e, -EACCES, "it is a %s's certificate, not a collector's",
				 identity_kind_name(id.kind));
	if (v->domain != NULL && strcmp(v->domain, id.domain) != 0)
		return error_set(e, -EACCES, "it is of trust domain '%s', not '%s'", id.domain,
				 v->domain);
	return 0;
}

static int verify(const char *target, const char *pem, void *ctx)
{
	struct verifier *v = ctx;
	struct error e = { 0 };
	int r = check_collector(v, pem, &e);

	(void)target; /* core has compared it with the names in the certificate, or is about to */
	pthread_mutex_lock(&v->lock);
	(void)snprintf(v->refused, sizeof(v->refused), "%s", r < 0 ? e.text : "");
	pthread_mutex_unlock(&v->lock);
	return r < 0 ? 1 : 0;
}

/* ---- channels ---------------------------------------------------------------------------------- */

static void channel_unref(void *owner)
{
	struct channel *ch = owner;
	struct rpc_client *c = ch->client;
	grpc_channel *core;
	bool watched;

	if (atomic_fetch_sub(&ch->users, 1) != 1)
		return;
	pthread_mutex_lock(&c->lock);
	core = ch->core;
	ch->core = NULL;
	watched = ch->watched;
	pthread_mutex_unlock(&c->lock);
	grpc_channel_destroy(core); /* ends the watch, which then frees ch */
	if (!watched)
		free(ch);
}

/* Lock held. */
static void watch(struct channel *ch)
{
	struct rpc_client *c = ch->client;

	if (c->on_state == NULL || rpc_loop_begin(c->loop) < 0)
		return;
	ch->watched = true;
	c->watches++;
	grpc_channel_watch_connectivity_state(ch->core, ch->seen,
					      gpr_inf_future(GPR_CLOCK_REALTIME),
					      rpc_loop_queue(c->loop), &ch->tag_watch);
}

static void tell_state(struct rpc_client *c, grpc_connectivity_state state)
{
	static const enum rpc_client_state by_core[] = {
		[GRPC_CHANNEL_IDLE] = RPC_CLIENT_IDLE,
		[GRPC_CHANNEL_CONNECTING] = RPC_CLIENT_CONNECTING,
		[GRPC_CHANNEL_READY] = RPC_CLIENT_READY,
		[GRPC_CHANNEL_TRANSIENT_FAILURE] = RPC_CLIENT_FAILING,
	};

	if ((size_t)state < ARRAY_LEN(by_core))
		c->on_state(by_core[state], c->ctx);
}

/* A state is told before the next watch begins, so that they come in order. */
static void watch_done(void *owner, bool ok)
{
	struct channel *ch = owner;
	struct rpc_client *c = ch->client;
	grpc_connectivity_state state = ch->seen;
	bool destroyed;

	(void)ok;
	pthread_mutex_lock(&c->lock);
	if (ch->core != NULL)
		state = grpc_channel_check_connectivity_state(ch->core, 0);
	pthread_mutex_unlock(&c->lock);
	if (state != ch->seen)
		tell_state(c, state);
	ch->seen = state;
	pthread_mutex_lock(&c->lock);
	ch->watched = false;
	c->watches--;
	destroyed = ch->core == NULL;
	if (!destroyed)
		watch(ch);
	(void)pthread_cond_broadcast(&c->unwatched);
	pthread_mutex_unlock(&c->lock);
	if (destroyed)
		free(ch);
}

/* Each value's reason stands in transport.md 2.2. */
static void collect_args(const struct rpc_client *c, struct rpc_args *args)
{
	const struct {
		const char *key;
		int value;
	} rows[] = {
		{ GRPC_ARG_KEEPALIVE_TIME_MS, 30000 },
		{ GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000 },
		{ GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0 },
		{ GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 1000 },
		{ GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 60000 },
		/* In spite of its name: how long one attempt may take. */
		{ GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, (int)c->connect_timeout_ms },
		{ GRPC_ARG_ENABLE_RETRIES, 0 },
		{ GRPC_ARG_ENABLE_HTTP_PROXY, 0 },
		{ GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1 },
		{ GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1 },
		{ GRPC_ARG_DNS_ENABLE_SRV_QUERIES, 0 },
		{ GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)RPC_MESSAGE_MAX },
		{ GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)RPC_MESSAGE_MAX },
		{ GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0 },
		{ GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0 },
		{ GRPC_ARG_ENABLE_CHANNELZ, 0 },
		{ GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		rpc_args_int(args, rows[i].key, rows[i].value);
	if (c->server_name != NULL)
		rpc_args_string(args, GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, c->server_name);
}

static grpc_channel *make_core(struct rpc_client *c, struct verifier *v)
{
	grpc_channel_credentials *credentials;
	struct rpc_args args = { 0 };
	grpc_channel_args core_args;
	char target[TARGET_MAX];
	grpc_channel *core;

	/* Spelt out, so that an address cannot pick another resolver ("unix:", "xds:"). */
	(void)snprintf(target, sizeof(target), "dns:///%s", c->address);
	atomic_fetch_add(&v->refs, 1); /* core's */
	credentials = rpc_tls_channel_credentials(c->tls, verify, v, verifier_unref);
	if (credentials == NULL)
		return NULL;
	collect_args(c, &args);
	core_args = (grpc_channel_args){ args.n, args.arg };
	core = grpc_channel_create(target, credentials, &core_args);
	grpc_channel_credentials_release(credentials);
	return core;
}

static struct channel *channel_new(struct rpc_client *c, struct verifier *v)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	if (ch == NULL)
		return NULL;
	ch->client = c;
	ch->seen = GRPC_CHANNEL_IDLE;
	ch->tag_watch = (struct rpc_tag){ watch_done, ch };
	atomic_init(&ch->users, 1);
	ch->core = make_core(c, v);
	if (ch->core != NULL)
		return ch;
	free(ch);
	return NULL;
}

/* What is loaded in c->tls becomes the channel of new calls. */
static int renew_channel(struct rpc_client *c, struct error *e)
{
	struct verifier *v = verifier_new(c), *old_verifier;
	struct channel *ch = v != NULL ? channel_new(c, v) : NULL, *old;

	if (ch == NULL) {
		verifier_unref(v);
		return error_set(e, -ENOMEM, "cannot prepare a connection to '%s'", c->address);
	}
	pthread_mutex_lock(&c->lock);
	old = c->channel;
	old_verifier = c->verifier;
	c->channel = ch;
	c->verifier = v;
	watch(ch);
	pthread_mutex_unlock(&c->lock);
	if (old != NULL)
		channel_unref(old);
	verifier_unref(old_verifier);
	return 0;
}

/* ---- the client -------------------------------------------------------------------------------- */

static bool copy_text(char **ret, const char *text)
{
	*ret = text != NULL ? strdup(text) : NULL;
	return text == NULL || *ret != NULL;
}

static void release(struct rpc_client *c)
{
	verifier_unref(c->verifier);
	rpc_tls_free(c->tls);
	rpc_registry_release(&c->streams);
	(void)pthread_cond_destroy(&c->unwatched);
	(void)pthread_mutex_destroy(&c->lock);
	free(c->address);
	free(c->server_name);
	free(c->domain);
	free(c);
}

static int fill(struct rpc_client *c, const struct rpc_client_config *config, struct error *e)
{
	const struct rpc_tls_files files = { config->cert_file, config->key_file,
					     config->fleet_ca_file, config->order_ca_file, NULL };
	int r;

	if (config->order_ca_file == NULL)
		return error_set(
			e, -EINVAL,
			"the order authority's certificate is needed to know the collector by");
	if (!copy_text(&c->address, config->address) ||
	    !copy_text(&c->server_name, config->server_name) ||
	    !copy_text(&c->domain, config->domain))
		return error_set(e, -ENOMEM, "cannot make a client: %m");
	c->connect_timeout_ms = config->connect_timeout_ms != 0 ? config->connect_timeout_ms :
								  CONNECT_TIMEOUT_MS_DEFAULT;
	if (c->connect_timeout_ms > INT32_MAX)
		c->connect_timeout_ms = INT32_MAX;
	c->on_state = config->on_state;
	c->ctx = config->ctx;
	r = rpc_tls_new(&files, &c->tls, e);
	return r < 0 ? r : renew_channel(c, e);
}

int rpc_client_new(struct rpc_loop *l, const struct rpc_client_config *config,
		   struct rpc_client **ret, struct error *e)
{
	struct rpc_client *c = calloc(1, sizeof(*c));
	int r;

	if (c == NULL)
		return error_set(e, -ENOMEM, "cannot make a client: %m");
	c->loop = l;
	rpc_registry_init(&c->streams, STREAMS_MAX);
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_cond_init(&c->unwatched, NULL);
	r = fill(c, config, e);
	if (r < 0) {
		release(c);
		return error_wrap(e, r, "cannot prepare the connection to '%s'", config->address);
	}
	*ret = c;
	return 0;
}

int rpc_client_replace_identity(struct rpc_client *c, struct error *e)
{
	int r = rpc_tls_reload(c->tls, e);

	return r < 0 ? error_wrap(e, r, "kept the certificate in use") : renew_channel(c, e);
}

static struct channel *current_channel(struct rpc_client *c)
{
	struct channel *ch;

	pthread_mutex_lock(&c->lock);
	ch = c->channel;
	atomic_fetch_add(&ch->users, 1);
	pthread_mutex_unlock(&c->lock);
	return ch;
}

static gpr_timespec deadline_of(const struct rpc_call *call)
{
	if (call->deadline_ms == 0)
		return gpr_inf_future(GPR_CLOCK_REALTIME);
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			    gpr_time_from_millis((int64_t)call->deadline_ms, GPR_TIMESPAN));
}

static struct rpc_stream *make_stream(struct rpc_client *c, const struct rpc_call *call,
				      struct channel *ch)
{
	struct rpc_stream *s = rpc_stream_new(c->loop, false);
	grpc_slice method;

	if (s == NULL)
		return NULL;
	s->ops = call->ops;
	s->ctx = call->ctx;
	s->owner = ch;
	s->on_released = channel_unref;
	(void)snprintf(s->path, sizeof(s->path), "%s", call->path);
	(void)snprintf(s->remote, sizeof(s->remote), "%s", c->address);
	method = grpc_slice_from_copied_string(call->path);
	s->call = grpc_channel_create_call(ch->core, NULL, GRPC_PROPAGATE_DEFAULTS,
					   rpc_loop_queue(c->loop), method, NULL, deadline_of(call),
					   NULL);
	grpc_slice_unref(method);
	return s;
}

/* On failure the references to stream and channel are gone, and no callback comes. */
static int start_stream(struct rpc_client *c, const struct rpc_call *call, struct rpc_stream *s,
			struct error *e)
{
	int r;

	if (!rpc_registry_add(&c->streams, &s->link, s))
		return error_set(e, -EMFILE, "%d calls to '%s' are open", STREAMS_MAX, c->address);
	s->registry = &c->streams;
	r = rpc_stream_begin(s, call->wait_for_ready);
	if (r < 0) {
		rpc_registry_remove(&c->streams, &s->link);
		return error_set(e, r, "cannot call '%s' at '%s': %m", call->path, c->address);
	}
	return 0;
}

int rpc_client_open(struct rpc_client *c, const struct rpc_call *call, struct rpc_stream **ret,
		    struct error *e)
{
	struct channel *ch = current_channel(c);
	struct rpc_stream *s = make_stream(c, call, ch);
	int r;

	if (s == NULL) {
		channel_unref(ch);
		return error_set(e, -ENOMEM, "cannot call '%s' at '%s': %m", call->path,
				 c->address);
	}
	*ret = rpc_stream_ref(s);
	r = start_stream(c, call, s, e);
	if (r < 0) {
		*ret = NULL;
		channel_unref(ch);
		rpc_stream_unref(s); /* the caller's */
		rpc_stream_unref(s); /* the library's: no end will come to drop it */
	}
	return r;
}

static void cancel_one(struct rpc_stream *s, void *arg)
{
	(void)arg;
	rpc_stream_cancel(s);
}

void rpc_client_free(struct rpc_client *c)
{
	if (c == NULL)
		return;
	rpc_registry_each(&c->streams, cancel_one, NULL);
	(void)rpc_registry_wait_empty(&c->streams, UINT64_MAX);
	channel_unref(c->channel);
	pthread_mutex_lock(&c->lock);
	while (c->watches > 0)
		(void)pthread_cond_wait(&c->unwatched, &c->lock);
	pthread_mutex_unlock(&c->lock);
	release(c);
}

/* ---- what to tell a person --------------------------------------------------------------------- */

static void why_refused(const struct rpc_client *c, char buf[static ERROR_TEXT_MAX])
{
	struct rpc_client *locked = (struct rpc_client *)(uintptr_t)c; /* only its locks change */

	pthread_mutex_lock(&locked->lock);
	pthread_mutex_lock(&locked->verifier->lock);
	memcpy(buf, locked->verifier->refused, ERROR_TEXT_MAX);
	pthread_mutex_unlock(&locked->verifier->lock);
	pthread_mutex_unlock(&locked->lock);
}

static int explain_unavailable(const struct rpc_client *c, const char *text, struct error *e)
{
	static const struct {
		const char *in_text, *hint;
	} rows[] = {
		{ "Connection refused", "is the collector running, and is this its address?" },
		{ "Socket closed",
		  "if this repeats, the collector probably refuses this certificate: its log says why" },
		{ "recvmsg",
		  "if this repeats, the collector probably refuses this certificate: its log says why" },
		{ "is not in peer certificate",
		  "dial a name that stands in the collector's certificate, or set the "
		  "server name" },
		{ "CERTIFICATE_VERIFY_FAILED",
		  "is the order authority's file the one that issued the collector's "
		  "certificate, and is this machine's clock right?" },
		{ "certificate verify failed",
		  "is the order authority's file the one that issued the collector's "
		  "certificate, and is this machine's clock right?" },
		{ "DNS", "check the name in the address" },
	};
	char refused[ERROR_TEXT_MAX];

	why_refused(c, refused);
	if (refused[0] != '\0')
		return error_set(
			e, -EACCES,
			"the collector at '%s' shows a certificate that is refused here: %s",
			c->address, refused);
	error_set(e, -ECONNREFUSED, "no connection to the collector at '%s': %s", c->address, text);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strstr(text, rows[i].in_text) != NULL) {
			error_hint(e, "%s", rows[i].hint);
			break;
		}
	}
	return -ECONNREFUSED;
}

int rpc_client_explain(const struct rpc_client *c, enum rpc_status status, const char *text,
		       struct error *e)
{
	static const int codes[] = {
		[RPC_CANCELLED] = -ECANCELED,
		[RPC_UNKNOWN] = -EPROTO,
		[RPC_INVALID_ARGUMENT] = -EINVAL,
		[RPC_DEADLINE_EXCEEDED] = -ETIMEDOUT,
		[RPC_NOT_FOUND] = -ENOENT,
		[RPC_ALREADY_EXISTS] = -EEXIST,
		[RPC_PERMISSION_DENIED] = -EACCES,
		[RPC_RESOURCE_EXHAUSTED] = -EDQUOT,
		[RPC_FAILED_PRECONDITION] = -EINVAL,
		[RPC_ABORTED] = -ECANCELED,
		[RPC_OUT_OF_RANGE] = -ERANGE,
		[RPC_UNIMPLEMENTED] = -ENOSYS,
		[RPC_INTERNAL] = -EPROTO,
		[RPC_DATA_LOSS] = -EIO,
		[RPC_UNAUTHENTICATED] = -EACCES,
	};
	int code = (size_t)status < ARRAY_LEN(codes) && codes[status] != 0 ? codes[status] :
									     -EPROTO;

	if (status == RPC_OK)
		return 0;
	if (status == RPC_UNAVAILABLE)
		return explain_unavailable(c, text, e);
	error_set(e, code, "the collector at '%s' ended the call: %s%s%s", c->address,
		  rpc_status_name(status), text[0] != '\0' ? ": " : "", text);
	if (status == RPC_DEADLINE_EXCEEDED)
		error_hint(e, "is the collector reachable and not overloaded?");
	return code;
}
