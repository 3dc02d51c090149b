/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/server.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "collector/enrol_port.h"
#include "collector/ingest.h"
#include "collector/ledger_calls.h"
#include "collector/ledger_feed.h"
#include "collector/live.h"
#include "collector/orders.h"
#include "collector/orders_store.h"
#include "collector/query_service.h"
#include "collector/rebuild.h"
#include "collector/rebuilt.h"
#include "collector/retention_record.h"
#include "collector/row.h"
#include "collector/tokens.h"
#include "collector/vault_parts.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/version.h"
#include "proto/certs.h"
#include "proto/rpc_server.h"

#define RPC_THREADS 3 /* what a rapid reset takes to withstand (transport.md fact 2) */
#define DESCRIPTORS 1048576
#define QUERY_DEADLINE_MS 300000
#define QUERY_STALL_MS 60000

struct server {
	const struct collector_config *c;
	struct authorities *authorities;
	struct seal_key *key;
	struct hosts *hosts;
	struct live *live;
	struct store *store;
	struct ledger *ledger;
	struct ledger_feed *feed;
	struct rebuilt *rebuilt;
	struct writer *writer;
	struct ingest *ingest;
	struct query_service *query;
	struct orders *orders;
	struct vault_parts *vault;
	struct enrol_port *enrol; /* NULL: off */
	struct orders *_Atomic revoker; /* the same, for calls that come while we start */
	struct rpc_loop *loop;
	struct rpc_server *rpc;
	uint16_t port;
	sd_event *event;
	atomic_bool wedged; /* the port accepts nobody any more */
	int64_t started_ns;
	uint8_t version[sizeof(VERSION)]; /* borrowed by answers */
};

void server_store_config(const struct collector_config *c, struct seal_key *key,
			 struct store_config *ret)
{
	*ret = (struct store_config){
		.dir = c->store_dir,
		.segment_bytes = c->segment_bytes,
		.segment_age_ms = c->segment_age_ms,
		.reserve_bytes = c->reserve_bytes,
		.retain_bytes = c->retain_bytes,
		.retain_ms = c->retain_ms,
		.ledger_key = key,
		.tokenize = tokens_extract,
	};
}

int server_ledger_config(const struct collector_config *c, char dir[static SERVER_PATH_MAX],
			 char cert[static SERVER_PATH_MAX], struct ledger_config *ret,
			 struct error *e)
{
	size_t len = strlen(c->ledger_key);
	bool key = len > 4 && strcmp(c->ledger_key + len - 4, ".key") == 0;
	int n = snprintf(dir, SERVER_PATH_MAX, "%s/" LEDGER_FOLDER, c->store_dir), m;

	if (c->ledger_cert && *c->ledger_cert)
		m = snprintf(cert, SERVER_PATH_MAX, "%s", c->ledger_cert);
	else
		m = snprintf(cert, SERVER_PATH_MAX, "%.*s.crt", (int)(key ? len - 4 : len),
			     c->ledger_key);
	if (n < 0 || n >= SERVER_PATH_MAX || m < 0 || m >= SERVER_PATH_MAX)
		return error_set(e, -ENAMETOOLONG, "a path of the ledger is too long");
	*ret = (struct ledger_config){ .dir = dir, .key_file = c->ledger_key, .cert_file = cert };
	return 0;
}

static const char *path_or_null(const char *path)
{
	return path == NULL || *path == '\0' ? NULL : path;
}

/* Out of descriptors the listener never accepts again (transport.md fact 1): ask for all we may have. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max > DESCRIPTORS ? DESCRIPTORS : limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* A host record from the folder, on its way to the store. */
static void recorded(struct writer_item *w, int result, const struct error *why, void *ctx)
{
	const struct server *s = ctx;

	if (result < 0)
		log_failure(LOG_LEVEL_ERROR, "a host record cannot be stored", why);
	else if (w->item.result != STORE_REFUSED)
		hosts_stored(s->hosts, w->data, w->item.len, w->item.received_ns);
	writer_item_free(w);
}

