/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/config.h"

#include <errno.h>

#include "collector/orders.h"
#include "collector/s3.h"
#include "collector/vault_upload.h"
#include "proto/base/log.h"

#define AT(member) offsetof(struct collector_config, member)
#define PATH_LEN_MAX 4000

static const struct option rows[] = {
	{ "listen", OPT_ADDRESS, AT(listen), 0, 65535, "0.0.0.0:7443",
	  "address to serve agents and responders on", NULL },
	{ "tls.cert", OPT_STRING, AT(tls_cert), 1, PATH_LEN_MAX, "/etc/exhibit/collector.crt",
	  "the collector's certificate, issued by the order authority", "FILE" },
	{ "tls.key", OPT_STRING, AT(tls_key), 1, PATH_LEN_MAX, "/etc/exhibit/collector.key",
	  "key of tls.cert", "FILE" },
	{ "tls.fleet-ca", OPT_STRING, AT(tls_fleet_ca), 1, PATH_LEN_MAX,
	  "/etc/exhibit/fleet-ca.crt", "the fleet authority, which issues hosts", "FILE" },
	{ "tls.order-ca", OPT_STRING, AT(tls_order_ca), 1, PATH_LEN_MAX,
	  "/etc/exhibit/order-ca.crt",
	  "the order authority, which issues responders and collectors", "FILE" },
	{ "tls.deny", OPT_STRING, AT(deny_file), 0, PATH_LEN_MAX, NULL,
	  "certificates and hosts that are refused: lines 'serial HEX' and 'host ID'; read again on SIGHUP",
	  "FILE" },
	{ "store.dir", OPT_STRING, AT(store_dir), 1, PATH_LEN_MAX, "/var/lib/exhibit/store",
	  "folder of segments, catalog and index", "DIR" },
	{ "store.segment-bytes", OPT_BYTES, AT(segment_bytes), MiB(1), GiB(4), "64MiB",
	  "seal a segment at this size", NULL },
	{ "store.segment-age", OPT_DURATION_MS, AT(segment_age_ms), 1000, 604800000, "10m",
	  "seal a segment at this age", NULL },
	{ "store.reserve", OPT_BYTES, AT(reserve_bytes), 0, TiB(1), "256MiB",
	  "refuse batches when the file system has less than this left", NULL },
	{ "store.retain-bytes", OPT_BYTES, AT(retain_bytes), 0, UINT64_MAX, "0",
	  "remove the oldest segments above this size, 0: never", NULL },
	{ "store.retain-age", OPT_DURATION_MS, AT(retain_ms), 0, UINT64_MAX, "0s",
	  "remove segments older than this, 0s: never", NULL },
	{ "store.ledger-key", OPT_STRING, AT(ledger_key), 1, PATH_LEN_MAX,
	  "/etc/exhibit/ledger.key", "Ed25519 key that signs checkpoints and retention records",
	  "FILE" },
	{ "store.ledger-certificate", OPT_STRING, AT(ledger_cert), 0, PATH_LEN_MAX, NULL,
	  "the order authority's certificate for it; default: the same path with .crt for .key",
	  "FILE" },
	{ "enrol.listen", OPT_STRING, AT(enrol_listen), 0, 300, NULL,
	  "HOST:PORT where hosts without a certificate enrol with a token ('exhibit-collector tokens'); off, if not "
	  "given",
	  "ADDRESS" },
	{ "enrol.authority", OPT_STRING, AT(enrol_authority), 1, PATH_LEN_MAX,
	  "/etc/exhibit/fleet-ca",
	  "the fleet authority that issues to them: BASE.crt and BASE.key; read only with enrol.listen",
	  "BASE" },
	{ "hosts.dir", OPT_STRING, AT(hosts_dir), 0, PATH_LEN_MAX, "/etc/exhibit/hosts",
	  "folder of signed host records (NAME.record); read again on SIGHUP", "DIR" },
	{ "orders.require-approvals", OPT_STRINGS, AT(orders_approvals), 0, OPTION_LIST_MAX, NULL,
	  "approvals that an order takes before hosts get it: KIND=N, all=N; each host may want more",
	  "KIND=N" },
	{ "orders.per-minute", OPT_U64, AT(orders_per_minute), 1, 100000, "60",
	  "orders that one person may give within a minute", "N" },
	{ "orders.per-host", OPT_U64, AT(orders_per_host), 1, 1024, "16",
	  "orders that may be open for one host at a time", "N" },
	{ "vault.dir", OPT_STRING, AT(vault_dir), 0, 3000, NULL,
	  "folder of exhibits; '.vault' in store.dir, if not given", "DIR" },
	{ "vault.reserve", OPT_BYTES, AT(vault_reserve_bytes), 0, TiB(1), "1GiB",
	  "take no exhibit's bytes when the file system has less than this left", NULL },
	{ "vault.exhibit-bytes", OPT_BYTES, AT(vault_exhibit_bytes), 0, UINT64_MAX, "0",
	  "the most of one exhibit, 0: no limit", NULL },
	{ "vault.retain-age", OPT_DURATION_MS, AT(vault_retain_ms), 0, UINT64_MAX, "0s",
	  "remove exhibits that are older than this and not on hold, 0s: never", NULL },
	{ "vault.abandon-after", OPT_DURATION_MS, AT(vault_abandon_ms), 0, UINT64_MAX, "6h",
	  "seal what arrived of an exhibit when its host does not go on for so long, 0s: never",
	  NULL },
	{ "vault.uploads", OPT_U64, AT(vault_uploads), 1, VAULT_UPLOADS_MAX, "16",
	  "exhibits that are uploaded at one time; each takes some 6 MB of memory", "N" },
	{ "vault.immutable", OPT_BOOL, AT(vault_immutable), 0, 0, "true",
	  "set the immutable attribute on what is sealed, where the file system has it", NULL },
	{ "vault.s3.endpoint", OPT_STRING, AT(s3_endpoint), 0, 300, NULL,
	  "copy sealed exhibits to this S3 server: https://HOST[:PORT]", "URL" },
	{ "vault.s3.bucket", OPT_STRING, AT(s3_bucket), 0, 63, NULL,
	  "a bucket that was made with Object Lock", "NAME" },
	{ "vault.s3.region", OPT_STRING, AT(s3_region), 1, 64, "us-east-1", "its region", "NAME" },
	{ "vault.s3.prefix", OPT_STRING, AT(s3_prefix), 0, 200, "exhibit",
	  "what the names of all objects begin with", "TEXT" },
	{ "vault.s3.access-key-file", OPT_STRING, AT(s3_access_key_file), 0, PATH_LEN_MAX,
	  "/etc/exhibit/s3.key", "two lines: access key, secret key", "FILE" },
	{ "vault.s3.ca-file", OPT_STRING, AT(s3_ca_file), 0, PATH_LEN_MAX, NULL,
	  "authorities of the server's certificate; the system's, if not given", "FILE" },
	{ "vault.s3.lock-mode", OPT_STRING, AT(s3_lock_mode), 1, 16, "compliance",
	  "compliance (nobody shortens it) or governance", "MODE" },
	{ "vault.s3.retain-days", OPT_U64, AT(s3_retain_days), 1, 36500, "365",
	  "how long objects are locked, exhibits' from sealing; those of ledger and segments are renewed",
	  "N" },
	{ "vault.s3.archive-age", OPT_DURATION_MS, AT(s3_age_ms), 1000, 604800000, "5m",
	  "archive ledger, segments and orders when something of them waits for so long; also after each exhibit",
	  NULL },
	{ "vault.s3.archive-leaves", OPT_U64, AT(s3_leaves), 1, 100000000, "50000",
	  "and when so many leaves of the ledger wait", "N" },
	{ "vault.s3.segments", OPT_BOOL, AT(s3_segments), 0, 0, "true",
	  "archive the segments of the store too; without them a rebuild brings no events", NULL },
	{ "ingest.workers", OPT_U64, AT(ingest_workers), 1, 8, "2", "threads that verify batches",
	  "N" },
	{ "query.workers", OPT_U64, AT(query_workers), 1, 16, "2", "threads that answer queries",
	  "N" },
	{ "memory", OPT_BYTES, AT(memory_bytes), MiB(128), TiB(1), "512MiB",
	  "what this process may use; a quarter is for connections, an eighth for batches under way",
	  NULL },
	{ "stop-timeout", OPT_DURATION_MS, AT(stop_timeout_ms), 0, 600000, "5s",
	  "how long a stop waits for open calls", NULL },
	{ "ready-file", OPT_STRING, AT(ready_file), 0, PATH_LEN_MAX, NULL,
	  "write the port that is served into this file once it is", "FILE" },
	{ "log.level", OPT_STRING, AT(log_level), 1, 8, "info", "debug, info, warn or error",
	  "LEVEL" },
	{ "log.json", OPT_BOOL, AT(log_json), 0, 0, "false", "log lines as JSON", NULL },
};

