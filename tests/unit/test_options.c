/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/options.h"
#include "tests/unit/rows.h"

struct opts {
	char *dir, *name;
	uint64_t max_bytes, age_ms, count;
	bool on, off;
	struct option_list peers, tags;
};

static const struct option rows[] = {
	{ "journal.dir", OPT_STRING, offsetof(struct opts, dir), 1, 20, "/var/lib/x",
	  "where batches rest", "DIR" },
	{ "journal.max-bytes", OPT_BYTES, offsetof(struct opts, max_bytes), MiB(16), TiB(1), "1GiB",
	  "disk", NULL },
	{ "journal.age", OPT_DURATION_MS, offsetof(struct opts, age_ms), 500, 86400000, "10s",
	  "age", NULL },
	{ "name", OPT_STRING, offsetof(struct opts, name), 3, 0, NULL, "a name", NULL },
	{ "uplink.count", OPT_U64, offsetof(struct opts, count), 0, 0, NULL, "a count", NULL },
	{ "uplink.on", OPT_BOOL, offsetof(struct opts, on), 0, 0, "true", "on", NULL },
	{ "uplink.off", OPT_BOOL, offsetof(struct opts, off), 0, 0, NULL, "off", NULL },
	{ "uplink.peers", OPT_STRINGS, offsetof(struct opts, peers), 1, 3, "[a:1, b:2]", "peers",
	  "ADDRESS" },
	{ "uplink.tags", OPT_STRINGS, offsetof(struct opts, tags), 0, 0, NULL, "tags", NULL },
};
static const char *const examples[] = { "exhibit-x --check", "check 'the' \\file", NULL };
static const struct option_table table = {
	.program = "exhibit-x",
	.summary = "does x",
	.examples = examples,
	.rows = rows,
	.n_rows = ARRAY_LEN(rows),
};

static void release(struct opts *o)
{
	options_release(&table, o);
}

static void assert_defaults(const struct opts *o)
{
	assert_string_equal(o->dir, "/var/lib/x");
	assert_string_equal(o->name, "");
	assert_int_equal(o->max_bytes, GiB(1));
	assert_int_equal(o->age_ms, 10000);
	assert_int_equal(o->count, 0);
	assert_true(o->on);
	assert_false(o->off);
	assert_int_equal(o->peers.n, 2);
	assert_string_equal(o->peers.item[1], "b:2");
	assert_int_equal(o->tags.n, 0);
}

static void defaults(void **state)
{
	AUTO(release) struct opts o;
	struct error e;

	(void)state;
	memset(&o, 0xff, sizeof(o));
	assert_int_equal(options_init(&table, &o, &e), 0);
	assert_defaults(&o);
}

