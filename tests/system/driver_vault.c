/* SPDX-License-Identifier: Apache-2.0 */
/* A collector that has a vault and nothing else, for tests that play agent and people.
 *
 * driver_vault DIR SITE READY [NAME=VALUE...]: serves on a port that it writes to READY until SIGTERM. DIR: the
 *	vault. SITE: certificates as `certs` makes them, with host records. An order counts when its id begins
 *	with "asked"; the next byte is its kind. Leaves go to READY.ledger, a line each: index, kind, exhibit,
 *	object, subject, text. NAME: reserve, exhibit, retain, abandon (ms), immutable, port; S3's endpoint,
 *	bucket, key (file), mode, days, part, stall.
 * driver_vault check DIR: vault_check; exit status 1 when there is a fault.
 * An error is one sentence on standard error and exit status 2. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "collector/vault_archive.h"
#include "collector/vault_internal.h"
#include "collector/vault_keeper.h"
#include "collector/vault_service.h"
#include "collector/vault_upload.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/rpc_guard.h"

struct driver {
	const char *dir, *site, *ready;
	char ledger[PATH_MAX];
	pthread_mutex_t lock;
	uint64_t leaves;
	uint64_t port;
	struct vault_config config;
	struct authorities *authorities;
	struct hosts *hosts;
	struct vault *vault;
	struct vault_uploads *uploads;
	struct vault_service *service;
	struct vault_keeper *keeper;
	struct vault_archive_config s3;
	struct vault_archive *archive;
	struct rpc_loop *loop;
	struct rpc_server *server;
};

static int ledger(void *ctx, const Exhibit__V1__LedgerEntry *entry, uint64_t *ret_index,
		  struct error *e)
{
	struct driver *d = ctx;
	char object[65] = "-", exhibit[33] = "-", line[4096];
	int r = 0;

	if (entry->object.len == SEAL_HASH_LEN)
		vault_hex(entry->object.data, SEAL_HASH_LEN, object);
	if (entry->exhibit_id.len == VAULT_ID_LEN)
		vault_hex(entry->exhibit_id.data, VAULT_ID_LEN, exhibit);
	(void)pthread_mutex_lock(&d->lock);
	int n = snprintf(line, sizeof(line), "%" PRIu64 "\t%d\t%s\t%s\t%.*s\t%.*s\n", d->leaves,
			 (int)entry->kind, exhibit, object, (int)entry->subject.len,
			 (const char *)entry->subject.data, (int)entry->text.len,
			 (const char *)entry->text.data);
	AUTO(close_fd) int fd = open(d->ledger, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, line, (size_t)n) != n || fsync(fd) < 0)
		r = error_set(e, -errno, "cannot append to '%s': %m", d->ledger);
	if (r == 0 && ret_index != NULL)
		*ret_index = d->leaves;
	d->leaves += r == 0;
	(void)pthread_mutex_unlock(&d->lock);
	return r;
}

static uint64_t count_lines(const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t n = 0;

	for (int c; f != NULL && (c = fgetc(f)) != EOF;)
		n += c == '\n';
	if (f != NULL)
		(void)fclose(f);
	return n;
}

static int order(void *ctx, const struct batch_name *tenant, const struct batch_name *host_id,
		 const uint8_t id[static VAULT_ID_LEN], struct vault_order *ret, struct error *e)
{
	(void)ctx, (void)tenant, (void)host_id;
	if (memcmp(id, "asked", 5) != 0)
		return error_set(e, -ENOENT, "there is no such order");
	ret->kind = (Exhibit__V1__OrderKind)id[5];
	ret->case_id = (struct batch_name){ 6, "case-1" };
	ret->requester = (struct batch_name){ 3, "ann" };
	return 0;
}

static int set(struct driver *d, const char *word)
{
	static const struct {
		const char *name;
		size_t offset;
	} rows[] = {
		{ "reserve=", offsetof(struct driver, config.reserve_bytes) },
		{ "exhibit=", offsetof(struct driver, config.exhibit_bytes) },
		{ "retain=", offsetof(struct driver, config.retain_ms) },
		{ "abandon=", offsetof(struct driver, config.abandon_ms) },
		{ "port=", offsetof(struct driver, port) },
		{ "part=", offsetof(struct driver, s3.bucket.part_bytes) },
		{ "stall=", offsetof(struct driver, s3.bucket.stall_ms) },
		{ "days=", offsetof(struct driver, s3.bucket.retain_days) },
	};
	static const struct {
		const char *name;
		size_t offset;
	} texts[] = {
		{ "endpoint=", offsetof(struct driver, s3.bucket.endpoint) },
		{ "bucket=", offsetof(struct driver, s3.bucket.name) },
		{ "key=", offsetof(struct driver, s3.bucket.access_key_file) },
		{ "mode=", offsetof(struct driver, s3.bucket.lock_mode) },
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (strncmp(word, texts[i].name, strlen(texts[i].name)) == 0) {
			*(const char **)(void *)((char *)d + texts[i].offset) =
				word + strlen(texts[i].name);
			return 0;
		}

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strncmp(word, rows[i].name, strlen(rows[i].name)) == 0) {
			*(uint64_t *)(void *)((char *)d + rows[i].offset) =
				strtoull(word + strlen(rows[i].name), NULL, 10);
			return 0;
		}
	d->config.immutable = strcmp(word, "immutable=1") == 0;
	return d->config.immutable ? 0 : -EINVAL;
}

static int open_server(struct driver *d, uint16_t *ret_port, struct error *e)
{
	char cert[PATH_MAX], key[PATH_MAX], fleet[PATH_MAX], orders[PATH_MAX], address[64];
	struct rpc_method upload = vault_uploads_method(d->uploads);

	(void)snprintf(cert, sizeof(cert), "%s/collector-collector.crt", d->site);
	(void)snprintf(key, sizeof(key), "%s/collector-collector.key", d->site);
	(void)snprintf(fleet, sizeof(fleet), "%s/fleet-ca.crt", d->site);
	(void)snprintf(orders, sizeof(orders), "%s/order-ca.crt", d->site);
	(void)snprintf(address, sizeof(address), "127.0.0.1:%" PRIu64, d->port);
	int r = rpc_server_new(d->loop,
			       &(struct rpc_server_config){ .address = address,
							    .cert_file = cert,
							    .key_file = key,
							    .fleet_ca_file = fleet,
							    .order_ca_file = orders,
							    .memory_limit_bytes = MiB(256) },
			       &d->server, e);

	if (r == 0)
		r = rpc_server_method(d->server, &upload, e);
	if (r == 0)
		r = vault_service_register(d->service, d->server, e);
	return r == 0 ? rpc_server_start(d->server, ret_port, e) : r;
}

static int open_hosts(struct driver *d, struct error *e)
{
	char fleet[PATH_MAX];

	(void)snprintf(fleet, sizeof(fleet), "%s/fleet-ca.crt", d->site);
	int r = authorities_load(fleet, NULL, &d->authorities, e);

	if (r == 0)
		r = hosts_new(&d->hosts, e);
	if (r == 0)
		r = hosts_load_dir(d->hosts, d->authorities, d->site, NULL, NULL, e);
	return r < 0 ? r : 0;
}

static int open_parts(struct driver *d, uint16_t *ret_port, struct error *e)
{
	int r = vault_open(&d->config, &d->vault, e);

	if (r == 0 && d->s3.bucket.endpoint != NULL) {
		d->s3.vault = d->vault;
		d->s3.bucket.region = "us-east-1";
		d->s3.bucket.prefix = "evidence";
		r = vault_archive_start(&d->s3, &d->archive, e);
	}
	if (r == 0)
		r = rpc_loop_new(3, &d->loop, e);
	if (r == 0)
		r = rpc_loop_start(d->loop, e);
	if (r == 0)
		r = vault_keeper_start(d->vault, &d->keeper, e);
	if (r == 0)
		r = vault_service_new(d->vault, &d->service, e);
	if (r == 0)
		r = open_hosts(d, e);
	if (r == 0)
		r = vault_uploads_new(
			&(struct vault_upload_config){
				.vault = d->vault, .hosts = d->hosts, .calls = 16, .order = order },
			&d->uploads, e);
	return r == 0 ? open_server(d, ret_port, e) : r;
}

static void close_parts(struct driver *d)
{
	vault_uploads_close(d->uploads);
	vault_service_close(d->service);
	if (d->server != NULL)
		rpc_server_drain(d->server, 1000);
	rpc_server_free(d->server);
	vault_uploads_free(d->uploads);
	vault_service_free(d->service);
	rpc_loop_free(d->loop);
	vault_archive_stop(d->archive);
	vault_keeper_stop(d->keeper);
	vault_close(d->vault);
	hosts_free(d->hosts);
	authorities_free(d->authorities);
}

static int serve(struct driver *d, struct error *e)
{
	sigset_t mask;
	uint16_t port = 0;
	char text[16];
	int signal_number;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	int r = open_parts(d, &port, e);

	if (r == 0) {
		int n = snprintf(text, sizeof(text), "%u\n", port);

		r = files_replace(d->ready, text, (size_t)n, 0644, e);
	}
	if (r == 0)
		(void)sigwait(&mask, &signal_number);
	close_parts(d);
	return r;
}

static void print(void *ctx, const char *sentence)
{
	(void)ctx;
	(void)puts(sentence);
}

static int finish(int r, const struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	if (r >= 0)
		return r;
	(void)fprintf(stderr, "driver_vault: %s\n", error_format(e, text, sizeof(text)));
	return 2;
}

int main(int argc, char **argv)
{
	struct driver d = { .lock = PTHREAD_MUTEX_INITIALIZER,
			    .config = {
				    .now = clock_wall_ns, .ledger = ledger, .ledger_ctx = &d } };
	struct error e = { 0 };
	uint64_t faults = 0;
	int r = 0;

	if (argc == 3 && strcmp(argv[1], "check") == 0) {
		r = vault_check(argv[2], NULL, print, NULL, &faults, &e);
		return finish(r == 0 && faults > 0 ? 1 : r, &e);
	}
	if (argc < 4)
		return 2;
	d.dir = d.config.dir = argv[1];
	d.site = argv[2];
	d.ready = argv[3];
	(void)snprintf(d.ledger, sizeof(d.ledger), "%.4000s.ledger", d.ready);
	d.leaves = count_lines(d.ledger);
	for (int i = 4; r == 0 && i < argc; i++)
		r = set(&d, argv[i]);
	if (r < 0)
		(void)error_set(&e, r, "a word cannot be read");
	log_init("driver_vault", LOG_LEVEL_INFO, false);
	(void)signal(SIGPIPE, SIG_IGN);
	if (r == 0)
		r = rpc_guard_scrub_environment(&e);
	if (r == 0)
		r = serve(&d, &e);
	return finish(r, &e);
}
