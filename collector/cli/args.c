/* SPDX-License-Identifier: Apache-2.0 */
/* The two tables: flags and verbs. */
#include "collector/cli/args.h"

#include <string.h>

#include "collector/cli/args_set.h"
#include "collector/cli/verbs.h"
#include "proto/identity.h"

#define VERBS_FILTER (VERB_EVENTS | VERB_TAIL)
#define FILTER(name, metavar, field, second, op, help)                                             \
	{                                                                                          \
		name, metavar, VERBS_FILTER, help, args_set_filter, 0, field, second, op           \
	}
/* What not every kind takes; .op says which it is. */
#define GRAB(name, metavar, set, member, which, help)                                              \
	{                                                                                          \
		name, metavar, VERB_GRAB, help, set, offsetof(struct args, grab.member), NULL,     \
			NULL, which                                                                \
	}
#define OPTION(name, metavar, verbs, set, member, help)                                            \
	{                                                                                          \
		name, metavar, verbs, help, set, offsetof(struct args, member), NULL, NULL, 0      \
	}

static const struct flag flags[] = {
	OPTION("since", "TIME",
	       (VERBS_QUERY & ~(unsigned int)VERB_TREE) | VERB_ORDERS | VERB_EXHIBITS | VERB_EXPORT,
	       args_set_time, since_ns,
	       "from this time on: 2026-11-24T14:00:00Z, or 15m, 2h, 7d ago"),
	OPTION("until", "TIME",
	       (VERBS_QUERY & ~(unsigned int)(VERB_TAIL | VERB_TREE)) | VERB_ORDERS |
		       VERB_EXHIBITS | VERB_EXPORT,
	       args_set_time, until_ns,
	       "up to this time; now, if not given (export: events of an hour before each order "
	       "until its exhibit ended)"),
	OPTION("at", "TIME", VERB_TREE, args_set_time, at_ns,
	       "the tree as it was then; all that ever belonged to it, if not given"),
	OPTION("host", "HOST", VERBS_QUERY | VERB_GRAB | VERB_ORDERS | VERB_EXHIBITS, args_set_host,
	       hosts, "only this host, by id or name; may be repeated"),
	OPTION("pid", "PID", VERB_TREE, args_set_pid, pid,
	       "the process, with --host, when its entity id is not known"),
	OPTION("limit", "N", VERBS_QUERY | VERB_ORDERS | VERB_EXHIBITS | VERB_EXPORT,
	       args_set_limit, limit,
	       "at most N rows, the newest (events: 1000 if not given; export: 10000 events of each exhibit); 0: all; "
	       "tail: the newest N, then follow"),
	OPTION("against", "FILE", VERB_HOSTS | VERB_COVERAGE, args_set_text, against,
	       "the hosts that there should be, as CSV with a column 'host' or 'name', optionally 'id' and 'owner': names "
	       "hosts without agent and every other problem, the worst first"),
	OPTION("no-events", NULL, VERB_EXPORT, args_set_true, no_events,
	       "leave out what hosts told around their exhibits"),
	FILTER("action", "NAME", "event.action", NULL, EXHIBIT__V1__FILTER_OP__FILTER_EQUALS,
	       "event.action: exec, connect, modify, ...; repeated: either"),
	FILTER("process", "NAME", "process.name", NULL, ARGS_BY_VALUE,
	       "the process's name, as ps shows it; NAME* and *NAME* too"),
	FILTER("exe", "PATH", "process.executable", NULL, ARGS_BY_VALUE,
	       "the process's executable; PATH* and *PATH* too"),
	FILTER("path", "PATH", "any.path", NULL, ARGS_BY_VALUE,
	       "any path: file, old name, executable; PATH* and *PATH* too"),
	FILTER("address", "ADDRESS", "any.ip", NULL, EXHIBIT__V1__FILTER_OP__FILTER_CIDR,
	       "either side's address, or a network: 10.0.0.0/8"),
	FILTER("port", "PORT", "any.port", NULL, EXHIBIT__V1__FILTER_OP__FILTER_EQUALS,
	       "either side's port"),
	FILTER("container", "ID", "container.id", NULL, EXHIBIT__V1__FILTER_OP__FILTER_PREFIX,
	       "the container, by the beginning of its id"),
	{ "pod", "POD", VERBS_FILTER, "the pod, as NAME or NAMESPACE/NAME; NAME* and *NAME* too",
	  args_set_pod, 0, NULL, NULL, ARGS_BY_VALUE },
	FILTER("namespace", "NAME", "orchestrator.namespace", NULL, ARGS_BY_VALUE,
	       "the pod's namespace; NAME* and *NAME* too"),
	FILTER("image", "TEXT", "container.image.name", NULL,
	       EXHIBIT__V1__FILTER_OP__FILTER_CONTAINS,
	       "the container's image, by any part of its name: nginx, registry.example/shop/"),
	FILTER("user", "USER", "process.user.id", "process.user.name",
	       EXHIBIT__V1__FILTER_OP__FILTER_EQUALS, "the process's user, by id or name"),
	FILTER("text", "TEXT", "any.text", NULL, EXHIBIT__V1__FILTER_OP__FILTER_CONTAINS,
	       "TEXT anywhere: command line, paths, names, unit, container"),
	OPTION("where", "FIELD=VALUE", VERBS_FILTER, args_set_where, terms,
	       "any field by its ECS name: file.path=/etc/*, destination.ip=10.0.0.0/8"),
	OPTION("dir", "DIR", VERB_AUTHORITY, args_set_text, dir,
	       "where the order authority's key and certificates lie"),
	OPTION("name", "NAME", VERB_AUTHORITY, args_set_text, name, "issue, revoke: the person"),
	OPTION("roles", "LIST", VERB_AUTHORITY, args_set_text, roles,
	       "issue: of " IDENTITY_ROLES_TEXT ", separated by commas; viewer, if not given"),
	OPTION("hours", "N", VERB_AUTHORITY, args_set_hours, hours,
	       "issue: life of the certificates, at most and if not given 12"),
	OPTION("signing-key", "KEY", VERB_AUTHORITY, args_set_text, signing_key,
	       "issue: sign this key for orders instead of making one: the file of a public key or "
	       "of a request, or pkcs11:..."),
	OPTION("serial", "HEX", VERB_AUTHORITY, args_set_text, serial,
	       "revoke: one certificate alone"),
	OPTION("tenant", "NAME", VERB_AUTHORITY, args_set_text, tenant,
	       "the people's tenant; 'default', if not given"),
	OPTION("domain", "NAME", VERB_AUTHORITY, args_set_text, domain,
	       "the trust domain of all names; 'exhibit.internal', if not given"),
	OPTION("container", "ID", VERB_GRAB, args_set_text, grab.container,
	       "grab: of this container, by its whole id"),
	OPTION("process", "PROCESS", VERB_GRAB, args_set_text, grab.process,
	       "grab: of this process: a pid, or process.entity_id, which no other can have"),
	OPTION("case", "CASE", VERB_GRAB | VERB_ORDERS | VERB_EXHIBITS | VERB_HOLD, args_set_text,
	       case_id, "the case; grab: that it belongs to; else: all of this case"),
	OPTION("reason", "TEXT", VERB_GRAB | VERB_HOLD, args_set_text, reason,
	       "why, in a sentence; it stands in the ledger"),
	GRAB("path", "PATH", args_set_grab_path, paths, GRAB_PATH,
	     "files: a path or a glob, as the container or the host sees it; * finds hidden names too; may be "
	     "repeated"),
	GRAB("deleted", NULL, args_set_true, deleted, GRAB_DELETED,
	     "files: also what is deleted and still open"),
	GRAB("device", "DEVICE", args_set_text, device, GRAB_DEVICE, "disk: /dev/sda1"),
	GRAB("filter", "EXPRESSION", args_set_text, filter, GRAB_FILTER,
	     "packets: only these, as tcpdump writes it"),
	GRAB("interface", "NAME", args_set_text, interface, GRAB_INTERFACE, "packets: only here"),
	GRAB("seconds", "TIME", args_set_seconds, seconds, GRAB_SECONDS,
	     "packets: for so long: 60s, 10m; 60s, if neither this nor --max-time or --max-bytes is given"),
	GRAB("before", "TIME", args_set_seconds, before_seconds, GRAB_BEFORE,
	     "packets: and from so long before, out of the flight recorder"),
	GRAB("net-ns", "INODE", args_set_count, net_ns, GRAB_NET_NS,
	     "packets: of this network namespace, by its inode (exhibit.namespace.net)"),
	GRAB("snap", "N", args_set_count, snap_bytes, GRAB_SNAP,
	     "packets: at most N bytes of each"),
	GRAB("stdout", NULL, args_set_true, to_stdout, GRAB_STDOUT,
	     "packets: as pcapng to standard output while they are captured, for tshark -r - or "
	     "wireshark -k -i -; waits, and what is said goes to standard error"),
	GRAB("no-freeze", NULL, args_set_true, no_freeze, GRAB_NO_FREEZE,
	     "core: let it run meanwhile; the manifest says so"),
	GRAB("on-exec", "PATTERN", args_set_text, on_exec, GRAB_ON_EXEC,
	     "core: of what runs PATTERN next, before its first instruction: a path, a prefix with * at "
	     "the end, or DEVICE:INODE, of a program (a script is its interpreter); waits for --max-time, 1h if "
	     "not given"),
	GRAB("max-stops", "N", args_set_count, max_stops, GRAB_MAX_STOPS,
	     "--on-exec: at most N; 1"),
	GRAB("then", "WHAT", args_set_text, then, GRAB_THEN,
	     "--on-exec: continue, stay (stopped, for --max-time, 5m if not given) or kill; continue"),
	OPTION("max-bytes", "SIZE", VERB_GRAB, args_set_bytes, grab.max_bytes,
	       "take at most so much: 512MiB, 20GiB"),
	OPTION("max-time", "TIME", VERB_GRAB, args_set_seconds, grab.max_seconds,
	       "take at most so long: 30s, 10m, 2h"),
	OPTION("rate", "SIZE", VERB_GRAB, args_set_bytes, grab.bytes_per_second,
	       "send at most so much per second: 20MiB"),
	OPTION("expires", "TIME", VERB_GRAB, args_set_seconds, grab.expires_seconds,
	       "a host that is away may come back within this time; 12h, at most 24h and the certificate's end"),
	OPTION("wait", NULL, VERB_GRAB, args_set_true, grab.wait,
	       "show progress, and end when the order is over on all hosts; exit status 2: nowhere done, 3: not everywhere, or not "
	       "whole"),
	OPTION("follow", NULL, VERB_ORDERS, args_set_true, follow,
	       "of one order: until it is over on all hosts"),
	OPTION("yes", NULL, VERB_APPROVE, args_set_true, yes, "sign without asking"),
	OPTION("release", NULL, VERB_HOLD, args_set_true, release,
	       "end the hold; takes an approver"),
	OPTION("out", "PATH", VERB_FETCH | VERB_EXPORT, args_set_text, out,
	       "fetch: the folder to write into; export: the file to make"),
	OPTION("authority", "FILE", VERB_VERIFY, args_set_text, authority,
	       "the order authority that you trust; the one in the bundle, if not given"),
	OPTION("explain", NULL, VERB_VERIFY, args_set_true, explain,
	       "say in words what was checked and what held"),
	OPTION("json", NULL,
	       VERB_VERIFY | VERB_EXPORT | VERBS_QUERY | VERBS_VAULT | VERBS_ORDER | VERB_AUTHORITY,
	       args_set_true, json, "JSON lines, also on a terminal; a pipe gets them anyway"),
	OPTION("no-color", NULL, VERBS_QUERY | VERBS_VAULT | VERBS_ORDER | VERB_AUTHORITY,
	       args_set_true, no_color, "no colours (nor when NO_COLOR is set)"),
	OPTION("config", "FILE",
	       VERB_EXPORT | VERBS_QUERY | VERBS_VAULT | VERBS_ORDER | VERB_AUTHORITY,
	       args_set_text, config,
	       "configuration; else $EXHIBIT_CONFIG, else ~/.config/exhibit/config.yaml"),
	OPTION("help", NULL,
	       VERBS_QUERY | VERBS_VAULT | VERBS_ORDER | VERB_AUTHORITY | VERB_EXPORT |
		       VERB_VERIFY | VERB_COMPLETION,
	       args_set_true, help, "show this help"),
};