static const struct file_row {
	const char *name;
	const char *text;
	const char *want; /* the whole sentence with its hint */
} bad_file_rows[] = {
	{ "unknown group", "jurnal:\n  dir: /x\n",
	  "t.yaml:1:1: unknown key 'jurnal'; did you mean 'journal'?" },
	{ "unknown key", "journal:\n    dirs: /x\n",
	  "t.yaml:2:5: unknown key 'journal.dirs'; did you mean 'dir'?" },
	{ "unlike any key", "zzzzzzzzzz: 1\n",
	  "t.yaml:1:1: unknown key 'zzzzzzzzzz'; see exhibit-x --help" },
	{ "key below a value", "name:\n  x: 1\n",
	  "t.yaml:2:3: name: expected one value, not a group of keys" },
	{ "group as a value", "journal: 5\n",
	  "t.yaml:1:1: 'journal' is a group of keys, not a value" },
	{ "list for one value", "name: [a]\n", "t.yaml:1:7: name: expected one value, not a list" },
	{ "one value for a list", "uplink:\n  peers: a\n",
	  "t.yaml:2:10: uplink.peers: expected a list, such as [a, b]" },
	{ "group in a list", "uplink:\n  peers:\n  - a: 1\n",
	  "t.yaml:3:5: uplink.peers: expected one value, not a group of keys" },
	{ "empty list", "uplink:\n  peers: []\n",
	  "t.yaml:2:10: uplink.peers: 0 items are fewer than the minimum of 1" },
	{ "long list", "uplink: {peers: [a, b, c, d]}\n",
	  "t.yaml:1:27: uplink.peers: more than 3 items" },
	{ "twice", "name: abc\nname: abc\n", "t.yaml:2:1: name is set twice" },
	{ "twice in two groups", "journal: {dir: /a}\njournal: {dir: /b}\n",
	  "t.yaml:2:11: journal.dir is set twice" },
	{ "key that is a list", "[a]: b\n", "t.yaml:1:1: key: expected one value, not a list" },
	{ "root that is a list", "- a\n",
	  "t.yaml:1:1: expected keys with values, such as 'key: value'" },
	{ "root that is a word", "hello\n",
	  "t.yaml:1:1: expected keys with values, such as 'key: value'" },
	{ "NUL in a value", "name: \"ab\\0c\"\n",
	  "t.yaml:1:7: name: a value must not contain a NUL byte" },
	{ "NUL in a key", "\"name\\0x\": abc\n",
	  "t.yaml:1:1: key: a value must not contain a NUL byte" },
	{ "second document", "name: abc\n---\nname: def\n",
	  "t.yaml:3:1: a second document in one file" },
	{ "not YAML", "name: [a\n", "t.yaml:2:1: did not find expected ',' or ']'" },
	{ "tab as indentation", "journal:\n\tdir: /x\n",
	  "t.yaml:2:1: found character that cannot start any token" },
	{ "not UTF-8", "name: \xff\n", "t.yaml:1:7: invalid leading UTF-8 octet" },
	{ "unknown alias", "name: *x\n", "t.yaml:1:7: found undefined alias" },
	{ "too small", "journal:\n  max-bytes: 1MiB\n",
	  "t.yaml:2:14: journal.max-bytes: 1MiB is below the minimum of 16MiB" },
	{ "too large", "journal: {max-bytes: 1025GiB}\n",
	  "t.yaml:1:22: journal.max-bytes: 1025GiB is above the maximum of 1TiB" },
	{ "one too large", "journal: {max-bytes: 1099511627777}\n",
	  "t.yaml:1:22: journal.max-bytes: 1099511627777 is above the maximum of 1TiB" },
	{ "size past 64 bits", "journal: {max-bytes: 99999999TiB}\n",
	  "t.yaml:1:22: journal.max-bytes: '99999999TiB' is too large" },
	{ "digits past 64 bits", "uplink: {count: 18446744073709551616}\n",
	  "t.yaml:1:17: uplink.count: '18446744073709551616' is too large" },
	{ "size of unknown unit", "journal: {max-bytes: 1GB}\n",
	  "t.yaml:1:22: journal.max-bytes: '1GB' is not a size; write 512, 64KiB, 10MiB or 1GiB" },
	{ "empty size", "journal: {max-bytes: }\n",
	  "t.yaml:1:22: journal.max-bytes: '' is not a size; write 512, 64KiB, 10MiB or 1GiB" },
	{ "negative", "uplink: {count: -1}\n",
	  "t.yaml:1:17: uplink.count: '-1' is not a whole number; write digits only" },
	{ "duration without unit", "journal: {age: 10}\n",
	  "t.yaml:1:16: journal.age: '10' is not a duration; write 500ms, 10s, 5m, 2h or 7d" },
	{ "duration too short", "journal: {age: 1ms}\n",
	  "t.yaml:1:16: journal.age: 1ms is below the minimum of 500ms" },
	{ "duration too long", "journal: {age: 25h}\n",
	  "t.yaml:1:16: journal.age: 25h is above the maximum of 1d" },
	{ "yes is not true", "uplink: {on: yes}\n",
	  "t.yaml:1:14: uplink.on: 'yes' is neither true nor false" },
	{ "text too short", "name: ab\n",
	  "t.yaml:1:7: name: 2 bytes are fewer than the minimum of 3" },
	{ "text too long", "journal: {dir: /12345678901234567890}\n",
	  "t.yaml:1:16: journal.dir: 21 bytes are more than the maximum of 20" },
	{ "control byte in a key", "\"na\\nme\": 1\n",
	  "t.yaml:1:1: unknown key 'na\\x0ame'; did you mean 'name'?" },
};

