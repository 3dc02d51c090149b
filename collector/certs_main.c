/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/certs_main.h"

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/options.h"
#include "proto/certs.h"
#include "proto/ledger_cert.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/utsname.h>

#define EXIT_DONE 0
#define EXIT_FAILED 2
#define AUTHORITY_DAYS 3650
#define DAY_S 86400U
#define HOUR_S 3600U

struct certs_options {
	char *dir, *domain, *tenant, *name, *id, *san, *roles, *host_name;
	uint64_t days, hours;
};

#define AT(member) offsetof(struct certs_options, member)
#define ROW_DIR                                                                                    \
	{                                                                                          \
		"dir", OPT_STRING, AT(dir), 1, 4000, NULL, "where keys and certificates lie",      \
			"DIR"                                                                      \
	}
#define ROW_DOMAIN                                                                                 \
	{                                                                                          \
		"domain", OPT_STRING, AT(domain), 1, IDENTITY_PART_MAX, "exhibit.internal",        \
			"trust domain of all names", "NAME"                                        \
	}
#define ROW_TENANT                                                                                 \
	{                                                                                          \
		"tenant", OPT_STRING, AT(tenant), 1, IDENTITY_PART_MAX, "default",                 \
			"tenant in the name", "NAME"                                               \
	}

static const struct option init_rows[] = { ROW_DIR, ROW_DOMAIN, ROW_TENANT };
static const struct option collector_rows[] = {
	ROW_DIR,
	ROW_DOMAIN,
	ROW_TENANT,
	{ "name", OPT_STRING, AT(name), 1, IDENTITY_PART_MAX, "collector", "the collector's name",
	  "NAME" },
	{ "san", OPT_STRING, AT(san), 1, 1000, "localhost,127.0.0.1",
	  "DNS names and addresses that agents dial, separated by commas", "LIST" },
	{ "days", OPT_U64, AT(days), 1, 825, "90", "life of the certificate", "N" },
};
static const struct option host_rows[] = {
	ROW_DIR,
	ROW_DOMAIN,
	ROW_TENANT,
	{ "id", OPT_STRING, AT(id), 1, IDENTITY_PART_MAX, NULL, "the host's id", "ID" },
	{ "host-name", OPT_STRING, AT(host_name), 0, 253, NULL,
	  "the host's name in its record; default: this machine's", "NAME" },
	{ "days", OPT_U64, AT(days), 1, 825, "30", "life of the certificate", "N" },
};
static const struct option responder_rows[] = {
	ROW_DIR,
	ROW_DOMAIN,
	ROW_TENANT,
	{ "name", OPT_STRING, AT(name), 1, IDENTITY_PART_MAX, NULL, "the person's name", "NAME" },
	{ "roles", OPT_STRING, AT(roles), 1, 300, "viewer",
	  IDENTITY_ROLES_TEXT "; separated by commas", "LIST" },
	{ "hours", OPT_U64, AT(hours), 1, 12, "12", "life of the certificate", "N" },
};

/* ---- helpers ----------------------------------------------------------------------------------- */

static int64_t now_s(void)
{
	return clock_wall_ns() / (int64_t)NSEC_PER_SEC;
}

/* DIR/PREFIXname. */
static int base_path(const struct certs_options *o, const char *prefix, const char *name,
		     const char *suffix, char buf[static PATH_MAX], struct error *e)
{
	int n = snprintf(buf, PATH_MAX, "%s/%s%s%s", o->dir, prefix, name, suffix);

	if (n < 0 || n >= PATH_MAX)
		return error_set(e, -ENAMETOOLONG, "the folder's path '%.200s...' is too long",
				 o->dir);
	return 0;
}

static int load_authority(const struct certs_options *o, const char *name,
			  struct certs_authority **ret, struct error *e)
{
	char base[PATH_MAX];
	int r = base_path(o, "", name, "", base, e);

	return r < 0 ? r : certs_authority_load(base, ret, e);
}

static bool given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

static int copy_part(char out[static IDENTITY_PART_MAX + 1], const char *what, const char *text,
		     struct error *e)
{
	if (!given(text))
		return error_set(e, -EINVAL, "--%s is needed", what);
	if (!identity_part_valid(text, strlen(text)))
		return error_set(
			e, -EINVAL,
			"--%s '%s' must be 1 to %d letters, digits, '.', '_' or '-', without a dot at "
			"the start or two in a row",
			what, text, IDENTITY_PART_MAX);
	(void)snprintf(out, IDENTITY_PART_MAX + 1, "%s", text);
	return 0;
}

static int name_of(const struct certs_options *o, enum identity_kind kind, const char *what,
		   const char *name, struct identity *ret, struct error *e)
{
	int r;

	*ret = (struct identity){ .kind = kind };
	r = copy_part(ret->domain, "domain", o->domain, e);
	if (r >= 0)
		r = copy_part(ret->tenant, "tenant", o->tenant, e);
	return r < 0 ? r : copy_part(ret->name, what, name, e);
}

