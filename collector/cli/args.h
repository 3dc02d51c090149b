/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the command line: one table of verbs, one of flags. Parsing, --help, the man page and bash
 * completion all read these two; a new verb or flag is a row in args.c. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "service.pb-c.h"

#define ARGS_TERMS_MAX 128 /* conditions */
#define ARGS_HOSTS_MAX 64

enum { /* verbs, bits */
       VERB_HOSTS = 1 << 0,
       VERB_TAIL = 1 << 1,
       VERB_EVENTS = 1 << 2,
       VERB_TREE = 1 << 3,
       VERB_COVERAGE = 1 << 4,
       VERB_STATUS = 1 << 5,
       VERB_COMPLETION = 1 << 6,
       VERBS_QUERY = (1 << 6) - 1,
       VERB_AUTHORITY = 1 << 7,
       VERB_GRAB = 1 << 8,
       VERB_APPROVE = 1 << 9,
       VERB_ORDERS = 1 << 10,
       VERBS_ORDER = VERB_GRAB | VERB_APPROVE | VERB_ORDERS,
       VERB_EXHIBITS = 1 << 12,
       VERB_FETCH = 1 << 13,
       VERB_HOLD = 1 << 14,
       VERB_EXPORT = 1 << 15,
       VERB_VERIFY = 1 << 16,
       VERBS_VAULT = VERB_EXHIBITS | VERB_FETCH | VERB_HOLD,
};

#define ARGS_PATHS_MAX 256

/* What an order is of, and its limits. 0 and NULL: not given. */
struct grab_args {
	const char *container, *process;
	const char *filter, *interface; /* packets */
	const char *device; /* disk */
	const char *on_exec, *then; /* core: an arrest */
	const char *paths[ARGS_PATHS_MAX]; /* files */
	size_t n_paths;
	uint64_t seconds, before_seconds, snap_bytes, net_ns, max_stops;
	uint64_t max_bytes, max_seconds, bytes_per_second, expires_seconds;
	bool deleted, no_freeze, wait, to_stdout;
	unsigned int given; /* bits 1 << GRAB_*: which of the flags that not every kind takes */
};

enum { /* for struct grab_args' given; 0: what every kind takes */
       GRAB_FILTER = 1,
       GRAB_INTERFACE,
       GRAB_SECONDS,
       GRAB_BEFORE,
       GRAB_SNAP,
       GRAB_NET_NS,
       GRAB_PATH,
       GRAB_DELETED,
       GRAB_DEVICE,
       GRAB_ON_EXEC,
       GRAB_MAX_STOPS,
       GRAB_THEN,
       GRAB_NO_FREEZE,
       GRAB_STDOUT,
       GRAB_FLAGS
};

/* Everything that was said. Strings are those of argv. */
struct args {
	const char *config;
	bool json, no_color, help;
	int64_t since_ns, until_ns, at_ns; /* Unix time; 0: not given */
	const char *against; /* hosts, coverage: the inventory's file */
	bool no_events; /* export */
	uint64_t limit;
	bool has_limit;
	uint32_t pid;
	const char *object; /* what follows the verb: an entity id, "bash" */
	/* authority */
	const char *dir, *name, *roles, *domain, *tenant, *signing_key, *serial;
	uint64_t hours;
	/* orders and exhibits */
	const char *case_id, *reason, *out;
	bool release, follow, yes;
	struct grab_args grab;
	/* verify */
	const char *authority; /* file; NULL: the bundle's own */
	bool explain;
	size_t n_hosts, n_terms;
	ProtobufCBinaryData hosts[ARGS_HOSTS_MAX];
	Exhibit__V1__FilterTerm terms[ARGS_TERMS_MAX];
};

struct verb {
	unsigned int bit;
	const char *name;
	const char *object; /* metavar of what follows it; NULL: nothing */
	const char *summary;
	const char *const *examples; /* command, what it does, pairs, NULL-terminated */
	int (*run)(const struct args *a); /* exit code */
};

struct flag {
	const char *name;
	const char *metavar; /* NULL: none */
	unsigned int verbs; /* that take it */
	const char *help; /* one line */
	int (*set)(const struct flag *f, const char *value, struct args *a, int64_t now_ns,
		   struct error *e);
	size_t offset; /* of the member that set fills */
	const char *field,
		*second; /* of a filter: what it asks; second: when the value is not a number */
	int op; /* EXHIBIT__V1__FILTER_OP__*; -1: by the value's asterisks */
};

/* NULL past the end. */
const struct verb *verb_at(size_t i);
const struct verb *verb_by_name(const char *name);
const struct flag *flag_at(size_t i);
/* argv[0] is the verb. -EINVAL with a sentence and a hint. ret: borrowed from argv. Fuzz-safe: any words. */
MUST_CHECK int args_parse(const struct verb *v, int argc, char **argv, int64_t now_ns,
			  struct args *ret, struct error *e);

#endif