static void store_record(void *ctx, const struct batch_name *tenant, const struct batch_name *host,
			 const void *record, size_t len)
{
	struct server *s = ctx;
	struct writer_item *w = calloc(1, sizeof(*w));

	if (w == NULL || (w->data = malloc(len + 1)) == NULL) {
		free(w);
		return; /* the host's hello brings it again */
	}
	memcpy(w->data, record, len);
	w->tenant = *tenant;
	w->host_id = *host;
	w->item = (struct store_item){ .kind = STORE_HOST_RECORD,
				       .bytes = w->data,
				       .len = len,
				       .received_ns = clock_wall_ns(),
				       .tenant = &w->tenant,
				       .host_id = &w->host_id };
	w->done = recorded;
	w->ctx = s;
	if (!writer_put(s->writer, w))
		writer_item_free(w);
}

static int host_from_store(struct server *s, const struct store_host *stored, struct error *e)
{
	struct host_record_info info;
	struct batch_name tenant, host;
	bool new;
	int r = host_record_open(stored->record, stored->record_len, &info);

	if (r == 0 && batch_name_equal(&info.tenant, &stored->tenant) &&
	    batch_name_equal(&info.host_id, &stored->host_id)) {
		/* Checked before it was stored; an authority may have been replaced since. */
		r = hosts_register(s->hosts, NULL, stored->record, stored->record_len, &new,
				   &tenant, &host, e);
		if (r == 0) {
			hosts_stored(s->hosts, stored->record, stored->record_len,
				     stored->first_received_ns);
		}
		return r;
	}
	if (r < 0 && r != -EBADMSG)
		return error_set(e, r, "cannot read the stored hosts: %m");
	/* One host's damage must not keep the others out. */
	r = hosts_unreadable(s->hosts, &stored->tenant, &stored->host_id, e);
	if (r != -EUCLEAN)
		return r;
	log_failure(LOG_LEVEL_ERROR, "a host is refused", e);
	*e = (struct error){ 0 };
	return 0;
}

/* Hosts as the store remembers them. */
static int hosts_from_store(struct server *s, struct error *e)
{
	struct store_host *stored = NULL;
	size_t n = 0;
	int r = store_hosts(s->store, &stored, &n, e);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = host_from_store(s, &stored[i], e);
	store_hosts_free(stored, n);
	return r;
}

static int load_records(struct server *s, struct error *e)
{
	const char *dir = path_or_null(s->c->hosts_dir);
	int r = dir == NULL ? 0 : hosts_load_dir(s->hosts, s->authorities, dir, store_record, s, e);

	return r == -ENOENT ? 0 : r < 0 ? r : 0;
}

static void on_wedged(const char *why, void *ctx)
{
	struct server *s = ctx;

	log_error(
		"the port no longer accepts connections, ending so that the supervisor starts us anew",
		KV_STR("why", why));
	atomic_store(&s->wedged, true);
	(void)kill(getpid(), SIGTERM); /* the main thread's to take */
}

static void fill_archive(struct server *s, Exhibit__V1__StoreStatus *status)
{
	Exhibit__V1__StatusArchive *m = calloc(1, sizeof(*m));

	if (!m)
		return;
	exhibit__v1__status_archive__init(m);
	if (vault_parts_status(s->vault, m))
		status->archive = m;
	else
		free(m);
}

static void fill_rebuilt(struct server *s, Exhibit__V1__StoreStatus *status)
{
	Exhibit__V1__StatusRebuilt *m = calloc(1, sizeof(*m));

	if (!m)
		return;
	exhibit__v1__status_rebuilt__init(m);
	status->rebuilt = m;
	if (rebuilt_status(s->rebuilt, m))
		return;
	rebuilt_status_release(m);
	free(TAKE(status->rebuilt));
}

