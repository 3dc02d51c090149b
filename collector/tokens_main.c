/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/tokens_main.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/rand.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "collector/enrol_store.h"
#include "proto/base/clock.h"
#include "proto/base/options.h"
#include "proto/identity.h"

#define EXIT_DONE 0
#define EXIT_FAILED 2

struct tokens_options {
	char *store_dir, *tenant, *instance;
	uint64_t lifetime_ms, uses, id;
};

#define AT(member) offsetof(struct tokens_options, member)
#define ROW_DIR                                                                                    \
	{                                                                                          \
		"store.dir", OPT_STRING, AT(store_dir), 1, 4000, "/var/lib/exhibit/store",         \
			"the collector's store", "DIR"                                             \
	}

static const struct option make_rows[] = {
	ROW_DIR,
	{ "tenant", OPT_STRING, AT(tenant), 1, IDENTITY_PART_MAX, "default",
	  "tenant of the hosts that enrol with it", "NAME" },
	{ "lifetime", OPT_DURATION_MS, AT(lifetime_ms), 1000, 31622400000, "24h",
	  "how long it may be used", NULL },
	{ "uses", OPT_U64, AT(uses), 1, ENROL_USES_MAX, "1", "how many hosts may enrol with it",
	  "N" },
	{ "cloud-instance", OPT_STRING, AT(instance), 0, BATCH_NAME_MAX, NULL,
	  "bind it to the cloud instance with this id; not given: any machine", "ID" },
};
static const struct option list_rows[] = { ROW_DIR };
static const struct option revoke_rows[] = {
	ROW_DIR,
	{ "id", OPT_U64, AT(id), 1, INT64_MAX, NULL, "number of the token, from 'tokens list'",
	  "N" },
};

static struct batch_name name_of(const char *text)
{
	struct batch_name name = { 0 };

	name.len = (uint8_t)strnlen(text, BATCH_NAME_MAX);
	memcpy(name.b, text, name.len);
	return name;
}

static const char *user(char buf[static 64])
{
	const struct passwd *p = getpwuid(getuid());

	(void)snprintf(buf, 64, "%s", p != NULL ? p->pw_name : "?");
	return buf;
}

static int verb_make(struct enrol_store *s, const struct tokens_options *o, struct error *e)
{
	struct enrol_token t = { .tenant = name_of(o->tenant),
				 .instance = name_of(o->instance),
				 .made_ns = clock_wall_ns(),
				 .uses = o->uses };
	uint8_t token[ENROL_TOKEN_LEN];
	char by[64], until[CLOCK_TEXT_MAX];
	struct seal_hash hash;
	int r;

	if (!identity_part_valid(o->tenant, strlen(o->tenant)))
		return error_set(e, -EINVAL, "--tenant '%s' cannot be a tenant's name", o->tenant);
	t.expires_ns = t.made_ns + (int64_t)(o->lifetime_ms * NSEC_PER_MSEC);
	if (RAND_bytes(token, sizeof(token)) != 1)
		return error_set(e, -EIO, "cannot make a random token");
	r = seal_sha256(token, sizeof(token), &hash);
	if (r == 0)
		r = enrol_store_make(s, &t, &hash, user(by), e);
	if (r < 0)
		return r;
	(void)clock_format(t.expires_ns, until);
	fprintf(stderr,
		"token %" PRId64 " for tenant %s, %" PRIu64 " use%s, until %s; it is shown once:\n",
		t.id, o->tenant, t.uses, t.uses == 1 ? "" : "s", until);
	for (size_t i = 0; i < sizeof(token); i++)
		printf("%02x", token[i]);
	printf("\n");
	return 0;
}

static int print_token(void *ctx, const struct enrol_token *t)
{
	char until[CLOCK_TEXT_MAX];
	const int64_t *now = ctx;
	const char *state = t->revoked_ns != 0    ? "revoked" :
			    t->used >= t->uses    ? "used" :
			    t->expires_ns <= *now ? "expired" :
						    "open";

	(void)clock_format(t->expires_ns, until);
	printf("%-6" PRId64 " %-8s %6" PRIu64 " of %-6" PRIu64 " %-30s %-20.*s %.*s\n", t->id,
	       state, t->used, t->uses, until, (int)t->tenant.len, (const char *)t->tenant.b,
	       (int)t->instance.len, (const char *)t->instance.b);
	return 0;
}