static const char *const hosts_examples[] = {
	"exhibit hosts",
	"all enrolled hosts: connected, how far they are known, what was lost",
	"exhibit hosts --host web-1 --json",
	"one of them, for a program",
	"exhibit hosts --against inventory.csv",
	"each host of the inventory and its problems: no agent, disconnected, behind, losses, classes missing, old version",
	NULL,
};
static const char *const tail_examples[] = {
	"exhibit tail",
	"everything, as it arrives",
	"exhibit tail --action exec --user root",
	"what root starts, on every host",
	"exhibit tail --since 10m --host web-1",
	"the last ten minutes of one host, and then what follows",
	"exhibit tail --limit 20",
	"the newest 20, and then what follows: --limit bounds the beginning, never what follows",
	NULL,
};
static const char *const events_examples[] = {
	"exhibit events --since 1h",
	"the last hour; at most the newest 1000 rows",
	"exhibit events --action connect --address 203.0.113.7",
	"who talked to this address",
	"exhibit events --path /etc/shadow",
	"whatever was done with this file, and who ran it",
	"exhibit events --text 'base64 -d' --since 7d --limit 0",
	"every event of a week with this text",
	"exhibit events --pod shop/web-1 --action exec",
	"what was started in a pod; also --namespace shop, --image nginx",
	"exhibit events --where 'process.parent.name=nginx' --action exec",
	"what nginx started",
	"exhibit events --since 1d --limit 0 --json | jq .process.executable",
	"for a program",
	NULL,
};
static const char *const tree_examples[] = {
	"exhibit tree --host web-1 --pid 4711",
	"ancestors and descendants of the newest process with this id",
	"exhibit tree --host web-1 --pid 4711 --at 2026-11-24T14:00:00Z",
	"of the one that ran then, as it was then",
	"exhibit tree 4cb3...-4711-81240000000-3",
	"by process.entity_id, as 'exhibit events --json' shows it",
	NULL,
};
static const char *const coverage_examples[] = {
	"exhibit coverage",
	"which classes of events each host can see, through which hook",
	"exhibit coverage --host web-1 --json",
	"one host, for a program",
	"exhibit coverage --against inventory.csv",
	"what of the inventory's hosts is not seen, a row for each problem; exit status 3 when there is one",
	NULL,
};
static const char *const status_examples[] = {
	"exhibit status",
	"size of the store, agents' lag and losses",
	NULL,
};
static const char *const authority_examples[] = {
	"exhibit authority init --dir authority",
	"make the order authority; its key belongs offline",
	"exhibit authority issue --dir authority --name ann --roles viewer,acquirer",
	"ann may look and order, for 12 hours: a certificate for TLS and one for signing orders",
	"exhibit authority issue --dir authority --name bob --roles approver --signing-key bob.csr",
	"bob signs with a key that he made; also the URI of a key on a token, pkcs11:...",
	"exhibit authority revoke --dir authority --name ann",
	"the next revocation list, with all that ann holds; or --serial HEX",
	"exhibit authority publish --dir authority",
	"hand the newest list to the collector, and through it to every host",
	"exhibit authority list --dir authority",
	"who holds what",
	NULL,
};
static const char *const grab_examples[] = {
	"exhibit grab memory --host web-1 --case INC-7 --reason 'beacon seen' --wait",
	"the host's physical memory; its exhibit's id when it is here",
	"exhibit grab core --host web-1 --process 4711 --case INC-7 --reason 'unpacked in memory'",
	"one process; memory, core, packets, files, changes, triage, disk",
	"exhibit grab packets --host web-1 --container 3f2a... --seconds 60s --filter 'port 53' --case "
	"INC-7 --reason 'dns tunnel?'",
	"what a container says for a minute",
	"exhibit grab packets --host web-1 --container 3f2a... --seconds 10m --stdout --case INC-7 --reason "
	"'beacon' | tshark -r -",
	"the same seen live, also with | wireshark -k -i -; the vault keeps it whatever the reader does",
	"exhibit grab files --host web-1 --path '/var/log/*.log' --case INC-7 --reason 'logs'",
	"named files and globs",
	"exhibit grab core --on-exec '/tmp/*' --then stay --host web-1 --case INC-7 --reason 'dropper'",
	"whatever starts from /tmp next, before its first instruction",
	"exhibit grab disk --device /dev/sdb1 --rate 50MiB --host web-1 --case INC-7 --reason 'image'",
	"a partition, with a limit on what it costs the host",
	NULL,
};
static const char *const approve_examples[] = {
	"exhibit approve 3f2a91c0",
	"show an order and sign it too, for kinds that take more than one person",
	NULL,
};
static const char *const orders_examples[] = {
	"exhibit orders",
	"the newest orders: what became of each on each host",
	"exhibit orders 3f2a91c0",
	"every step of one",
	"exhibit orders 3f2a91c0 --follow",
	"until it is over",
	"exhibit orders --case INC-7 --json",
	"of one case, for a program",
	NULL,
};
static const char *const exhibits_examples[] = {
	"exhibit exhibits",
	"what was taken from hosts: kind, case, whether it is whole, how long it is kept",
	"exhibit exhibits --case IR-2026-14 --json",
	"of one case, with items and hashes, for a program",
	"exhibit exhibits 3f2a",
	"one exhibit, by the first digits of its id",
	NULL,
};
static const char *const fetch_examples[] = {
	"exhibit fetch 3f2a --out ./evidence",
	"items, manifest and SHA256SUMS; hashes are checked, an interrupted fetch goes on",
	"cd ./evidence && sha256sum -c SHA256SUMS",
	"check them without us",
	NULL,
};
static const char *const hold_examples[] = {
	"exhibit hold 3f2a --reason 'court order 12/26'",
	"keep it, whatever its time of retention says",
	"exhibit hold --case IR-2026-14 --reason 'closed' --release",
	"all of a case may be removed again when their time is over",
	NULL,
};
static const char *const export_examples[] = {
	"exhibit export IR-2026-14 --out IR-2026-14.tar",
	"evidence, manifests, proofs, custody record, timeline and CASE/UCO in one tar",
	NULL,
};
static const char *const verify_examples[] = {
	"exhibit verify IR-2026-14.tar",
	"whole and unchanged? without network or daemon; 0 intact, 1 damaged",
	"exhibit verify IR-2026-14.tar --authority order-ca.crt --explain",
	"against the authority that you trust, and in words",
	NULL,
};
static const char *const completion_examples[] = {
	". <(exhibit completion bash)",
	"complete verbs and flags in this shell",
	NULL,
};

