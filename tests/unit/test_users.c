/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/users.h"

struct row {
	const char *name, *file;
	uint32_t uid;
	const char *want; /* NULL: none */
};

static const struct row rows[] = {
	{ "empty", "", 0, NULL },
	{ "no uid", "root:x\n", 0, NULL },
	{ "empty uid", "root:x::0\n", 0, NULL },
	{ "text for uid", "root:x:zero:0\n", 0, NULL },
	{ "sign", "root:x:-0:0\n", 0, NULL },
	{ "uid too long", "root:x:00000000000:0\n", 0, NULL },
	{ "uid past 32 bits", "a:x:4294967296:0\n", 0, NULL },
	{ "nobody's uid", "a:x:4294967295:0\n", UINT32_MAX, NULL },
	{ "empty name", ":x:0:0\n", 0, NULL },
	{ "comment", "#root:x:0:0\n", 0, NULL },
	{ "NIS", "+root:x:0:0\n", 0, NULL },
	{ "plain", "root:x:0:0:root:/root:/bin/sh\n", 0, "root" },
	{ "no newline at the end", "root:x:0", 0, "root" },
	{ "first wins", "root:x:0:0\ntoor:x:0:0\n", 0, "root" },
	{ "bad line between", "\n::\nroot:x:0:0\n", 0, "root" },
	{ "largest", "a:x:4294967294:0\n", 4294967294u, "a" },
};

struct wish {
	uint32_t uid;
	struct bytes name;
	size_t calls;
};

static void take(void *ctx, uint32_t uid, struct bytes name)
{
	struct wish *w = ctx;

	if (uid == w->uid && !w->name.len)
		w->name = name;
	w->calls++;
}

static void parse(void **state)
{
	const struct row *row = *state;
	struct wish w = { .uid = row->uid };

	users_parse((struct bytes){ .at = (const uint8_t *)row->file, .len = strlen(row->file) },
		    take, &w);
	assert_int_equal(w.name.len, row->want ? strlen(row->want) : 0);
	if (row->want)
		assert_memory_equal(w.name.at, row->want, w.name.len);
}

static void too_many_users_are_cut(void **state)
{
	size_t max = (USERS_MAX + 100) * 20, len = 0;
	char *file = malloc(max);
	struct wish w = { .uid = UINT32_MAX };

	(void)state;
	assert_non_null(file);
	for (unsigned int i = 0; i < USERS_MAX + 100; i++)
		len += (size_t)snprintf(file + len, max - len, "u%u:x:%u:\n", i, i);
	users_parse((struct bytes){ .at = (const uint8_t *)file, .len = len }, take, &w);
	assert_int_equal(w.calls, USERS_MAX);
	free(file);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void assert_name(const struct users *u, uint32_t uid, const char *want)
{
	struct bytes name = users_name(u, uid);

	assert_int_equal(name.len, strlen(want));
	if (name.len)
		assert_memory_equal(name.at, want, name.len);
}

static void changes_are_seen_after_a_second(void **state)
{
	char path[] = "/tmp/test_users.XXXXXX";
	int fd = mkstemp(path);
	struct users *u = users_new(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_non_null(u);
	assert_name(u, 1, "");
	write_file(path, "one:x:1:\nuno:x:1:\n");
	users_refresh(u, 5);
	assert_name(u, 1, "one");
	write_file(path, "other:x:1:\n");
	users_refresh(u, 6);
	assert_name(u, 1, "one");
	users_refresh(u, 6 + NSEC_PER_SEC);
	assert_name(u, 1, "other");
	assert_name(u, 2, "");
	assert_int_equal(unlink(path), 0);
	users_refresh(u, 9 + 2 * NSEC_PER_SEC);
	assert_name(u, 1, "");
	users_free(u);
	users_free(NULL);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parse, rows);
	ADD_TEST(&t, too_many_users_are_cut);
	ADD_TEST(&t, changes_are_seen_after_a_second);
	return tests_run(&t, "users");
}