static void file_is_refused(void **state)
{
	const struct file_row *row = *state;
	AUTO(release) struct opts o = { 0 };
	char text[1024];
	struct error e;

	assert_int_equal(options_init(&table, &o, &e), 0);
	assert_true(options_parse(&table, "t.yaml", row->text, strlen(row->text), &o, &e) < 0);
	assert_string_equal(error_format(&e, text, sizeof(text)), row->want);
}

static void long_things_are_refused(void **state)
{
	AUTO(release) struct opts o = { 0 };
	AUTO(free_ptr) char *big = malloc(OPTION_FILE_MAX + 1);
	struct error e;

	(void)state;
	assert_non_null(big);
	assert_int_equal(options_init(&table, &o, &e), 0);
	memset(big, 'n', OPTION_FILE_MAX + 1);
	assert_int_equal(options_parse(&table, "t", big, OPTION_FILE_MAX + 1, &o, &e), -EFBIG);
	assert_string_equal(e.text, "t: longer than 256 KiB");
	/* a key */
	memcpy(big + 500, ": 1\n", 4);
	assert_int_equal(options_parse(&table, "t", big, 504, &o, &e), -EINVAL);
	assert_string_equal(e.text, "t:1:1: unknown key 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...'");
	/* a value without a maximum of its own */
	memcpy(big, "name: ", 6);
	memset(big + 6, 'v', OPTION_STRING_MAX + 1);
	assert_int_equal(options_parse(&table, "t", big, OPTION_STRING_MAX + 7, &o, &e), -ERANGE);
	assert_string_equal(e.text, "t:1:7: name: 4097 bytes are more than the maximum of 4096");
	assert_int_equal(options_parse(&table, "t", big, OPTION_STRING_MAX + 6, &o, &e), 0);
	/* an item */
	memcpy(big, "uplink: {tags: [", 16);
	memset(big + 16, 'v', OPTION_STRING_MAX + 1);
	memcpy(big + 17 + OPTION_STRING_MAX, "]}", 2);
	assert_int_equal(options_parse(&table, "t", big, OPTION_STRING_MAX + 19, &o, &e), -ERANGE);
}

static void deep_nesting_is_refused(void **state)
{
	AUTO(release) struct opts o = { 0 };
	char text[20000];
	struct error e;

	(void)state;
	assert_int_equal(options_init(&table, &o, &e), 0);
	memset(text, '[', sizeof(text));
	assert_int_equal(options_parse(&table, "t", text, sizeof(text), &o, &e), -EINVAL);
}

static const struct ok_row {
	const char *name;
	const char *text;
} same_as_defaults_rows[] = {
	{ "empty file", "" },
	{ "comments only", "# nothing\n" },
	{ "empty document", "---\n...\n" },
	{ "newline only", "\n" },
	{ "group without keys", "journal:\n  # dir: /x\n" },
	{ "the defaults", "journal: {dir: /var/lib/x, max-bytes: 1024MiB, age: 10000ms}\n" },
	{ "dotted key", "journal.age: 10s\n" },
};

static void file_leaves_defaults(void **state)
{
	const struct ok_row *row = *state;
	AUTO(release) struct opts o = { 0 };
	struct error e;

	assert_int_equal(options_init(&table, &o, &e), 0);
	assert_int_equal(options_parse(&table, "t.yaml", row->text, strlen(row->text), &o, &e), 0);
	assert_defaults(&o);
}

static void file_sets_all(void **state)
{
	static const char text[] =
		"name: \"a b\"\njournal:\n  dir: /y\n  max-bytes: 16MiB\n  age: 1d\n"
		"uplink:\n  count: 18446744073709551615\n  on: false\n  off: true\n"
		"  peers: &p [x]\n  tags: *p\n";
	AUTO(release) struct opts o = { 0 };
	struct error e;

	(void)state;
	assert_int_equal(options_init(&table, &o, &e), 0);
	assert_int_equal(options_parse(&table, "t.yaml", text, sizeof(text) - 1, &o, &e), 0);
	assert_string_equal(o.name, "a b");
	assert_string_equal(o.dir, "/y");
	assert_int_equal(o.max_bytes, MiB(16));
	assert_int_equal(o.age_ms, 86400000);
	assert_int_equal(o.count, UINT64_MAX);
	assert_false(o.on);
	assert_true(o.off);
	assert_int_equal(o.peers.n, 1);
	assert_string_equal(o.peers.item[0], "x");
	assert_int_equal(o.tags.n, 1);
}