static const struct verb verbs[] = {
	{ VERB_HOSTS, "hosts", NULL, "list hosts", hosts_examples, verb_hosts },
	{ VERB_TAIL, "tail", NULL, "show events as they arrive", tail_examples, verb_tail },
	{ VERB_EVENTS, "events", NULL, "search stored events", events_examples, verb_events },
	{ VERB_TREE, "tree", "ENTITY", "show a process with its ancestors and descendants",
	  tree_examples, verb_tree },
	{ VERB_COVERAGE, "coverage", NULL, "show what hosts can see", coverage_examples,
	  verb_coverage },
	{ VERB_STATUS, "status", NULL, "show the state of collector and agents", status_examples,
	  verb_status },
	{ VERB_AUTHORITY, "authority", "ACTION",
	  "make the order authority, issue and revoke people", authority_examples, verb_authority },
	{ VERB_GRAB, "grab", "KIND", "order evidence of a host", grab_examples, verb_grab },
	{ VERB_APPROVE, "approve", "ORDER", "sign somebody else's order", approve_examples,
	  verb_approve },
	{ VERB_ORDERS, "orders", "ORDER", "list orders and what became of them", orders_examples,
	  verb_orders },
	{ VERB_EXHIBITS, "exhibits", "EXHIBIT", "list what was taken from hosts", exhibits_examples,
	  verb_exhibits },
	{ VERB_FETCH, "fetch", "EXHIBIT", "write an exhibit's files into a folder", fetch_examples,
	  verb_fetch },
	{ VERB_HOLD, "hold", "EXHIBIT", "keep exhibits whatever their retention says",
	  hold_examples, verb_hold },
	{ VERB_EXPORT, "export", "CASE",
	  "write a case's evidence with all its proofs into one file", export_examples,
	  verb_export },
	{ VERB_VERIFY, "verify", "FILE", "check an export without network or daemon",
	  verify_examples, verb_verify },
	{ VERB_COMPLETION, "completion", "SHELL", "write a completion script for bash",
	  completion_examples, verb_completion },
};

const struct verb *verb_at(size_t i)
{
	return i < ARRAY_LEN(verbs) ? &verbs[i] : NULL;
}

const struct verb *verb_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

const struct flag *flag_at(size_t i)
{
	return i < ARRAY_LEN(flags) ? &flags[i] : NULL;
}
