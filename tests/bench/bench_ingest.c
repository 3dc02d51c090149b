/* SPDX-License-Identifier: Apache-2.0 */
/* Many agents in one process against a collector: real mutual TLS, a certificate and a sealing key per
 * host, batches of 500 events sealed before the clock runs, a window of unacknowledged ones as agents
 * have. Prints "KEY VALUE" lines: connected, connect_seconds, then (without --idle) acked_events,
 * acked_batches, seconds, events_per_second, bytes, sender_cpu_seconds, and the needles' names.
 *
 * --address HOST:PORT  the collector
 * --ca DIR             where fleet-ca.{crt,key} and order-ca.crt lie
 * --work DIR           for the hosts' keys and certificates; kept for the next run
 * --connections N      hosts (1)
 * --batches M          per connection (100); 0: none
 * --idle SECONDS       hold the connections that long, saying every 5 s that all is quiet
 * --window W           unacknowledged batches per connection (8, as agents)
 * --needles K          batches of each lane of the first host that hold what questions ask for (0)
 * --days D             the events of each host span D days that end now (1)
 * --prefix NAME        of host ids (bench)
 * --threads T          of gRPC (1) */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/certs.h"
#include "proto/envelope.h"
#include "proto/rpc_client.h"
#include "proto/rpc_guard.h"
#include "service.pb-c.h"
#include "tests/bench/synthetic.h"

#define TENANT "default"
#define DOMAIN "exhibit.internal"
#define PATH_LEN 512
#define RECORD_MAX KiB(4)
#define CONNECT_MAX_S 300
#define STALLED_S 60 /* no acknowledgement for so long: give up */
#define IDLE_EVERY_S 5

struct settings {
	const char *address, *ca, *work, *prefix;
	uint64_t connections, batches, idle_s, window, needles, days, threads;
};

struct message {
	uint8_t *data;
	size_t len;
	enum batch_lane lane;
};

struct client {
	struct bench *bench;
	struct rpc_client *rpc;
	struct rpc_stream *stream;
	struct seal_key *key;
	struct synthetic *synthetic;
	struct message *messages;
	pthread_mutex_t lock; /* of what follows: callbacks, and main as it starts */
	size_t sent;
	uint64_t acked[BATCH_LANES + 1]; /* number, by lane; numbers begin at 1 */
};

struct bench {
	struct settings s;
	struct rpc_loop *loop;
	struct certs_authority *fleet;
	struct client *clients;
	atomic_uint_fast64_t greeted, closed, acked, bytes;
	atomic_bool go, ending;
	atomic_uint_fast64_t last_ack_ns;
};

static void die(const char *what, const struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	(void)fprintf(stderr, "bench_ingest: %s: %s\n", what,
		      e == NULL ? strerror(errno) : error_format(e, text, sizeof(text)));
	exit(1);
}

/* ---- a connection's callbacks --------------------------------------------------------------------- */

/* Send what the window has room for. Under the client's lock. */
static void pump(struct client *c)
{
	struct bench *b = c->bench;

	while (c->sent < b->s.batches &&
	       c->sent - (c->acked[BATCH_LANE_CRITICAL] + c->acked[BATCH_LANE_BULK]) <
		       b->s.window) {
		struct message *m = &c->messages[c->sent];

		if (rpc_stream_send(c->stream, m->data, m->len) < 0)
			return; /* full: on_sendable; closed: on_closed tells */
		m->data = NULL;
		(void)atomic_fetch_add(&b->bytes, m->len);
		c->sent++;
	}
}

static void take_ack(struct client *c, const uint8_t *body, size_t len)
{
	Exhibit__V1__Ack *ack = exhibit__v1__ack__unpack(NULL, len, body);
	struct bench *b = c->bench;

	if (ack == NULL)
		die("an acknowledgement cannot be read", NULL);
	(void)pthread_mutex_lock(&c->lock);
	uint64_t before = c->acked[ack->lane];

	if (ack->number > before) {
		c->acked[ack->lane] = ack->number;
		(void)atomic_fetch_add(&b->acked, ack->number - before);
		atomic_store(&b->last_ack_ns, clock_monotonic_ns());
	}
	pump(c);
	(void)pthread_mutex_unlock(&c->lock);
	exhibit__v1__ack__free_unpacked(ack, NULL);
}

