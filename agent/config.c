/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config.h"

#include <errno.h>

#include "agent/container_files.h"
#include "agent/orders_policy.h"
#include "proto/base/log.h"

#define AT(member) offsetof(struct agent_config, member)
#define PATH_LEN_MAX 4000

static const struct option rows[] = {
	{ "state.dir", OPT_STRING, AT(state_dir), 1, PATH_LEN_MAX, "/var/lib/exhibit/agent",
	  "folder of the journal", "DIR" },
	{ "collector.address", OPT_ADDRESS, AT(collector_address), 1, 65535, "127.0.0.1:7443",
	  "where the collector listens", NULL },
	{ "collector.server-name", OPT_STRING, AT(collector_server_name), 0, 255, NULL,
	  "name in the collector's certificate, when it is not the host in collector.address",
	  "NAME" },
	{ "tls.cert", OPT_STRING, AT(tls_cert), 1, PATH_LEN_MAX, "/etc/exhibit/agent.crt",
	  "this host's certificate; its SPIFFE name says tenant and host id", "FILE" },
	{ "tls.key", OPT_STRING, AT(tls_key), 1, PATH_LEN_MAX, "/etc/exhibit/agent.key",
	  "key of tls.cert", "FILE" },
	{ "tls.fleet-ca", OPT_STRING, AT(tls_fleet_ca), 1, PATH_LEN_MAX,
	  "/etc/exhibit/fleet-ca.crt", "the fleet authority, which issued tls.cert", "FILE" },
	{ "tls.order-ca", OPT_STRING, AT(tls_order_ca), 1, PATH_LEN_MAX,
	  "/etc/exhibit/order-ca.crt",
	  "the order authority, which issued the collector's certificate", "FILE" },
	{ "seal.key", OPT_STRING, AT(seal_key), 1, PATH_LEN_MAX, "/etc/exhibit/agent.seal.key",
	  "Ed25519 key that seals batches", "FILE" },
	{ "seal.host-record", OPT_STRING, AT(host_record), 1, PATH_LEN_MAX,
	  "/etc/exhibit/agent.record", "signed host record that names the sealing key", "FILE" },
	{ "enrol.address", OPT_STRING, AT(enrol_address), 0, 300, NULL,
	  "HOST:PORT of the collector's enrolment port (its enrol.listen)", "ADDRESS" },
	{ "enrol.token-file", OPT_STRING, AT(enrol_token_file), 0, PATH_LEN_MAX, NULL,
	  "token to enrol with, when it exists and tls.cert does not; removed after use", "FILE" },
	{ "enrol.tenant", OPT_STRING, AT(enrol_tenant), 0, 96, NULL,
	  "refuse a token of another tenant; any, if not given", "NAME" },
	{ "journal.max-bytes", OPT_BYTES, AT(journal_max_bytes), MiB(2), TiB(1), "1GiB",
	  "disk for batches that the collector does not have yet", NULL },
	{ "journal.policy", OPT_STRING, AT(journal_policy), 1, 32, "drop-oldest-bulk",
	  "when the journal is full: drop-oldest-bulk or drop-new", "POLICY" },
	{ "sense.critical-ring", OPT_BYTES, AT(critical_ring_bytes), KiB(64), MiB(256), "4MiB",
	  "kernel ring for exec, fork, exit", NULL },
	{ "sense.bulk-ring", OPT_BYTES, AT(bulk_ring_bytes), KiB(64), MiB(256), "8MiB",
	  "kernel ring for files and network", NULL },
	{ "sense.own-dirs", OPT_STRINGS, AT(own_dirs), 1, PATH_LEN_MAX, NULL,
	  "folders of Exhibit itself, whose changes are counted but not recorded; state.dir is one",
	  "DIR" },
	{ "sense.files", OPT_BOOL, AT(files), 0, 0, "true",
	  "see files being created and opened for writing", NULL },
	{ "sense.fanotify", OPT_BOOL, AT(fanotify), 0, 0, "true",
	  "see files modified, renamed and unlinked", NULL },
	{ "sense.network", OPT_BOOL, AT(network), 0, 0, "true", "see TCP connections and UDP flows",
	  NULL },
	{ "workload.runtimes", OPT_STRINGS, AT(runtimes), 1, PATH_LEN_MAX, NULL,
	  "folders in which container runtimes keep what names a container (containerd, crio, podman, docker); none "
	  "named: where they are on ordinary hosts",
	  "RUNTIME=DIR" },
	{ "workload.host-prefix", OPT_STRING, AT(host_prefix), 0, PATH_LEN_MAX, NULL,
	  "what stands before these folders where the agent runs in a container: /host, say",
	  "DIR" },
	{ "workload.cgroup-root", OPT_STRING, AT(cgroup_root), 1, PATH_LEN_MAX, "/sys/fs/cgroup",
	  "where the host's cgroups are mounted", "DIR" },
	{ "recorder.bytes", OPT_BYTES, AT(recorder_bytes), 0, GiB(16), "16MiB",
	  "memory for the newest packets, which an order may ask for afterwards; 0: none", NULL },
	{ "recorder.snap", OPT_U64, AT(recorder_snap), 16, 1600, "96",
	  "bytes of each of them, from the IP header on: 96 are the headers", NULL },
	{ "uplink.user", OPT_STRING, AT(uplink_user), 1, 64, "exhibit-uplink",
	  "user (name or number) that the process with the network socket runs as", "USER" },
	{ "uplink.upload-rate", OPT_BYTES, AT(upload_rate), 0, 0, "0",
	  "bytes of exhibits that go to the collector in a second; 0: as many as events leave room for",
	  NULL },
	{ "orders.allow", OPT_STRINGS, AT(orders_allow), 0, OPTION_LIST_MAX, NULL,
	  "kinds of orders that this host takes (memory, core, packets, files, changes, triage, disk, "
	  "arrest, all); none named: all",
	  "KIND" },
	{ "orders.deny", OPT_STRINGS, AT(orders_deny), 0, OPTION_LIST_MAX, NULL,
	  "kinds of orders that this host refuses, whoever signed them", "KIND" },
	{ "orders.require-approvals", OPT_STRINGS, AT(orders_approvals), 0, OPTION_LIST_MAX, NULL,
	  "how many people beside the requester must have signed an order of this kind",
	  "KIND=NUMBER" },
	{ "orders.max-bytes", OPT_BYTES, AT(orders_max_bytes), 0, 0, "16TiB",
	  "the most that one order may take", NULL },
	{ "orders.max-time", OPT_DURATION_MS, AT(orders_max_ms), 1000, 0, "7d",
	  "the longest that one order may take, waiting for the collector not counted", NULL },
	{ "orders.rate", OPT_BYTES, AT(orders_rate), 0, 0, "0",
	  "bytes that one order may read in a second; 0: no limit", NULL },
	{ "orders.concurrent", OPT_U64, AT(orders_concurrent), 1, 16, "4", "acquisitions at a time",
	  NULL },
	{ "orders.per-hour", OPT_U64, AT(orders_per_hour), 1, 1000, "120",
	  "orders that this host takes in an hour", NULL },
	{ "orders.per-hour-caller", OPT_U64, AT(orders_per_hour_caller), 1, 1000, "60",
	  "orders of one person that this host takes in an hour", NULL },
	{ "orders.spool", OPT_BYTES, AT(orders_spool), MiB(1), TiB(1), "256MiB",
	  "memory for what is copied while a process is frozen", NULL },
	{ "orders.freeze-max", OPT_DURATION_MS, AT(orders_freeze_max_ms), 10, 600000, "10s",
	  "the longest that a process or container is held frozen", NULL },
	{ "orders.clock-skew", OPT_DURATION_MS, AT(orders_clock_skew_ms), 0, 3600000, "2m",
	  "how far this host's clock may be off when an order's times are checked", NULL },
	{ "stop-timeout", OPT_DURATION_MS, AT(stop_timeout_ms), 0, 600000, "5s",
	  "how long a stop waits for the collector to acknowledge what is sealed", NULL },
	{ "log.level", OPT_STRING, AT(log_level), 1, 8, "info", "debug, info, warn or error",
	  "LEVEL" },
	{ "log.json", OPT_BOOL, AT(log_json), 0, 0, "false", "log lines as JSON", NULL },
	{ "probe", OPT_BOOL, AT(probe), 0, 0, "false",
	  "attach every hook, print which event classes this host can see and how, and exit",
	  NULL },
};

