/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: the table's rows and five built-in flags, by getopt_long. */
#include <errno.h>
/* getopt.h has a struct option of its own. */
#define option getopt_option
#include <getopt.h>
#undef option
#include <stdio.h>
#include <string.h>

#include "proto/base/options_internal.h"
#include "proto/base/version.h"

/* getopt_long's values; a row's is ROW_FIRST and its index. */
enum { FLAG_CONFIG = 1, FLAG_CHECK, FLAG_HELP, FLAG_VERSION, FLAG_MAN, ROW_FIRST = 256 };

static const struct getopt_option builtins[] = {
	{ "config", required_argument, NULL, FLAG_CONFIG },
	{ "check", no_argument, NULL, FLAG_CHECK },
	{ "help", no_argument, NULL, FLAG_HELP },
	{ "version", no_argument, NULL, FLAG_VERSION },
	{ "print-man", no_argument, NULL, FLAG_MAN },
};

struct command_line {
	const struct option_table *table;
	struct getopt_option *flags; /* builtins, rows, end */
	int argc;
	char **argv;
	const char *config; /* as given; NULL: not given */
	int action; /* FLAG_CHECK.. that was given first, or 0 */
};

static struct getopt_option *all_flags(const struct option_table *t)
{
	struct getopt_option *flags = calloc(ARRAY_LEN(builtins) + t->n_rows + 1, sizeof(*flags));

	if (!flags)
		return NULL;
	memcpy(flags, builtins, sizeof(builtins));
	for (size_t i = 0; i < t->n_rows; i++)
		flags[ARRAY_LEN(builtins) + i] = (struct getopt_option){
			.name = t->rows[i].name,
			.has_arg = t->rows[i].type == OPT_BOOL ? optional_argument :
								 required_argument,
			.val = ROW_FIRST + (int)i,
		};
	return flags;
}

/* The word on the command line that getopt_long has just read as a flag. */
static const char *flag_word(const struct command_line *c)
{
	bool separate = optarg && optarg == c->argv[optind - 1];

	return c->argv[optind - (separate ? 2 : 1)];
}

/* getopt_long takes "--jour" for "--journal.dir" while no other flag begins so: what a script means
 * would change with the next version's flags. */
static bool is_abbreviated(const struct command_line *c, const char *name)
{
	const char *word = flag_word(c) + 2;
	size_t len = strlen(name);

	return strncmp(word, name, len) != 0 || (word[len] && word[len] != '=');
}

static int unknown_flag(const struct command_line *c, const char *word, struct error *e)
{
	int len = (int)strcspn(word, "="), r;
	char name[64];

	r = error_set(e, -EINVAL, "unknown flag '%.*s'", len, word);
	(void)snprintf(name, sizeof(name), "%.*s", len > 2 ? len - 2 : 0, len > 2 ? word + 2 : "");
	option_hint_near(c->table, "", name, true, e);
	return r;
}

/* The next flag's value, 0 at the end, or a negative errno. */
static int next_flag(const struct command_line *c, struct error *e)
{
	int index = -1, v;

	opterr = 0;
	v = getopt_long(c->argc, c->argv, ":h", c->flags, &index);
	if (v == 'h')
		return FLAG_HELP;
	if (v == ':')
		return error_set(e, -EINVAL, "flag '%s' needs a value", c->argv[optind - 1]);
	if (v == '?' && optopt > 0 && (optopt <= FLAG_MAN || optopt >= ROW_FIRST))
		return error_set(e, -EINVAL, "flag '%s' takes no value", c->argv[optind - 1]);
	if (v == '?' && optopt > 0)
		return error_set(e, -EINVAL, "unknown flag '-%c'", optopt);
	if (v == '?')
		return unknown_flag(c, c->argv[optind - 1], e);
	if (v == -1 && optind < c->argc)
		return error_set(e, -EINVAL, "unexpected argument '%s'", c->argv[optind]);
	if (v == -1)
		return 0;
	return is_abbreviated(c, c->flags[index].name) ? unknown_flag(c, flag_word(c), e) : v;
}

/* First pass: is every flag known, which file, what else to do. */
static int scan(struct command_line *c, struct error *e)
{
	int v;

	optind = 0;
	while ((v = next_flag(c, e)) > 0) {
		if (v == FLAG_CONFIG)
			c->config = optarg;
		else if (v < ROW_FIRST && !c->action)
			c->action = v;
	}
	return v;
}

static int apply_row(const struct command_line *c, size_t index, void *opts, bool *seen,
		     struct error *e)
{
	const struct option *row = &c->table->rows[index];
	const struct option_source flag = { 0 };

	/* The first flag of a list replaces what the file said. */
	if (row->type == OPT_STRINGS && !seen[index])
		option_list_clear(option_list(row, opts));
	seen[index] = true;
	return option_set(row, opts, optarg ? optarg : "true", &flag, e);
}

/* Second pass: the rows' values. */
static int apply(const struct command_line *c, void *opts, struct error *e)
{
	bool seen[OPTION_ROWS_MAX] = { false };
	const struct option_source flag = { 0 };
	int v;

	optind = 0;
	while ((v = next_flag(c, e)) > 0) {
		int r = v < ROW_FIRST ? 0 : apply_row(c, (size_t)(v - ROW_FIRST), opts, seen, e);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; v == 0 && i < c->table->n_rows; i++)
		if (seen[i] && c->table->rows[i].type == OPT_STRINGS)
			v = option_list_check(&c->table->rows[i], opts, &flag, e);
	return v;
}

/* A file that is there but out of reach must not silently mean the defaults. */
static bool exists(const char *path)
{
	return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

/* What needs no configuration. true: done. */
static bool act(const struct command_line *c)
{
	switch (c->action) {
	case FLAG_HELP:
		options_help(c->table);
		return true;
	case FLAG_VERSION:
		printf("%s %s\n", c->table->program, VERSION);
		return true;
	case FLAG_MAN:
		options_man(c->table);
		return true;
	default:
		return false;
	}
}

int options_main(const struct option_table *t, int argc, char **argv, const char *default_config,
		 void *opts, bool *ret_done, struct error *e)
{
	AUTO(free_ptr) struct getopt_option *flags = NULL;
	struct command_line c = { .table = t, .argc = argc, .argv = argv };
	int r;

	*ret_done = false;
	options_release(t, opts);
	r = options_init(t, opts, e);
	if (r < 0)
		return r;
	c.flags = flags = all_flags(t);
	if (!flags)
		return error_set(e, -ENOMEM, "cannot read the flags: %m");
	r = scan(&c, e);
	if (r < 0)
		return r;
	*ret_done = act(&c);
	if (*ret_done)
		return 0;
	if (!c.config && default_config && exists(default_config))
		c.config = default_config;
	r = c.config ? options_load(t, c.config, opts, e) : 0;
	if (r == 0)
		r = apply(&c, opts, e);
	if (r == 0 && t->check)
		r = t->check(opts, e);
	if (r == 0 && c.action == FLAG_CHECK) {
		printf("%s: ok\n", c.config ? c.config : "defaults");
		*ret_done = true;
	}
	return r;
}