/* ---- the command line ---- */

static char printed[32768];

struct command {
	const char *name;
	char *argv[8];
	const char *want; /* sentence, or what is printed */
};

/* options_main with standard output going to memory. */
static int run(const struct command *c, const char *default_config, struct opts *o, bool *ret_done,
	       struct error *e)
{
	char *argv[9] = { (char *)(uintptr_t) "exhibit-x" };
	int argc = 1, saved = dup(STDOUT_FILENO), fd = memfd_create("stdout", MFD_CLOEXEC), r;
	ssize_t n;

	while (argc < 9 && c->argv[argc - 1]) {
		argv[argc] = c->argv[argc - 1];
		argc++;
	}
	(void)fflush(stdout);
	assert_int_equal(dup2(fd, STDOUT_FILENO), STDOUT_FILENO);
	r = options_main(&table, argc, argv, default_config, o, ret_done, e);
	(void)fflush(stdout);
	assert_int_equal(dup2(saved, STDOUT_FILENO), STDOUT_FILENO);
	n = pread(fd, printed, sizeof(printed) - 1, 0);
	printed[n < 0 ? 0 : n] = '\0';
	(void)close(fd);
	(void)close(saved);
	return r;
}

static const struct command bad_commands[] = {
	{ "unknown flag",
	  { (char *)"--jurnal.dir=/x" },
	  "unknown flag '--jurnal.dir'; did you mean '--journal.dir'?" },
	{ "unknown flag before --help",
	  { (char *)"--nonsense1234", (char *)"--help" },
	  "unknown flag '--nonsense1234'; see exhibit-x --help" },
	{ "unknown letter", { (char *)"-x" }, "unknown flag '-x'" },
	{ "abbreviation",
	  { (char *)"--journal.d=/x" },
	  "unknown flag '--journal.d'; did you mean '--journal.dir'?" },
	{ "abbreviation with a separate value",
	  { (char *)"--nam", (char *)"abc" },
	  "unknown flag '--nam'; did you mean '--name'?" },
	{ "ambiguous abbreviation", { (char *)"--journal.=/x" }, NULL },
	{ "no value", { (char *)"--name" }, "flag '--name' needs a value" },
	{ "value where none is taken", { (char *)"--check=1" }, "flag '--check=1' takes no value" },
	{ "word", { (char *)"hello" }, "unexpected argument 'hello'" },
	{ "word behind two dashes",
	  { (char *)"--", (char *)"--help" },
	  "unexpected argument '--help'" },
	{ "bad value",
	  { (char *)"--journal.age=1x" },
	  "--journal.age: '1x' is not a duration; write 500ms, 10s, 5m, 2h or 7d" },
	{ "bad bool", { (char *)"--uplink.on=1" }, "--uplink.on: '1' is neither true nor false" },
	{ "too many items",
	  { (char *)"--uplink.peers=1", (char *)"--uplink.peers=2", (char *)"--uplink.peers=3",
	    (char *)"--uplink.peers=4" },
	  "--uplink.peers: more than 3 items" },
	{ "no such file",
	  { (char *)"--config=/nonexistent.yaml" },
	  "cannot load the configuration: cannot open '/nonexistent.yaml': No such file or directory" },
	{ "file is checked before flags matter",
	  { (char *)"--config=/dev/zero", (char *)"--check" },
	  "cannot load the configuration: cannot read '/dev/zero': it is longer than 262144 bytes" },
};

static void command_is_refused(void **state)
{
	const struct command *c = *state;
	AUTO(release) struct opts o = { 0 };
	char text[1024];
	struct error e;
	bool done;

	assert_true(run(c, NULL, &o, &done, &e) < 0);
	assert_false(done);
	assert_string_equal(printed, "");
	if (c->want)
		assert_string_equal(error_format(&e, text, sizeof(text)), c->want);
}