/* Issue DIR/PREFIXname.{key,crt}, or keep them while a third of their life is left. */
static int renew(const struct certs_options *o, const char *prefix, const char *authority,
		 const struct certs_leaf *leaf, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *a = NULL;
	char base[PATH_MAX];
	int r = base_path(o, prefix, leaf->id.name, "", base, e);

	if (r >= 0)
		r = load_authority(o, authority, &a, e);
	if (r < 0)
		return r;
	if (certs_fresh(a, leaf, now_s(), base)) {
		printf("kept %s.crt\n", base);
		return 0;
	}
	r = certs_issue(a, leaf, now_s(), base, e);
	if (r >= 0)
		printf("made %s.crt and %s.key\n", base, base);
	return r;
}

/* ---- verbs ------------------------------------------------------------------------------------- */

static int make_authority(const struct certs_options *o, const char *name, const char *common_name,
			  struct error *e)
{
	char base[PATH_MAX], cert[PATH_MAX];
	int r = base_path(o, "", name, "", base, e);

	if (r >= 0)
		r = base_path(o, "", name, ".crt", cert, e);
	if (r < 0)
		return r;
	/* Never replaced: everything that was issued hangs on it. */
	if (access(cert, F_OK) == 0) {
		printf("kept %s\n", cert);
		return 0;
	}
	r = certs_authority_make(base, common_name, AUTHORITY_DAYS, now_s(), e);
	if (r >= 0)
		printf("made %s and %s.key\n", cert, base);
	return r;
}

/* Made again when another key has taken the place of the one that it names. */
static int make_ledger(const struct certs_options *o, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *order = NULL;
	AUTO(free_ptr) uint8_t *der = NULL;
	char key[PATH_MAX], cert[PATH_MAX];
	uint8_t public[32];
	struct note_key held;
	size_t len;
	int r = base_path(o, "", "ledger", ".key", key, e);

	if (r >= 0)
		r = base_path(o, "", "ledger", ".crt", cert, e);
	if (r >= 0)
		r = certs_sealing_key(key, public, e);
	if (r < 0)
		return r;
	if (access(cert, F_OK) == 0 && ledger_cert_load(cert, &der, &len, NULL) == 0 &&
	    ledger_cert_check(der, len, NULL, now_s(), &held, NULL) == 0 &&
	    memcmp(held.public, public, sizeof(public)) == 0) {
		printf("kept %s\n", cert);
		return 0;
	}
	r = load_authority(o, "order-ca", &order, e);
	if (r >= 0)
		r = ledger_cert_make(order, o->domain, o->tenant, public, now_s(), cert, e);
	if (r >= 0)
		printf("made %s and %s\n", cert, key);
	return r;
}

static int verb_init(const struct certs_options *o, struct error *e)
{
	int r = files_mkdirs(o->dir, 0755, e);

	if (r >= 0)
		r = make_authority(o, "fleet-ca", "Exhibit fleet authority", e);
	if (r >= 0)
		r = make_authority(o, "order-ca", "Exhibit order authority", e);
	return r < 0 ? r : make_ledger(o, e);
}

static int verb_collector(const struct certs_options *o, struct error *e)
{
	struct certs_leaf leaf = { .sans = given(o->san) ? o->san : NULL,
				   .seconds = o->days * DAY_S };
	int r = name_of(o, IDENTITY_COLLECTOR, "name", o->name, &leaf.id, e);

	return r < 0 ? r : renew(o, "collector-", "order-ca", &leaf, e);
}

/* The record is signed anew only with a new key: it says since when the key seals. */
static int renew_record(const struct certs_options *o, const struct identity *id,
			const uint8_t public[static 32], bool new_key, struct error *e)
{
	AUTO(certs_authority_free_ptr) struct certs_authority *fleet = NULL;
	char record[PATH_MAX];
	struct utsname uts;
	int r = base_path(o, "host-", id->name, ".record", record, e);

	if (r >= 0)
		r = load_authority(o, "fleet-ca", &fleet, e);
	if (r < 0)
		return r;
	if (!new_key && access(record, F_OK) == 0) {
		printf("kept %s\n", record);
		return 0;
	}
	if (uname(&uts) < 0)
		return error_set(e, -errno, "cannot read this machine's name: %m");
	r = certs_host_record(fleet, id, given(o->host_name) ? o->host_name : uts.nodename, public,
			      clock_wall_ns(), record, e);
	if (r >= 0)
		printf("made %s\n", record);
	return r;
}

static int verb_host(const struct certs_options *o, struct error *e)
{
	struct certs_leaf leaf = { .seconds = o->days * DAY_S };
	char key[PATH_MAX];
	uint8_t public[32];
	bool new_key;
	int r = name_of(o, IDENTITY_HOST, "id", o->id, &leaf.id, e);

	if (r >= 0)
		r = renew(o, "host-", "fleet-ca", &leaf, e);
	if (r >= 0)
		r = base_path(o, "host-", leaf.id.name, ".seal.key", key, e);
	if (r < 0)
		return r;
	new_key = access(key, F_OK) != 0;
	r = certs_sealing_key(key, public, e);
	return r < 0 ? r : renew_record(o, &leaf.id, public, new_key, e);
}

