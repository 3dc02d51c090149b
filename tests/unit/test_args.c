/* SPDX-License-Identifier: Apache-2.0 */
/* Words of the command line, and how hostile text is shown in a terminal. */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "collector/cli/args.h"
#include "collector/cli/screen.h"

#define NOW (1000 * (int64_t)NSEC_PER_SEC)
#define WORDS_MAX 32

enum { EQUALS, PREFIX, CONTAINS, CIDR };

static const struct row {
	const char *name;
	const char *words[WORDS_MAX]; /* the verb first */
	const char *error; /* NULL: good */
	/* of the last condition; NULL: none is asked */
	const char *field, *value;
	int op;
	size_t terms, groups;
} rows[] = {
	{ "unknown flag",
	  { "events", "--bogus" },
	  .error = "'exhibit events' has no flag '--bogus'" },
	{ "nearly a flag", { "events", "--adress=1.2.3.4" }, .error = "did you mean --address?" },
	{ "beginning of a flag", { "events", "--no" }, .error = "has no flag '--no'" },
	{ "beginning of a flag with its value",
	  { "events", "--proc", "x" },
	  .error = "has no flag '--proc'" },
	{ "short flag", { "events", "-x" }, .error = "has no flag '--x'" },
	{ "value missing", { "events", "--port" }, .error = "--port needs a value" },
	{ "value where none is", { "events", "--json=1" }, .error = "has no flag" },
	{ "flag of another verb",
	  { "hosts", "--port", "1" },
	  .error = "'exhibit hosts' has no flag '--port'" },
	{ "object where none is", { "events", "x" }, .error = "'exhibit events' takes no 'x'" },
	{ "two objects", { "tree", "x", "y" }, .error = "takes one ENTITY, not also 'y'" },
	{ "bad time",
	  { "events", "--since", "noon" },
	  .error = "'noon' is not a value for --since; give a time" },
	{ "bad limit", { "events", "--limit", "-1" }, .error = "'-1' is not a value for --limit" },
	{ "limit too large", { "events", "--limit", "18446744073709551616" }, .error = "--limit" },
	{ "pid 0", { "tree", "--pid", "0" }, .error = "'0' is not a value for --pid" },
	{ "where without a value",
	  { "events", "--where", "process.name" },
	  .error = "give FIELD=VALUE" },
	{ "where without a field", { "events", "--where", "=x" }, .error = "give FIELD=VALUE" },
	{ "nothing", { "events" }, .terms = 0 },
	{ "exact",
	  { "events", "--process", "sh" },
	  .field = "process.name",
	  .value = "sh",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "beginning",
	  { "events", "--path=/etc/*" },
	  .field = "any.path",
	  .value = "/etc/",
	  .op = PREFIX,
	  .terms = 1,
	  .groups = 1 },
	{ "middle",
	  { "events", "--exe", "*bin*" },
	  .field = "process.executable",
	  .value = "bin",
	  .op = CONTAINS,
	  .terms = 1,
	  .groups = 1 },
	{ "end",
	  { "events", "--exe", "*/sleep" },
	  .field = "process.executable",
	  .value = "/sleep",
	  .op = CONTAINS,
	  .terms = 1,
	  .groups = 1 },
	{ "two asterisks are themselves",
	  { "events", "--process", "**" },
	  .field = "process.name",
	  .value = "*",
	  .op = PREFIX,
	  .terms = 1,
	  .groups = 1 },
	{ "asterisk alone is itself",
	  { "events", "--process", "*" },
	  .field = "process.name",
	  .value = "*",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "text keeps asterisks",
	  { "events", "--text", "*x*" },
	  .field = "any.text",
	  .value = "*x*",
	  .op = CONTAINS,
	  .terms = 1,
	  .groups = 1 },
	{ "network",
	  { "events", "--address", "10.0.0.0/8" },
	  .field = "any.ip",
	  .value = "10.0.0.0/8",
	  .op = CIDR,
	  .terms = 1,
	  .groups = 1 },
	{ "container by its beginning",
	  { "events", "--container", "3f" },
	  .field = "container.id",
	  .value = "3f",
	  .op = PREFIX,
	  .terms = 1,
	  .groups = 1 },
	{ "pod by name",
	  { "events", "--pod", "web-1" },
	  .field = "orchestrator.resource.name",
	  .value = "web-1",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "pod by namespace and name",
	  { "tail", "--pod", "shop/web-*" },
	  .field = "orchestrator.namespace",
	  .value = "shop",
	  .op = EQUALS,
	  .terms = 2,
	  .groups = 2 },
	{ "either pod", { "events", "--pod", "a", "--pod", "b" }, .terms = 2, .groups = 1 },
	{ "pairs are no alternatives",
	  { "events", "--pod", "shop/a", "--pod", "bank/b" },
	  .error = "--pod NAMESPACE/NAME goes alone" },
	{ "a name beside a pair",
	  { "events", "--pod", "a", "--pod", "bank/b" },
	  .error = "goes alone" },
	{ "pod without name", { "events", "--pod", "shop/" }, .error = "NAMESPACE/NAME" },
	{ "pod without namespace", { "events", "--pod", "/a" }, .error = "NAMESPACE/NAME" },
	{ "pod of three parts", { "events", "--pod", "a/b/c" }, .error = "NAMESPACE/NAME" },
	{ "pod of nothing", { "events", "--pod", "" }, .error = "NAMESPACE/NAME" },
	{ "namespace",
	  { "events", "--namespace", "shop*" },
	  .field = "orchestrator.namespace",
	  .value = "shop",
	  .op = PREFIX,
	  .terms = 1,
	  .groups = 1 },
	{ "image by any part",
	  { "events", "--image", "nginx" },
	  .field = "container.image.name",
	  .value = "nginx",
	  .op = CONTAINS,
	  .terms = 1,
	  .groups = 1 },
	{ "user by name",
	  { "events", "--user", "root" },
	  .field = "process.user.name",
	  .value = "root",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "user by id",
	  { "events", "--user", "0" },
	  .field = "process.user.id",
	  .value = "0",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "repeated flag: either",
	  { "events", "--port", "1", "--port", "2" },
	  .field = "any.port",
	  .value = "2",
	  .op = EQUALS,
	  .terms = 2,
	  .groups = 1 },
	{ "two flags: both",
	  { "events", "--port", "1", "--user", "0" },
	  .field = "process.user.id",
	  .value = "0",
	  .op = EQUALS,
	  .terms = 2,
	  .groups = 2 },
	{ "where keeps further equals signs",
	  { "events", "--where", "process.args=a=b" },
	  .field = "process.args",
	  .value = "a=b",
	  .op = EQUALS,
	  .terms = 1,
	  .groups = 1 },
	{ "where with a network",
	  { "events", "--where", "source.ip=fd00::/8" },
	  .field = "source.ip",
	  .value = "fd00::/8",
	  .op = CIDR,
	  .terms = 1,
	  .groups = 1 },
	{ "where of one field: either",
	  { "events", "--where", "file.path=a", "--where", "file.path=b" },
	  .field = "file.path",
	  .value = "b",
	  .op = EQUALS,
	  .terms = 2,
	  .groups = 1 },
	{ "where of two fields: both",
	  { "events", "--where", "file.path=a", "--where", "file.mode=b" },
	  .field = "file.mode",
	  .value = "b",
	  .op = EQUALS,
	  .terms = 2,
	  .groups = 2 },
	{ "flags after the object", { "tree", "x", "--at", "5m" }, .terms = 0 },
};