static void fill_status(void *ctx, Exhibit__V1__StoreStatus *status)
{
	struct server *s = ctx;

	status->connected = hosts_connected_total(s->hosts);
	status->rejected = ingest_rejected(s->ingest);
	status->version = (ProtobufCBinaryData){ strlen(VERSION), s->version };
	status->started_ns = s->started_ns;
	fill_archive(s, status);
	fill_rebuilt(s, status);
}

static void release_status(Exhibit__V1__StoreStatus *status)
{
	if (status->archive)
		free(status->archive->failure.data);
	free(TAKE(status->archive));
	if (status->rebuilt)
		rebuilt_status_release(status->rebuilt);
	free(TAKE(status->rebuilt));
}

static void feed_live(void *ctx, const struct store_ref *ref, const struct store_item *item)
{
	const struct server *s = ctx;

	(void)item;
	live_feed(s->live, ref);
}

static void feed_ledger(void *ctx, enum store_kind kind, const struct batch_name *tenant,
			const uint8_t *body, size_t len)
{
	const struct server *s = ctx;

	ledger_feed_owe(s->feed, kind, tenant, body, len);
}

static int open_ledger(struct server *s, struct error *e)
{
	char dir[SERVER_PATH_MAX], cert[SERVER_PATH_MAX];
	struct ledger_config c;
	int r = server_ledger_config(s->c, dir, cert, &c, e);

	if (r == 0)
		r = ledger_open(&c, &s->ledger, e);
	if (r == 0)
		r = rebuilt_open(dir, s->ledger, &s->rebuilt, e);
	return r == 0 ? ledger_feed_open(s->ledger, s->store, dir, &s->feed, e) : r;
}

static struct query_env query_env(struct server *s)
{
	return (struct query_env){ .store = s->store,
				   .ledger = s->ledger,
				   .hosts = s->hosts,
				   .live = s->live,
				   .now = clock_wall_ns,
				   .status = fill_status,
				   .status_release = release_status,
				   .status_ctx = s };
}

static bool refuses(void *ctx, const struct identity *who)
{
	struct server *s = ctx;
	struct orders *o = atomic_load(&s->revoker);

	return o != NULL && orders_revoked(o, who);
}

static void on_revoked(void *ctx)
{
	const struct server *s = ctx;

	rpc_server_recheck(s->rpc);
}

static int start_orders(struct server *s, struct error *e)
{
	struct orders_config c = { .authorities = s->authorities,
				   .per_minute = s->c->orders_per_minute,
				   .per_host = s->c->orders_per_host,
				   .now = clock_wall_ns,
				   .leaf = ledger_call_leaf,
				   .checkpoint = ledger_call_update,
				   .ledger_ctx = s->ledger,
				   .held = rebuilt_held,
				   .held_ctx = s->rebuilt,
				   .on_revoked = on_revoked,
				   .on_revoked_ctx = s };
	char dir[PATH_MAX];
	int r = orders_parse_approvals(&s->c->orders_approvals, c.approvals, e);

	if (r < 0)
		return r;
	if (snprintf(dir, sizeof(dir), "%s/" ORDERS_FOLDER, s->c->store_dir) >= (int)sizeof(dir))
		return error_set(e, -ENAMETOOLONG, "store.dir is too long");
	c.dir = dir;
	r = orders_start(&c, &s->orders, e);
	atomic_store(&s->revoker, s->orders);
	return r;
}

static int open_rpc(struct server *s, struct error *e)
{
	const struct collector_config *c = s->c;
	int r = rpc_loop_new(RPC_THREADS, &s->loop, e);

	if (r == 0)
		r = rpc_loop_start(s->loop, e);
	if (r == 0)
		r = rpc_server_new(
			s->loop,
			&(struct rpc_server_config){ .address = c->listen,
						     .cert_file = c->tls_cert,
						     .key_file = c->tls_key,
						     .fleet_ca_file = c->tls_fleet_ca,
						     .order_ca_file = c->tls_order_ca,
						     .deny_file = path_or_null(c->deny_file),
						     .memory_limit_bytes = c->memory_bytes,
						     .hold = true,
						     .on_wedged = on_wedged,
						     .on_wedged_ctx = s,
						     .refuses = refuses,
						     .refuses_ctx = s },
			&s->rpc, e);
	return r == 0 ? rpc_server_start(s->rpc, &s->port, e) : r;
}