static const struct command done_commands[] = {
	{ "check without a file", { (char *)"--check" }, "defaults: ok\n" },
	{ "check of a file",
	  { (char *)"--check", (char *)"--config", (char *)"/dev/null" },
	  "/dev/null: ok\n" },
	{ "version", { (char *)"--version", (char *)"--config=/nonexistent" }, "exhibit-x 0.1.0\n" },
};

static void command_is_done(void **state)
{
	const struct command *c = *state;
	AUTO(release) struct opts o = { 0 };
	struct error e;
	bool done;

	assert_int_equal(run(c, NULL, &o, &done, &e), 0);
	assert_true(done);
	assert_string_equal(printed, c->want);
}

static const struct command help_commands[] = {
	{ "--help", { (char *)"--help" }, "Usage: exhibit-x" },
	{ "-h", { (char *)"-h" }, "Usage: exhibit-x" },
	{ "--print-man", { (char *)"--print-man" }, ".Dt EXHIBIT-X 8\n" },
};

static void help_names_every_row(void **state)
{
	const struct command *c = *state;
	AUTO(release) struct opts o = { 0 };
	struct error e;
	bool done;

	assert_int_equal(run(c, "/nonexistent.yaml", &o, &done, &e), 0);
	assert_true(done);
	assert_non_null(strstr(printed, c->want));
	assert_non_null(strstr(printed, "exhibit-x --check"));
	assert_non_null(strstr(printed, "-print-man"));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_non_null(strstr(printed, rows[i].name));
		assert_non_null(strstr(printed, rows[i].help));
		if (rows[i].def)
			assert_non_null(strstr(printed, rows[i].def));
	}
}