static size_t count_groups(const struct args *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n_terms; i++) {
		bool new = true;

		for (size_t k = 0; k < i; k++)
			new &= a->terms[k].group != a->terms[i].group;
		n += new;
	}
	return n;
}

static void run_row(void **state)
{
	const struct row *row = *state;
	char *argv[WORDS_MAX + 1] = { 0 };
	static struct args a;
	struct error e = { 0 };
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];
	int argc = 0, r;

	for (; argc < WORDS_MAX && row->words[argc]; argc++)
		argv[argc] = strdup(row->words[argc]);
	r = args_parse(verb_by_name(argv[0]), argc, argv, NOW, &a, &e);
	if (row->error) {
		assert_int_equal(r, -EINVAL);
		if (!strstr(error_format(&e, text, sizeof(text)), row->error))
			fail_msg("%s", text);
	} else {
		if (r < 0)
			fail_msg("%s", e.text);
		assert_int_equal(a.n_terms, row->terms);
		assert_int_equal(count_groups(&a), row->groups);
	}
	if (row->field) {
		const Exhibit__V1__FilterTerm *t = &a.terms[a.n_terms - 1];

		assert_int_equal(t->field.len, strlen(row->field));
		assert_memory_equal(t->field.data, row->field, t->field.len);
		assert_int_equal(t->value.len, strlen(row->value));
		assert_memory_equal(t->value.data, row->value, t->value.len);
		assert_int_equal(t->op, row->op);
	}
	for (int i = 0; i < argc; i++)
		free(argv[i]);
}

