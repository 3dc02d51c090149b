/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/overlay.h"

#include <string.h>

#include "rows.h"

static struct bytes bytes(const char *text)
{
	return (struct bytes){ .at = (const uint8_t *)text, .len = strlen(text) };
}

/* Of a path that is longer than any. */
static const char *long_option(const char *name)
{
	static char text[PATH_MAX + 64];

	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, name, strlen(name));
	return text;
}

static const struct upper_row {
	const char *name, *options;
	bool given;
	const char *want; /* NULL: none */
} uppers[] = {
	{ "none", "rw,lowerdir=/a", false, NULL },
	{ "empty", "rw,upperdir=,workdir=/w", false, NULL },
	{ "its name within another option", "rw,lowerdir=/a/upperdir=/b", false, NULL },
	{ "another option that ends so", "rw,xupperdir=/b", false, NULL },
	{ "a NUL in it", "upperdir=/a\\000b", false, NULL },
	{ "plain", "rw,lowerdir=/a,upperdir=/u/fs,workdir=/w", false, "/u/fs" },
	{ "the last option", "rw,upperdir=/u", true, "/u" },
	{ "relative", "upperdir=X/diff,workdir=w", false, "X/diff" },
	{ "a comma, a blank", "upperdir=/u\\054v\\040w,workdir=/w", false, "/u,v w" },
	{ "a colon is part of it", "upperdir=/u:v", false, "/u:v" },
	{ "a backslash in its name", "upperdir=/u\\134v", false, "/u\\v" },
	{ "a backslash that was given", "upperdir=/u\\134:v", true, "/u:v" },
	{ "a backslash that was given before a comma", "upperdir=/u\\134\\054v", true, "/u,v" },
	{ "an escape that is cut", "upperdir=/u\\1", false, "/u\\1" },
	{ "a backslash at the end", "upperdir=/u\\", true, "/u\\" },
};

static void finds_upper(void **state)
{
	const struct upper_row *row = *state;
	char path[PATH_MAX];

	assert_int_equal(overlay_upper(bytes(row->options), row->given, path), row->want != NULL);
	if (row->want != NULL)
		assert_string_equal(path, row->want);
}

static void refuses_long_paths(void **state)
{
	struct overlay_lowers l = overlay_lowers(bytes(long_option("lowerdir=")));
	char path[PATH_MAX];

	(void)state;
	assert_true(overlay_lowers_next(&l, path));
	assert_string_equal(path, "");
	assert_false(overlay_lowers_next(&l, path));
	assert_false(overlay_upper(bytes(long_option("upperdir=")), false, path));
}

static const struct lower_row {
	const char *name, *options;
	const char *want[4]; /* NULL-terminated */
} lowers[] = {
	{ "none", "rw,upperdir=/u", { NULL } },
	{ "empty", "lowerdir=,upperdir=/u", { NULL } },
	{ "one", "rw,lowerdir=/a,upperdir=/u", { "/a" } },
	{ "three", "lowerdir=/a:b/fs:/c", { "/a", "b/fs", "/c" } },
	{ "a colon in a name", "lowerdir=/a\\134:b:/c", { "/a:b", "/c" } },
	{ "data only", "lowerdir=/a:/b::/data:/more", { "/a", "/b" } },
	{ "nothing but data", "lowerdir=::/data", { NULL } },
	{ "one option each", "lowerdir+=/a:b,lowerdir+=/c\\134d,datadir+=/e", { "/a:b", "/c\\d" } },
};

static void lists_lowers(void **state)
{
	const struct lower_row *row = *state;
	struct overlay_lowers l = overlay_lowers(bytes(row->options));
	char path[PATH_MAX];

	for (const char *const *want = row->want; *want != NULL; want++) {
		assert_true(overlay_lowers_next(&l, path));
		assert_string_equal(path, *want);
	}
	assert_false(overlay_lowers_next(&l, path));
	assert_false(overlay_lowers_next(&l, path));
}

static const struct beside_row {
	const char *name, *point, *upper;
	bool want;
} besides[] = {
	{ "another folder", "/d/overlay2/X/merged", "/d/overlay2/Y/diff", false },
	{ "the host's", "/d/overlay2/X/merged", "/etc", false },
	{ "above it", "/d/overlay2/X/merged", "/d/overlay2/diff", false },
	{ "a longer name", "/d/overlay2/X/merged", "/d/overlay2/X/xdiff", false },
	{ "relative, another", "/d/overlay2/X/merged", "Y/diff", false },
	{ "relative, deeper", "/d/overlay2/X/merged", "overlay2/X/diff", false },
	{ "not merged", "/d/overlay2/X/rootfs", "/d/overlay2/X/diff", false },
	{ "nothing before", "/merged", "/diff", false },
	{ "absolute", "/d/overlay2/X/merged", "/d/overlay2/X/diff", true },
	{ "relative", "/d/overlay2/X/merged", "X/diff", true },
};

static void knows_neighbours(void **state)
{
	const struct beside_row *row = *state;

	assert_int_equal(overlay_beside(row->point, row->upper), row->want);
}

static void finds_components(void **state)
{
	(void)state;
	assert_false(overlay_has_component("/run/abcd/rootfs", bytes("abc")));
	assert_false(overlay_has_component("/run/abcd/rootfs", bytes("bcd")));
	assert_false(overlay_has_component("", bytes("a")));
	assert_true(overlay_has_component("/run//abcd/rootfs", bytes("abcd")));
	assert_true(overlay_has_component("/run/abcd", bytes("abcd")));
}

static void goes_up(void **state)
{
	static const struct {
		const char *base, *want;
	} rows[] = { { "", "" },    { "/", "" },        { "/a", "" },
		     { "a/b", "" }, { "/a/b/c", "/a" }, { "/snapshots/12/fs", "/snapshots" } };
	char path[PATH_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		overlay_folder_above(rows[i].base, path);
		assert_string_equal(path, rows[i].want);
	}
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, finds_upper, uppers);
	ADD_TEST(&t, refuses_long_paths);
	ADD_ROWS(&t, lists_lowers, lowers);
	ADD_ROWS(&t, knows_neighbours, besides);
	ADD_TEST(&t, finds_components);
	ADD_TEST(&t, goes_up);
	return tests_run(&t, "overlay");
}