static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct client *c = ctx;
	const uint8_t *body;
	uint32_t field;
	size_t body_len;

	(void)s;
	if (envelope_open(data, len, ENVELOPE_GOODBYE, &field, &body, &body_len) < 0)
		die("the collector's answer cannot be read", NULL);
	if (field == ENVELOPE_HELLO_REPLY)
		(void)atomic_fetch_add(&c->bench->greeted, 1);
	if (field == ENVELOPE_ACK)
		take_ack(c, body, body_len);
	free(data);
}

static void on_sendable(struct rpc_stream *s, void *ctx)
{
	struct client *c = ctx;

	(void)s;
	(void)pthread_mutex_lock(&c->lock);
	if (atomic_load(&c->bench->go))
		pump(c);
	(void)pthread_mutex_unlock(&c->lock);
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct client *c = ctx;

	(void)s;
	if (!atomic_load(&c->bench->ending) && atomic_fetch_add(&c->bench->closed, 1) == 0)
		(void)fprintf(stderr, "bench_ingest: a stream was closed: %s %s\n",
			      rpc_status_name(status), text);
}

static const struct rpc_stream_ops stream_ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_closed = on_closed,
};

/* ---- hosts ---------------------------------------------------------------------------------------- */

static void make_host(struct bench *b, uint64_t i, char base[static PATH_LEN])
{
	struct certs_leaf leaf = { .seconds = 30 * 86400 };
	char key[PATH_LEN + 32], record[PATH_LEN + 32];
	uint8_t public[SEAL_PUBLIC_LEN];
	int64_t now_s = clock_wall_ns() / (int64_t)NSEC_PER_SEC;
	struct client *c = &b->clients[i];
	struct error e = { 0 };

	leaf.id.kind = IDENTITY_HOST;
	(void)snprintf(leaf.id.domain, sizeof(leaf.id.domain), DOMAIN);
	(void)snprintf(leaf.id.tenant, sizeof(leaf.id.tenant), TENANT);
	(void)snprintf(leaf.id.name, sizeof(leaf.id.name), "%s-%05llu", b->s.prefix,
		       (unsigned long long)i);
	(void)snprintf(base, PATH_LEN, "%s/%s", b->s.work, leaf.id.name);
	(void)snprintf(key, sizeof(key), "%s.seal.key", base);
	(void)snprintf(record, sizeof(record), "%s.record", base);
	if (!certs_fresh(b->fleet, &leaf, now_s, base) &&
	    certs_issue(b->fleet, &leaf, now_s, base, &e) < 0)
		die("cannot issue a certificate", &e);
	if (certs_sealing_key(key, public, &e) < 0 || seal_key_load(key, &c->key, &e) < 0)
		die("cannot make a sealing key", &e);
	if (access(record, R_OK) != 0 &&
	    certs_host_record(b->fleet, &leaf.id, leaf.id.name, public, 1, record, &e) < 0)
		die("cannot make a host record", &e);
	c->synthetic = synthetic_new(&(struct synthetic_config){
		.tenant = TENANT,
		.host_id = leaf.id.name,
		.key = c->key,
		.seed = i + 1 + (uint64_t)now_s % 100000 * 100000,
		.begin_wall_ns = (now_s - (int64_t)b->s.days * 86400) * (int64_t)NSEC_PER_SEC,
		.step_ns =
			b->s.days * 86400 * NSEC_PER_SEC / ((b->s.batches + 1) * SYNTHETIC_EVENTS),
	});
	if (c->synthetic == NULL)
		die("cannot make a host", NULL);
}