/* The store is there, and all who work on it. */
static int open_methods(struct server *s, struct error *e)
{
	struct rpc_method method = ingest_method(s->ingest);
	int r = rpc_server_method(s->rpc, &method, e);

	if (r == 0)
		r = query_service_register(s->query, s->rpc, e);
	if (r == 0)
		r = orders_register(s->orders, s->rpc, e);
	if (r == 0)
		r = vault_parts_register(s->vault, s->rpc, e);
	if (r == 0)
		rpc_server_open(s->rpc);
	return r;
}

/* A collector that was just installed has none. */
static int load_papers(struct server *s, struct error *e)
{
	int r = authorities_load(s->c->tls_fleet_ca, s->c->tls_order_ca, &s->authorities, e);

	if (r == -ENOENT)
		error_hint(e, "'exhibit-collector certs' makes authorities and certificates (certs "
			      "--help), 'make run' makes all that one machine needs");
	return r;
}

static int open_parts(struct server *s, struct error *e)
{
	const struct collector_config *c = s->c;
	struct store_config store;
	uint8_t public[SEAL_PUBLIC_LEN];
	int r = rebuild_refuse_half(c->store_dir, e);

	if (r == 0)
		r = load_papers(s, e);
	if (r == 0)
		r = certs_sealing_key(c->ledger_key, public, e);
	if (r == 0)
		r = seal_key_load(c->ledger_key, &s->key, e);
	/* To read a large store takes its time: health says so meanwhile, everything else comes back. */
	if (r == 0)
		r = open_rpc(s, e);
	if (r == 0)
		r = hosts_new(&s->hosts, e);
	if (r == 0)
		r = live_new(&s->live, e);
	if (r == 0) {
		server_store_config(c, s->key, &store);
		store.on_stored = feed_live;
		store.on_frame = feed_ledger;
		store.ctx = s;
		r = store_open(&store, &s->store, e);
	}
	if (r == 0)
		r = open_ledger(s, e);
	if (r == 0)
		r = hosts_from_store(s, e);
	if (r == 0)
		r = writer_start(s->store, s->feed, &s->writer, e);
	if (r == 0)
		r = load_records(s, e);
	if (r == 0)
		r = ingest_start(&(struct ingest_config){ .hosts = s->hosts,
							  .writer = s->writer,
							  .authorities = s->authorities,
							  .workers =
								  (unsigned int)c->ingest_workers,
							  .memory_bytes = c->memory_bytes / 8 },
				 &s->ingest, e);
	if (r == 0)
		r = query_service_new(
			&(struct query_service_config){ .env = query_env(s),
							.threads = (unsigned int)c->query_workers,
							.deadline_ms = QUERY_DEADLINE_MS,
							.stall_ms = QUERY_STALL_MS },
			&s->query, e);
	if (r == 0)
		r = start_orders(s, e);
	if (r == 0)
		r = vault_parts_open(c, s->hosts, s->orders, s->ledger, s->store, &s->vault, e);
	if (r == 0)
		r = open_methods(s, e);
	return r == 0 ? enrol_port_open(&(struct enrol_port_config){ .c = c,
								     .loop = s->loop,
								     .hosts = s->hosts,
								     .orders = s->orders,
								     .ledger = s->ledger,
								     .record = store_record,
								     .on_wedged = on_wedged,
								     .ctx = s },
					&s->enrol, e) :
			r;
}