/* A role that nothing grants anything to would only be found out when it is needed. */
static int check_role(const char *role, struct error *e)
{
	if (identity_role_known(role))
		return 0;
	(void)error_set(e, -EINVAL, "--roles: there is no role '%s'", role);
	error_hint(e, "the roles are %s", IDENTITY_ROLES_TEXT);
	return -EINVAL;
}

static int parse_roles(const char *list, struct identity *id, struct error *e)
{
	const char *at = list;

	for (;;) {
		size_t len = strcspn(at, ",");

		if (id->n_roles == IDENTITY_ROLES_MAX || !identity_role_valid(at, len))
			return error_set(
				e, -EINVAL,
				"--roles '%s' must be 1 to %d words of lower-case letters, digits and '-', "
				"separated by commas",
				list, IDENTITY_ROLES_MAX);
		memcpy(id->roles[id->n_roles++], at, len);
		int r = check_role(id->roles[id->n_roles - 1], e);

		if (r < 0)
			return r;
		if (at[len] == '\0')
			return 0;
		at += len + 1;
	}
}

static int verb_responder(const struct certs_options *o, struct error *e)
{
	struct certs_leaf leaf = { .seconds = o->hours * HOUR_S };
	int r = name_of(o, IDENTITY_RESPONDER, "name", o->name, &leaf.id, e);

	if (r >= 0)
		r = parse_roles(o->roles, &leaf.id, e);
	return r < 0 ? r : renew(o, "responder-", "order-ca", &leaf, e);
}

/* ---- the program ------------------------------------------------------------------------------- */

struct verb {
	const char *name;
	struct option_table table;
	int (*run)(const struct certs_options *o, struct error *e);
};

#define EXAMPLES(...)                                                                              \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static const struct verb verbs[] = {
	{ "init",
	  { .program = "exhibit-collector certs init",
	    .summary = "make the authorities and the ledger's key and certificate, where missing",
	    .examples = EXAMPLES("exhibit-collector certs init --dir certs",
				 "both authorities, the ledger key and its certificate"),
	    .rows = init_rows,
	    .n_rows = ARRAY_LEN(init_rows) },
	  verb_init },
	{ "collector",
	  { .program = "exhibit-collector certs collector",
	    .summary = "make or renew a collector's key and certificate",
	    .examples = EXAMPLES(
		    "exhibit-collector certs collector --dir certs --name c1 --san c1.example,10.0.0.5",
		    "agents may dial c1.example or 10.0.0.5"),
	    .rows = collector_rows,
	    .n_rows = ARRAY_LEN(collector_rows) },
	  verb_collector },
	{ "host",
	  { .program = "exhibit-collector certs host",
	    .summary = "make or renew a host's keys, certificate and host record",
	    .examples = EXAMPLES("exhibit-collector certs host --dir certs --tenant acme --id web-1",
				 "for the host web-1 of tenant acme"),
	    .rows = host_rows,
	    .n_rows = ARRAY_LEN(host_rows) },
	  verb_host },
	{ "responder",
	  { .program = "exhibit-collector certs responder",
	    .summary = "make or renew a person's key and certificate",
	    .examples = EXAMPLES(
		    "exhibit-collector certs responder --dir certs --tenant acme --name ann "
		    "--roles viewer,approver",
		    "ann may look and approve, for 12 hours"),
	    .rows = responder_rows,
	    .n_rows = ARRAY_LEN(responder_rows) },
	  verb_responder },
};

static void usage(FILE *to)
{
	fprintf(to, "usage: exhibit-collector certs VERB --dir DIR [flags]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].table.summary);
	fprintf(to,
		"\n'exhibit-collector certs VERB --help' tells more. What is still good for a third of its life\n"
		"is kept, so every verb may be run again and again.\n");
}

static int complain(const struct verb *verb, const struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	fprintf(stderr, "%s: %s\n", verb->table.program, error_format(e, text, sizeof(text)));
	return EXIT_FAILED;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	struct certs_options o = { 0 };
	struct error e = { 0 };
	bool done = false;
	int r = options_main(&verb->table, argc, argv, NULL, &o, &done, &e);

	if (r >= 0 && !done)
		r = given(o.dir) ? verb->run(&o, &e) : error_set(&e, -EINVAL, "--dir is needed");
	options_release(&verb->table, &o);
	if (r >= 0 && fflush(stdout) != 0)
		r = error_set(&e, -errno, "cannot write what was done: %m");
	return r < 0 ? complain(verb, &e) : EXIT_DONE;
}

int certs_main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(wanted, verbs[i].name) == 0)
			return run_verb(&verbs[i], argc - 1, argv + 1);
	}
	if (strcmp(wanted, "--help") == 0 || strcmp(wanted, "help") == 0) {
		usage(stdout);
		return EXIT_DONE;
	}
	if (wanted[0] != '\0')
		fprintf(stderr, "exhibit-collector certs: there is no verb '%s'\n\n", wanted);
	usage(stderr);
	return EXIT_FAILED;
}