static const char *const examples[] = {
	"exhibit-collector --listen 0.0.0.0:7443",
	"serve with the defaults of " COLLECTOR_CONFIG_FILE,
	"exhibit-collector check --store.dir /var/lib/exhibit/store",
	"re-read everything that is stored and name the first bad byte of each fault",
	"exhibit-collector reindex --store.dir /var/lib/exhibit/store",
	"build catalog and indexes anew from the segments",
	"exhibit-collector rebuild",
	"make the state of a lost collector again from its bucket, in an empty store.dir",
	"exhibit-collector tokens make --uses 20",
	"print a token with which 20 hosts may enrol; see exhibit-collector tokens --help",
	"exhibit-collector certs init --dir /etc/exhibit",
	"make the two authorities; see exhibit-collector certs --help",
	NULL,
};

static int check_s3(const struct collector_config *c, struct error *e)
{
	enum s3_lock_mode mode;

	if (!s3_lock_parse(c->s3_lock_mode, &mode))
		return error_set(e, -EINVAL,
				 "vault.s3.lock-mode is 'compliance' or 'governance', not '%s'",
				 c->s3_lock_mode);
	if (c->s3_endpoint[0] != '\0' && c->s3_bucket[0] == '\0')
		return error_set(e, -EINVAL,
				 "vault.s3.endpoint is given, vault.s3.bucket is missing");
	return 0;
}

static int check(const void *opts, struct error *e)
{
	const struct collector_config *c = opts;
	uint8_t approvals[ORDERS_KINDS_MAX];
	enum log_level level;
	int r = log_level_parse(c->log_level, &level, e);

	if (r == 0)
		r = check_s3(c, e);
	return r < 0 ? r : orders_parse_approvals(&c->orders_approvals, approvals, e);
}

const struct option_table collector_options = {
	.program = "exhibit-collector",
	.summary = "keep what agents send, tamper-evident, and answer responders",
	.examples = examples,
	.rows = rows,
	.n_rows = ARRAY_LEN(rows),
	.check = check,
};