static void flags_win_over_the_file(void **state)
{
	static const struct command c = { "",
					  { (char *)"--journal.age=20s", (char *)"--uplink.off",
					    (char *)"--uplink.on=false", (char *)"--uplink.peers",
					    (char *)"x", (char *)"--uplink.peers=y" },
					  NULL };
	char path[] = "/tmp/test_options.XXXXXX";
	static const char text[] = "journal: {age: 30s, dir: /f}\nuplink: {peers: [1, 2, 3]}\n";
	AUTO(release) struct opts o = { 0 };
	int fd = mkstemp(path);
	struct error e;
	bool done;

	(void)state;
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	(void)close(fd);
	/* Twice over the same: it starts over from the defaults and frees what was there. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(run(&c, path, &o, &done, &e), 0);
		assert_false(done);
		assert_int_equal(o.age_ms, 20000);
		assert_string_equal(o.dir, "/f");
		assert_true(o.off);
		assert_false(o.on);
		assert_int_equal(o.peers.n, 2);
		assert_string_equal(o.peers.item[0], "x");
		assert_string_equal(o.peers.item[1], "y");
	}
	assert_int_equal(unlink(path), 0);
}

static void missing_default_file_is_no_error(void **state)
{
	static const struct command c = { "", { NULL }, NULL };
	AUTO(release) struct opts o = { 0 };
	struct error e;
	bool done;

	(void)state;
	assert_int_equal(run(&c, "/nonexistent/agent.yaml", &o, &done, &e), 0);
	assert_false(done);
	assert_defaults(&o);
}

static void wrong_default_is_told(void **state)
{
	static const struct option bad[] = { { "a", OPT_U64, 0, 0, 0, "x", "h", NULL } };
	static const struct option_table t = {
		.program = "p", .summary = "s", .rows = bad, .n_rows = 1
	};
	uint64_t opts = 0;
	struct error e;

	(void)state;
	assert_int_equal(options_init(&t, &opts, &e), -EINVAL);
	assert_string_equal(e.text, "wrong default: --a: 'x' is not a whole number");
}

/* ---- addresses --------------------------------------------------------------------------------- */

struct dial {
	char *to, *on;
};

static const struct option dial_rows[] = {
	{ "to", OPT_ADDRESS, offsetof(struct dial, to), 1, 65535, "127.0.0.1:1", "where to", NULL },
	{ "on", OPT_ADDRESS, offsetof(struct dial, on), 0, 65535, "0.0.0.0:1", "where on", NULL },
};
static const struct option_table dial_table = { .program = "x",
						.rows = dial_rows,
						.n_rows = ARRAY_LEN(dial_rows) };

static void release_dial(struct dial *d)
{
	options_release(&dial_table, d);
}

static const struct address_row {
	const char *name, *text, *why; /* why NULL: good */
} address_rows[] = {
	{ "no port", "foo", "is not HOST:PORT" },
	{ "empty", "''", "is not HOST:PORT" },
	{ "no host", "':1'", "is not HOST:PORT" },
	{ "space", "'a b:1'", "is not HOST:PORT" },
	{ "path", "'unix:/x'", "does not end in a port" },
	{ "scheme", "'dns:///a:1'", "is not HOST:PORT" },
	{ "two ports", "'a:1:2'", "is not HOST:PORT" },
	{ "IPv6 without brackets", "'::1:7443'", "is not HOST:PORT" },
	{ "no IPv6", "'[::g]:1'", "is not HOST:PORT" },
	{ "empty brackets", "'[]:1'", "is not HOST:PORT" },
	{ "long IPv6", "'[1111:2222:3333:4444:5555:6666:7777:8888:9999:0000]:1'", "is not HOST" },
	{ "empty port", "'a:'", "does not end in a port from 1 to 65535" },
	{ "port 0", "'a:0'", "does not end in a port from 1 to 65535" },
	{ "port too large", "'a:65536'", "does not end in a port from 1 to 65535" },
	{ "port far too large", "'a:99999999999999999999999'", "does not end in a port" },
	{ "signed port", "'a:+1'", "does not end in a port" },
	{ "unit", "'a:1s'", "does not end in a port" },
	{ "name", "'c-1.example:7443'", NULL },
	{ "IPv4", "'10.0.0.5:65535'", NULL },
	{ "IPv6", "'[2001:db8::1]:1'", NULL },
};

static void address_is_checked(void **state)
{
	const struct address_row *row = *state;
	AUTO(release_dial) struct dial d = { 0 };
	struct error e = { 0 };
	char text[128];
	int n = snprintf(text, sizeof(text), "# x\nto: %s\n", row->text);

	assert_int_equal(options_init(&dial_table, &d, &e), 0);
	int r = options_parse(&dial_table, "t.yaml", text, (size_t)n, &d, &e);

	assert_int_equal(r == 0, row->why == NULL);
	if (row->why != NULL) {
		assert_string_equal(d.to, "127.0.0.1:1");
		assert_ptr_equal(strstr(e.text, "t.yaml:2:5: to: "), e.text);
		assert_non_null(strstr(e.text, row->why));
	} else {
		assert_memory_equal(d.to, row->text + 1, strlen(d.to));
	}
}

static void any_port_is_for_those_who_listen(void **state)
{
	AUTO(release_dial) struct dial d = { 0 };
	struct error e = { 0 };

	(void)state;
	assert_int_equal(options_init(&dial_table, &d, &e), 0);
	assert_int_equal(options_parse(&dial_table, "t.yaml", "on: '[::]:0'", 12, &d, &e), 0);
	assert_string_equal(d.on, "[::]:0");
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, file_is_refused, bad_file_rows);
	ADD_TEST(&t, long_things_are_refused);
	ADD_TEST(&t, deep_nesting_is_refused);
	ADD_ROWS(&t, file_leaves_defaults, same_as_defaults_rows);
	ADD_TEST(&t, defaults);
	ADD_TEST(&t, file_sets_all);
	ADD_ROWS(&t, command_is_refused, bad_commands);
	ADD_ROWS(&t, command_is_done, done_commands);
	ADD_ROWS(&t, help_names_every_row, help_commands);
	ADD_TEST(&t, flags_win_over_the_file);
	ADD_TEST(&t, missing_default_file_is_no_error);
	ADD_TEST(&t, wrong_default_is_told);
	ADD_ROWS(&t, address_is_checked, address_rows);
	ADD_TEST(&t, any_port_is_for_those_who_listen);
	return tests_run(&t, "options");
}