static int verb_list(struct enrol_store *s, const struct tokens_options *o, struct error *e)
{
	int64_t now = clock_wall_ns();

	(void)o;
	printf("%-6s %-8s %16s %-30s %-20s %s\n", "ID", "STATE", "USED", "EXPIRES", "TENANT",
	       "CLOUD INSTANCE");
	return enrol_store_each(s, print_token, &now, e);
}

static int verb_revoke(struct enrol_store *s, const struct tokens_options *o, struct error *e)
{
	char by[64];
	int r = o->id == 0 ? error_set(e, -EINVAL, "--id is needed; 'tokens list' shows it") :
			     enrol_store_revoke(s, (int64_t)o->id, clock_wall_ns(), user(by), e);

	if (r == 0)
		printf("revoked token %" PRIu64 "\n", o->id);
	return r;
}

static const struct verb {
	const char *name;
	struct option_table table;
	int (*run)(struct enrol_store *s, const struct tokens_options *o, struct error *e);
} verbs[] = {
	{ "make",
	  { .program = "exhibit-collector tokens make",
	    .summary = "make an enrolment token and print it, once",
	    .examples =
		    (const char *const[]){ "exhibit-collector tokens make --uses 500 --lifetime 8h",
					   "for an image of which 500 machines start today", NULL },
	    .rows = make_rows,
	    .n_rows = ARRAY_LEN(make_rows) },
	  verb_make },
	{ "list",
	  { .program = "exhibit-collector tokens list",
	    .summary = "list the enrolment tokens, without the tokens themselves",
	    .examples = (const char *const[]){ "exhibit-collector tokens list",
					       "which tokens are still open", NULL },
	    .rows = list_rows,
	    .n_rows = ARRAY_LEN(list_rows) },
	  verb_list },
	{ "revoke",
	  { .program = "exhibit-collector tokens revoke",
	    .summary = "have a token enrol nobody any more",
	    .examples = (const char *const[]){ "exhibit-collector tokens revoke --id 3",
					       "at once, also while the collector runs", NULL },
	    .rows = revoke_rows,
	    .n_rows = ARRAY_LEN(revoke_rows) },
	  verb_revoke },
};

static int work(const struct verb *v, const struct tokens_options *o, struct error *e)
{
	AUTO(enrol_store_close_ptr) struct enrol_store *s = NULL;
	char dir[PATH_MAX];
	int r;

	if (access(o->store_dir, F_OK) < 0)
		return error_set(e, -errno, "there is no store in '%s': %m", o->store_dir);
	if (snprintf(dir, sizeof(dir), "%s/" ENROL_FOLDER, o->store_dir) >= (int)sizeof(dir))
		return error_set(e, -ENAMETOOLONG, "store.dir is too long");
	r = enrol_store_open(dir, &s, e);
	if (r == 0)
		r = v->run(s, o, e);
	if (r == 0 && fflush(stdout) != 0)
		r = error_set(e, -errno, "cannot write what was done: %m");
	return r;
}

static int run_verb(const struct verb *v, int argc, char **argv)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	struct tokens_options o = { 0 };
	struct error e = { 0 };
	bool done = false;
	int r = options_main(&v->table, argc, argv, NULL, &o, &done, &e);

	if (r >= 0 && !done)
		r = work(v, &o, &e);
	options_release(&v->table, &o);
	if (r >= 0)
		return EXIT_DONE;
	fprintf(stderr, "%s: %s\n", v->table.program, error_format(&e, text, sizeof(text)));
	return EXIT_FAILED;
}

int tokens_main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";
	bool help = strcmp(wanted, "--help") == 0 || strcmp(wanted, "help") == 0;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (strcmp(wanted, verbs[i].name) == 0)
			return run_verb(&verbs[i], argc - 1, argv + 1);
	fprintf(help ? stdout : stderr, "usage: exhibit-collector tokens VERB [flags]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		fprintf(help ? stdout : stderr, "  %-10s %s\n", verbs[i].name,
			verbs[i].table.summary);
	fprintf(help ? stdout : stderr, "\n'exhibit-collector tokens VERB --help' tells more.\n");
	return help ? EXIT_DONE : EXIT_FAILED;
}