static void times_are_ages_too(void **state)
{
	char *argv[] = { strdup("events"), strdup("--since"), strdup("10s"),
			 strdup("--until=1970-01-01T00:16:40Z"), NULL };
	static struct args a;

	(void)state;
	assert_int_equal(args_parse(verb_by_name("events"), 4, argv, NOW, &a, NULL), 0);
	assert_true(a.since_ns == NOW - 10 * (int64_t)NSEC_PER_SEC);
	assert_true(a.until_ns == NOW);
	for (int i = 0; i < 4; i++)
		free(argv[i]);
}

/* The next word as a shell takes it, single quotes included, in place; NULL: there is none. */
static char *next_word(char **at)
{
	char *word, *out;
	bool quoted = false;

	*at += strspn(*at, " ");
	word = out = *at;
	if (!**at)
		return NULL;
	for (; **at && (quoted || **at != ' '); (*at)++) {
		if (**at == '\'')
			quoted = !quoted;
		else
			*out++ = **at;
	}
	if (**at)
		(*at)++;
	*out = '\0';
	return word;
}

/* Every verb has examples that it understands itself. */
static void examples_are_understood(void **state)
{
	const struct verb *v;

	(void)state;
	for (size_t i = 0; (v = verb_at(i)); i++) {
		for (const char *const *x = v->examples; x[0]; x += 2) {
			char *line = strdup(x[0]), *at = line, *w, *argv[WORDS_MAX + 1] = { 0 };
			static struct args a;
			struct error e = { 0 };
			int argc = 0;

			while ((w = next_word(&at)) && strcmp(w, "|") != 0 && argc < WORDS_MAX)
				argv[argc++] = w;
			if (strcmp(argv[0], "exhibit") == 0) {
				assert_string_equal(argv[1], v->name);
				if (args_parse(v, argc - 1, argv + 1, NOW, &a, &e) < 0)
					fail_msg("%s: %s", x[0], e.text);
			}
			free(line);
		}
	}
}

#define S(text) text, sizeof(text) - 1
#define ELLIPSIS "\xe2\x80\xa6"

static const struct shown {
	const char *name, *text;
	size_t len, width;
	const char *want;
	size_t columns;
} shown[] = {
	{ "escape sequence", S("a\033[31mb"), 80, "a\\x1b[31mb", 10 },
	{ "C1 control",
	  S("a\xc2\x9b"
	    "2J"),
	  80, "a\\u{9b}2J", 9 },
	{ "newline cannot forge a row", S("a\nb"), 80, "a\\x0ab", 6 },
	{ "right to left override",
	  S("a\xe2\x80\xae"
	    "b\xe2\x80\xac"),
	  80, "a\\u{202e}b\\u{202c}", 18 },
	{ "zero width",
	  S("a\xe2\x80\x8b"
	    "b"),
	  80, "a\\u{200b}b", 10 },
	{ "invalid byte",
	  S("a\xff"
	    "b"),
	  80,
	  "a\xef\xbf\xbd"
	  "b",
	  3 },
	{ "cut", S("abcdef"), 4, "abc" ELLIPSIS, 4 },
	{ "fits exactly", S("abcd"), 4, "abcd", 4 },
	{ "wide character does not stand over the edge",
	  S("ab\xe4\xb8\xad"
	    "cd"),
	  4, "ab" ELLIPSIS, 3 },
	{ "an escape is not cut in half", S("ab\033cd"), 5, "ab" ELLIPSIS, 3 },
	{ "nothing fits", S("abc"), 0, "", 0 },
};

static void run_shown(void **state)
{
	const struct shown *row = *state;
	char *out = NULL;
	size_t size = 0;
	struct screen s = { .out = open_memstream(&out, &size) };
	size_t used = screen_cell(&s, row->text, row->len, row->width, false, COLOR_RED);

	assert_int_equal(fclose(s.out), 0);
	assert_string_equal(out, row->want);
	assert_int_equal(used, row->columns);
	free(out);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + ARRAY_LEN(shown) + 2];
	size_t n = 0;

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[n++] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						  (void *)(uintptr_t)&rows[i] };
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		tests[n++] = (struct CMUnitTest){ shown[i].name, run_shown, NULL, NULL,
						  (void *)(uintptr_t)&shown[i] };
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(times_are_ages_too);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(examples_are_understood);
	return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
