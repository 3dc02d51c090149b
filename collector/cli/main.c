/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit: finds the verb, understands its words, runs it. */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/help.h"
#include "collector/cli/outcome.h"
#include "proto/base/clock.h"
#include "proto/base/suggest.h"
#include "proto/base/version.h"

static int unknown_verb(const char *word)
{
	struct suggestion near = { 0 };
	struct error e = { 0 };
	const struct verb *v;

	for (size_t i = 0; (v = verb_at(i)); i++)
		suggest(&near, word, strlen(word), v->name);
	(void)error_set(&e, -EINVAL, "there is no verb '%s'", word);
	if (near.word)
		error_hint(&e, "did you mean '%s'?", near.word);
	else
		error_hint(&e, "'exhibit --help' lists them");
	return outcome_failure(&e);
}

static int run_verb(const struct verb *v, int argc, char **argv)
{
	static struct args args; /* too large for comfort on the stack */
	struct error e = { 0 };

	if (args_parse(v, argc, argv, clock_wall_ns(), &args, &e) < 0)
		return outcome_failure(&e);
	if (args.help) {
		help_verb(v);
		return fflush(stdout) ? EXIT_ERROR : EXIT_FOUND;
	}
	return v->run(&args);
}

static int show_version(void)
{
	printf("exhibit %s\n", VERSION);
	return EXIT_FOUND;
}

static int show_help(void)
{
	help_program();
	return EXIT_FOUND;
}

static int show_man(void)
{
	help_man();
	return EXIT_FOUND;
}

static const struct {
	const char *word;
	int (*run)(void);
} words[] = {
	{ "--help", show_help },
	{ "help", show_help },
	{ "--version", show_version },
	{ "--print-man", show_man },
};

int main(int argc, char **argv)
{
	const struct verb *v;

	/* For the width of characters alone; what is printed is UTF-8 wherever it runs. */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
	/* "| head" ends us quietly: writing fails, which outcome_deaf sees. */
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		help_program();
		return EXIT_ERROR;
	}
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(argv[1], words[i].word) == 0)
			return words[i].run();
	v = verb_by_name(argv[1]);
	return v ? run_verb(v, argc - 1, argv + 1) : unknown_verb(argv[1]);
}