/* In the reverse of the data's way: nobody comes in, what is here is stored, then all is closed. */
static void close_parts(struct server *s)
{
	(void)sd_notify(0, "STOPPING=1");
	if (s->ingest != NULL)
		ingest_goodbye(s->ingest);
	if (s->orders != NULL)
		orders_goodbye(s->orders);
	if (s->query != NULL)
		query_service_close(s->query);
	vault_parts_stop(s->vault);
	if (s->rpc != NULL)
		rpc_server_drain(s->rpc, s->c->stop_timeout_ms);
	rpc_server_free(s->rpc);
	enrol_port_free(s->enrol);
	query_service_free(s->query);
	vault_parts_free(s->vault);
	orders_free(s->orders);
	ingest_stop(s->ingest);
	writer_stop(s->writer);
	ingest_free(s->ingest);
	rpc_loop_free(s->loop);
	ledger_feed_free(s->feed);
	rebuilt_close(s->rebuilt);
	ledger_close(s->ledger);
	store_close(s->store);
	live_free(s->live);
	hosts_free(s->hosts);
	seal_key_free(s->key);
	authorities_free(s->authorities);
	sd_event_unref(s->event);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	(void)info;
	(void)ctx;
	log_info("stopping");
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/* Handshakes and host records are checked against the same authorities: both are taken, or neither. */
static int reload_trust(struct server *s, struct error *e)
{
	AUTO(authorities_free_ptr) struct authorities *other = NULL;
	int r = authorities_load(s->c->tls_fleet_ca, s->c->tls_order_ca, &other, e);

	if (r == 0)
		r = rpc_server_reload(s->rpc, e);
	if (r == 0)
		r = enrol_port_reload(s->enrol, e);
	if (r < 0)
		return r;
	ingest_trust(s->ingest, other);
	orders_trust(s->orders, other);
	struct authorities *old = s->authorities;

	s->authorities = other;
	other = old;
	return 0;
}

static int on_reload(sd_event_source *source, const struct signalfd_siginfo *info, void *ctx)
{
	struct server *s = ctx;
	struct error e = { 0 };

	(void)source;
	(void)info;
	if (reload_trust(s, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "nothing is read again", &e);
	else if (load_records(s, &e) < 0)
		log_failure(LOG_LEVEL_ERROR,
			    "certificates and authorities are read again, host records are not",
			    &e);
	else
		log_info("certificates, authorities, deny list and host records are read again");
	return 0;
}

static int open_event(struct server *s, struct error *e)
{
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL); /* before threads: they inherit it */
	(void)signal(SIGPIPE, SIG_IGN);
	int r = sd_event_new(&s->event);

	if (r >= 0)
		r = sd_event_add_signal(s->event, NULL, SIGTERM, on_stop, s);
	if (r >= 0)
		r = sd_event_add_signal(s->event, NULL, SIGINT, on_stop, s);
	if (r >= 0)
		r = sd_event_add_signal(s->event, NULL, SIGHUP, on_reload, s);
	if (r >= 0)
		r = sd_event_set_watchdog(s->event, 1);
	return r < 0 ? error_set(e, r, "cannot make an event loop: %m") : 0;
}

static int tell_ready(const struct server *s, struct error *e)
{
	const char *file = path_or_null(s->c->ready_file);
	char text[16];
	int n = snprintf(text, sizeof(text), "%u\n", s->port);

	log_info("serving", KV_STR("listen", s->c->listen), KV_U64("port", s->port));
	(void)sd_notify(0, "READY=1");
	return file == NULL ? 0 : files_replace(file, text, (size_t)n, 0644, e);
}

int server_run(const struct collector_config *c, struct error *e)
{
	struct server s = { .c = c, .started_ns = clock_wall_ns(), .version = VERSION };

	raise_descriptors();
	int r = open_event(&s, e);

	if (r == 0)
		r = open_parts(&s, e);
	if (r == 0)
		r = tell_ready(&s, e);
	if (r == 0) {
		r = sd_event_loop(s.event);
		if (r < 0)
			(void)error_set(e, r, "the event loop failed: %m");
	}
	/* A supervisor may start again only what failed. */
	if (r >= 0 && atomic_load(&s.wedged))
		r = error_set(e, -EMFILE, "the port no longer accepts connections");
	close_parts(&s);
	return r;
}
