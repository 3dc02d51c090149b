/* SPDX-License-Identifier: Apache-2.0 */
/* --help and the man page, both from the table. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/options_internal.h"
#include "proto/base/version.h"

#define HELP_COLUMN 38

static const struct builtin {
	const char *name, *metavar, *help;
} builtins[] = {
	{ "config", "FILE", "configuration file (YAML); flags win over it" },
	{ "check", NULL, "check configuration and flags, then exit" },
	{ "help", NULL, "show this help" },
	{ "version", NULL, "show the version" },
	{ "print-man", NULL, "write the man page to standard output" },
};

static void help_line(const char *name, const char *metavar, const char *help, const char *def)
{
	int n = printf("  --%s%s%s", name, metavar ? "=" : "", metavar ? metavar : "");

	if (n >= HELP_COLUMN)
		n = printf("\n") * 0;
	printf("%*s%s", HELP_COLUMN - n, "", help);
	if (def && def[0])
		printf(" (default %s)", def);
	printf("\n");
}

/* A bool is set by the bare flag, so that a value is shown only where false has to be written. */
static const char *shown_metavar(const struct option *row)
{
	return row->type == OPT_BOOL && (!row->def || strcmp(row->def, "true") != 0) ?
		       NULL :
		       option_metavar(row);
}

void options_help(const struct option_table *t)
{
	printf("%s - %s\n\nUsage: %s [--FLAG[=VALUE]]...\n", t->program, t->summary, t->program);
	if (t->examples && t->examples[0])
		printf("\nExamples:\n");
	for (const char *const *x = t->examples; x && x[0] && x[1]; x += 2)
		printf("  %s\n      %s\n", x[0], x[1]);
	printf("\nFlags (all but the last %zu are keys of the configuration file, too):\n",
	       ARRAY_LEN(builtins));
	for (size_t i = 0; i < t->n_rows; i++)
		help_line(t->rows[i].name, shown_metavar(&t->rows[i]), t->rows[i].help,
			  t->rows[i].def);
	for (size_t i = 0; i < ARRAY_LEN(builtins); i++)
		help_line(builtins[i].name, builtins[i].metavar, builtins[i].help, NULL);
}

/* Text for a roff line: backslashes doubled, and a zero-width character before what roff would take
 * for a request. */
static void man_text(const char *s)
{
	if (*s == '.' || *s == '\'')
		printf("\\&");
	for (; *s; s++) {
		if (*s == '\\')
			printf("\\e");
		else
			(void)putchar(*s == '\n' ? ' ' : *s);
	}
}

/* An argument of an mdoc macro: quoted, so that no word is taken for a macro. */
static void man_argument(const char *s)
{
	(void)putchar('"');
	for (; *s; s++) {
		if (*s == '"')
			printf("\\(dq");
		else if (*s == '\\')
			printf("\\e");
		else
			(void)putchar(*s == '\n' ? ' ' : *s);
	}
	(void)putchar('"');
}

static void man_item(const char *name, const char *metavar, const char *help, const char *def)
{
	printf(".It Fl -%s", name);
	if (metavar) {
		printf(" Ns = Ns Ar ");
		man_argument(metavar);
	}
	printf("\n");
	man_text(help);
	printf(".\n");
	if (def && def[0]) {
		printf("The default is\n.Ql ");
		man_argument(def);
		printf(" .\n");
	}
}

static void man_upper(const char *s)
{
	for (; *s; s++)
		(void)putchar(toupper((unsigned char)*s));
}

static void man_head(const struct option_table *t)
{
	printf(".\\\" Written by %s --print-man from its table of options.\n", t->program);
	printf(".Dd " VERSION_DATE "\n.Dt ");
	man_upper(t->program);
	printf(" %u\n.Os\n.Sh NAME\n.Nm %s\n.Nd ", t->man_section ? t->man_section : 8, t->program);
	man_text(t->summary);
	printf("\n.Sh SYNOPSIS\n.Nm\n.Op Fl -config Ns = Ns Ar FILE\n.Op Fl - Ns Ar KEY Ns = Ns Ar VALUE ...\n");
	printf(".Sh DESCRIPTION\n"
	       "Each flag with a value is also a key of the configuration file,\n"
	       "nested at its dots:\n.Fl -a.b Ns = Ns Ar 1\nis\n.Ql a:\\&\nwith\n.Ql b: 1\nbelow it.\n"
	       "Flags win over the file.\n"
	       "Sizes are written 512, 64KiB, 10MiB or 1GiB,\ndurations 500ms, 10s, 5m, 2h or 7d.\n"
	       "A list is a sequence in the file, and a repeated flag on the command line.\n.Pp\n"
	       "The flags are:\n.Bl -tag -width Ds\n");
}

void options_man(const struct option_table *t)
{
	man_head(t);
	for (size_t i = 0; i < t->n_rows; i++)
		man_item(t->rows[i].name, shown_metavar(&t->rows[i]), t->rows[i].help,
			 t->rows[i].def);
	for (size_t i = 0; i < ARRAY_LEN(builtins); i++)
		man_item(builtins[i].name, builtins[i].metavar, builtins[i].help, NULL);
	printf(".El\n.Sh EXIT STATUS\n0 for success, 1 or 2 for failure,\nwith one sentence on standard error.\n");
	if (!t->examples || !t->examples[0])
		return;
	printf(".Sh EXAMPLES\n.Bl -tag -width Ds\n");
	for (const char *const *x = t->examples; x[0] && x[1]; x += 2) {
		printf(".It Ic ");
		man_argument(x[0]);
		printf("\n");
		man_text(x[1]);
		printf(".\n");
	}
	printf(".El\n");
}