/* Which batch of the first host holds a needle: evenly spread, the lanes in turn. */
static enum synthetic_needle needle_of(const struct bench *b, uint64_t host, uint64_t batch)
{
	uint64_t every = b->s.needles == 0 ? 0 : b->s.batches / (2 * b->s.needles);

	if (host != 0 || every == 0 || batch % every != 0 || batch / every >= 2 * b->s.needles)
		return SYNTHETIC_PLAIN;
	return batch / every % 2 == 0 ? SYNTHETIC_NEEDLE_CRITICAL : SYNTHETIC_NEEDLE_BULK;
}

static void seal_all(struct bench *b, uint64_t host)
{
	struct client *c = &b->clients[host];
	struct batch_header h;
	struct error e = { 0 };
	const uint8_t *bytes;
	size_t len;

	c->messages = calloc(b->s.batches + 1, sizeof(*c->messages));
	if (c->messages == NULL)
		die("cannot keep batches", NULL);
	for (uint64_t i = 0; i < b->s.batches; i++) {
		struct message *m = &c->messages[i];

		if (synthetic_batch(c->synthetic, needle_of(b, host, i), &h, &bytes, &len, &e) < 0)
			die("cannot seal a batch", &e);
		m->lane = h.lane;
		m->data = envelope_make(ENVELOPE_BATCH, bytes, len, &m->len);
		if (m->data == NULL)
			die("cannot keep a batch", NULL);
	}
}

static void send_hello(struct client *c, const char *base)
{
	Exhibit__V1__Hello hello = EXHIBIT__V1__HELLO__INIT;
	AUTO(free_ptr) uint8_t *record = NULL;
	uint8_t body[RECORD_MAX + 512];
	char file[PATH_LEN + 32];
	struct error e = { 0 };
	size_t len;

	(void)snprintf(file, sizeof(file), "%s.record", base);
	if (files_read(file, RECORD_MAX, &record, &len, &e) < 0)
		die("cannot read a host record", &e);
	hello.protocol_min = hello.protocol_max = 1;
	hello.version = (ProtobufCBinaryData){ 5, (uint8_t *)(uintptr_t) "bench" };
	hello.host_record = exhibit__v1__signed_host_record__unpack(NULL, len, record);
	if (hello.host_record == NULL)
		die("a host record cannot be read", NULL);
	len = exhibit__v1__hello__pack(&hello, body);
	exhibit__v1__signed_host_record__free_unpacked(hello.host_record, NULL);
	uint8_t *message = envelope_make(ENVELOPE_HELLO, body, len, &len);

	if (message == NULL || rpc_stream_send(c->stream, message, len) < 0)
		die("cannot say hello", NULL);
}

static void open_client(struct bench *b, uint64_t i, const char *base)
{
	struct client *c = &b->clients[i];
	char cert[PATH_LEN + 32], key[PATH_LEN + 32], order[PATH_LEN + 32];
	struct error e = { 0 };

	(void)snprintf(cert, sizeof(cert), "%s.crt", base);
	(void)snprintf(key, sizeof(key), "%s.key", base);
	(void)snprintf(order, sizeof(order), "%s/order-ca.crt", b->s.ca);
	if (rpc_client_new(b->loop,
			   &(struct rpc_client_config){ .address = b->s.address,
							.cert_file = cert,
							.key_file = key,
							.order_ca_file = order },
			   &c->rpc, &e) < 0)
		die("cannot make a connection", &e);
	if (rpc_client_open(c->rpc,
			    &(struct rpc_call){ .path = "/exhibit.v1.Agent/Events",
						.ops = &stream_ops,
						.ctx = c,
						.wait_for_ready = true },
			    &c->stream, &e) < 0)
		die("cannot begin a call", &e);
	rpc_stream_want_read(c->stream, true);
	send_hello(c, base);
}

/* ---- the run -------------------------------------------------------------------------------------- */