static const char *const examples[] = {
	"exhibit-agent --probe",
	"show which event classes this host can see, and through which hook",
	"exhibit-agent --config agent.yaml --check",
	"validate a configuration and exit",
	"exhibit-agent enroll --collector collector.example:7444 --order-authority order-ca.crt "
	"--token-file token",
	"make this host's keys and have the collector certify them; 0: done, 2: cannot, 3: refused, 4: no collector",
	"exhibit-agent --collector.address collector.example:7443",
	"run with the defaults of " AGENT_CONFIG_FILE " and another collector",
	NULL,
};

static int check(const void *opts, struct error *e)
{
	const struct agent_config *c = opts;
	struct orders_policy policy = { 0 };
	enum log_level level;

	if (strcmp(c->journal_policy, "drop-new") != 0 &&
	    strcmp(c->journal_policy, "drop-oldest-bulk") != 0)
		return error_set(e, -EINVAL,
				 "journal.policy '%s' is neither drop-oldest-bulk nor drop-new",
				 c->journal_policy);
	int r = orders_policy_parse(&c->orders_allow, &c->orders_deny, &c->orders_approvals,
				    &policy, e);

	if (r == 0)
		r = container_files_check(&c->runtimes, e);
	return r < 0 ? r : log_level_parse(c->log_level, &level, e);
}

const struct option_table agent_options = {
	.program = "exhibit-agent",
	.summary = "trace this host and stream sealed evidence to the collector",
	.examples = examples,
	.rows = rows,
	.n_rows = ARRAY_LEN(rows),
	.check = check,
};
