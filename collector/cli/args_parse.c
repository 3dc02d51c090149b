/* SPDX-License-Identifier: Apache-2.0 */
/* From words to struct args, by the tables of args.c. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "collector/cli/args.h"
#include "proto/base/suggest.h"

#define FLAG_FIRST 256 /* getopt's value of the first row */
#define FLAGS_MAX 128 /* of one verb */

static int unknown_flag(const struct verb *v, const char *word, struct error *e)
{
	struct suggestion near = { 0 };
	size_t len;

	while (*word == '-')
		word++;
	len = strcspn(word, "=");
	for (size_t i = 0; flag_at(i); i++)
		if (flag_at(i)->verbs & v->bit)
			suggest(&near, word, len, flag_at(i)->name);
	(void)error_set(e, -EINVAL, "'exhibit %s' has no flag '--%.*s'", v->name, (int)len, word);
	if (near.word)
		error_hint(e, "did you mean --%s?", near.word);
	else
		error_hint(e, "'exhibit %s --help' lists them", v->name);
	return -EINVAL;
}

/* getopt_long takes a unique beginning for the whole flag; what a script means must not change with the
 * next version's flags. */
static bool whole_name(const char *word, const char *name)
{
	size_t len = strlen(name);

	return strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, len) == 0 &&
	       (word[2 + len] == '\0' || word[2 + len] == '=');
}

static int take_objects(const struct verb *v, int argc, char **argv, struct args *ret,
			struct error *e)
{
	if (optind >= argc)
		return 0;
	if (!v->object) {
		(void)error_set(e, -EINVAL, "'exhibit %s' takes no '%s'", v->name, argv[optind]);
		error_hint(e, "'exhibit %s --help' shows what it takes", v->name);
		return -EINVAL;
	}
	if (optind + 1 < argc)
		return error_set(e, -EINVAL, "'exhibit %s' takes one %s, not also '%s'", v->name,
				 v->object, argv[optind + 1]);
	ret->object = argv[optind];
	return 0;
}

static void flags_of(const struct verb *v, struct option longs[static FLAGS_MAX + 1])
{
	size_t n = 0;
	const struct flag *f;

	for (size_t i = 0; (f = flag_at(i)) && n < FLAGS_MAX; i++)
		if (f->verbs & v->bit)
			longs[n++] = (struct option){ f->name,
						      f->metavar ? required_argument : no_argument,
						      NULL, FLAG_FIRST + (int)i };
	longs[n] = (struct option){ 0 };
}

int args_parse(const struct verb *v, int argc, char **argv, int64_t now_ns, struct args *ret,
	       struct error *e)
{
	struct option longs[FLAGS_MAX + 1];
	int c;

	*ret = (struct args){ 0 };
	flags_of(v, longs);
	optind = 0; /* glibc: begin anew */
	for (;;) {
		/* Where the flag that is read next stands: getopt moves objects to the end meanwhile. */
		int r, before = optind ? optind : 1;
		const struct flag *f;
		const char *word;

		c = getopt_long(argc, argv, ":", longs, NULL);
		if (c < 0)
			break;
		word = argv[optind - 1 >= before ? optind - 1 : before];
		if (c == ':')
			return error_set(e, -EINVAL, "%s needs a value", word);
		if (c < FLAG_FIRST)
			return unknown_flag(v, word, e);
		f = flag_at((size_t)(c - FLAG_FIRST));
		if (optarg && optarg == word)
			word = argv[optind - 2];
		if (!whole_name(word, f->name))
			return unknown_flag(v, word, e);
		r = f->set(f, optarg, ret, now_ns, e);
		if (f->verbs == VERB_GRAB)
			ret->grab.given |= 1U << f->op;
		if (r < 0)
			return r;
	}
	return take_objects(v, argc, argv, ret, e);
}