static void nap(void)
{
	(void)usleep(2000);
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_monotonic_ns() - start_ns) / 1e9;
}

static void connect_all(struct bench *b, char (*bases)[PATH_LEN])
{
	uint64_t start = clock_monotonic_ns();

	for (uint64_t i = 0; i < b->s.connections; i++)
		open_client(b, i, bases[i]);
	while (atomic_load(&b->greeted) < b->s.connections && seconds_since(start) < CONNECT_MAX_S)
		nap();
	printf("connected %llu\nconnect_seconds %.3f\n",
	       (unsigned long long)atomic_load(&b->greeted), seconds_since(start));
	(void)fflush(stdout);
	if (atomic_load(&b->greeted) < b->s.connections)
		exit(1);
}

static double cpu_seconds(void)
{
	struct rusage u;

	(void)getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void send_all(struct bench *b)
{
	uint64_t total = b->s.connections * b->s.batches, start = clock_monotonic_ns();
	double cpu = cpu_seconds();

	atomic_store(&b->last_ack_ns, start);
	atomic_store(&b->go, true);
	for (uint64_t i = 0; i < b->s.connections; i++) {
		(void)pthread_mutex_lock(&b->clients[i].lock);
		pump(&b->clients[i]);
		(void)pthread_mutex_unlock(&b->clients[i].lock);
	}
	while (atomic_load(&b->acked) < total && atomic_load(&b->closed) == 0 &&
	       seconds_since(atomic_load(&b->last_ack_ns)) < STALLED_S)
		nap();
	double took = (double)(atomic_load(&b->last_ack_ns) - start) / 1e9;
	uint64_t acked = atomic_load(&b->acked);

	printf("acked_batches %llu\nacked_events %llu\nseconds %.3f\nevents_per_second %.0f\n"
	       "bytes %llu\nsender_cpu_seconds %.3f\n",
	       (unsigned long long)acked, (unsigned long long)acked * SYNTHETIC_EVENTS, took,
	       (double)(acked * SYNTHETIC_EVENTS) / took,
	       (unsigned long long)atomic_load(&b->bytes), cpu_seconds() - cpu);
	printf("needle_entity %s\nneedle_address " SYNTHETIC_ADDRESS "\nneedle_path " SYNTHETIC_PATH
	       "\nneedle_text " SYNTHETIC_TEXT "\n",
	       synthetic_entity(b->clients[0].synthetic));
	(void)fflush(stdout);
	if (acked < total)
		exit(1);
}

static void say_idle(struct client *c, struct arena *a)
{
	const uint8_t *bytes;
	size_t len;

	for (int lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANE_BULK; lane++) {
		arena_reset(a);
		if (synthetic_idle(c->synthetic, (enum batch_lane)lane, a, &bytes, &len, NULL) < 0)
			continue;
		uint8_t *message = envelope_make(ENVELOPE_IDLE, bytes, len, &len);

		if (message != NULL && rpc_stream_send(c->stream, message, len) < 0)
			free(message); /* the next one comes soon */
	}
}

static void hold(struct bench *b)
{
	struct arena *a = arena_new(MiB(1), KiB(64));
	uint64_t start = clock_monotonic_ns();

	while (a != NULL && seconds_since(start) < (double)b->s.idle_s) {
		uint64_t round = clock_monotonic_ns();

		for (uint64_t i = 0; i < b->s.connections; i++)
			say_idle(&b->clients[i], a);
		while (seconds_since(round) < IDLE_EVERY_S &&
		       seconds_since(start) < (double)b->s.idle_s)
			nap();
	}
	arena_free(a);
	printf("closed_early %llu\n", (unsigned long long)atomic_load(&b->closed));
}

static void end(struct bench *b)
{
	atomic_store(&b->ending, true);
	for (uint64_t i = 0; i < b->s.connections; i++)
		rpc_stream_cancel(b->clients[i].stream);
	for (uint64_t i = 0; i < b->s.connections; i++) {
		struct client *c = &b->clients[i];

		rpc_stream_unref(c->stream);
		rpc_client_free(c->rpc);
		synthetic_free(c->synthetic);
		seal_key_free(c->key);
		for (uint64_t k = 0; k < b->s.batches; k++)
			free(c->messages[k].data);
		free(c->messages);
	}
	rpc_loop_free(b->loop);
	certs_authority_free(b->fleet);
	free(b->clients);
}

static uint64_t number(const char *text)
{
	char *stop;
	unsigned long long v = strtoull(text, &stop, 10);

	if (*text == '\0' || *stop != '\0') {
		(void)fprintf(stderr, "bench_ingest: '%s' is no number\n", text);
		exit(2);
	}
	return v;
}

static void parse(int argc, char **argv, struct settings *s)
{
	static const struct option flags[] = {
		{ "address", required_argument, NULL, 'a' },
		{ "ca", required_argument, NULL, 'c' },
		{ "work", required_argument, NULL, 'w' },
		{ "prefix", required_argument, NULL, 'p' },
		{ "connections", required_argument, NULL, 0 },
		{ "batches", required_argument, NULL, 1 },
		{ "idle", required_argument, NULL, 2 },
		{ "window", required_argument, NULL, 3 },
		{ "needles", required_argument, NULL, 4 },
		{ "days", required_argument, NULL, 5 },
		{ "threads", required_argument, NULL, 6 },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t *const numbers[] = { &s->connections, &s->batches, &s->idle_s, &s->window,
				      &s->needles,     &s->days,    &s->threads };
	int c;

	while ((c = getopt_long(argc, argv, "", flags, NULL)) != -1) {
		if (c == 'a')
			s->address = optarg;
		else if (c == 'c')
			s->ca = optarg;
		else if (c == 'w')
			s->work = optarg;
		else if (c == 'p')
			s->prefix = optarg;
		else if (c < (int)ARRAY_LEN(numbers))
			*numbers[c] = number(optarg);
		else
			exit(2);
	}
	if (s->address == NULL || s->ca == NULL || s->work == NULL || s->connections == 0 ||
	    s->days == 0 || optind != argc) {
		(void)fprintf(stderr, "usage: bench_ingest --address HOST:PORT --ca DIR --work DIR "
				      "[--connections N] [--batches M] [--idle SECONDS]\n");
		exit(2);
	}
}

static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct bench b = { .s = { .connections = 1,
				  .batches = 100,
				  .window = 8,
				  .days = 1,
				  .threads = 1,
				  .prefix = "bench" } };
	char base[PATH_LEN];
	struct error e = { 0 };

	parse(argc, argv, &b.s);
	raise_descriptors();
	(void)mkdir(b.s.work, 0700);
	(void)snprintf(base, sizeof(base), "%s/fleet-ca", b.s.ca);
	if (rpc_guard_scrub_environment(&e) < 0 || certs_authority_load(base, &b.fleet, &e) < 0 ||
	    rpc_loop_new((unsigned int)b.s.threads, &b.loop, &e) < 0)
		die("cannot begin", &e);
	b.clients = calloc(b.s.connections, sizeof(*b.clients));
	char(*bases)[PATH_LEN] = calloc(b.s.connections, sizeof(*bases));

	if (b.clients == NULL || bases == NULL)
		die("cannot begin", NULL);
	for (uint64_t i = 0; i < b.s.connections; i++) {
		b.clients[i].bench = &b;
		(void)pthread_mutex_init(&b.clients[i].lock, NULL);
		make_host(&b, i, bases[i]);
		seal_all(&b, i);
	}
	if (rpc_loop_start(b.loop, &e) < 0)
		die("cannot begin", &e);
	connect_all(&b, bases);
	if (b.s.batches > 0)
		send_all(&b);
	if (b.s.idle_s > 0)
		hold(&b);
	free(bases);
	end(&b);
	return 0;
}
