/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <string.h>

#include "agent/procfs.h"

static struct bytes text(const char *s)
{
	return (struct bytes){ .at = (const uint8_t *)s, .len = strlen(s) };
}

#define REST " 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0"

struct stat_row {
	const char *name, *file, *want_name; /* NULL: refused */
	uint32_t parent;
	uint64_t ticks;
};

static const struct stat_row stat_rows[] = {
	{ "empty", "", NULL, 0, 0 },
	{ "no parentheses", "1 a S 1" REST " 77", NULL, 0, 0 },
	{ "turned around", "1 )a( S 1" REST " 77", NULL, 0, 0 },
	{ "cut after the name", "1 (a)", NULL, 0, 0 },
	{ "one field short", "1 (a) S 1" REST, NULL, 0, 0 },
	{ "parent is text", "1 (a) S x" REST " 77", NULL, 0, 0 },
	{ "parent past 32 bits", "1 (a) S 4294967296" REST " 77", NULL, 0, 0 },
	{ "start past 64 bits", "1 (a) S 1" REST " 99999999999999999999", NULL, 0, 0 },
	{ "plain", "1 (a) S 3" REST " 77 8", "a", 3, 77 },
	{ "name with parentheses and spaces", "1 (a) R 9 (b) S 3" REST " 77 8", "a) R 9 (b", 3,
	  77 },
	{ "empty name", "1 () S 3" REST " 77 8", "", 3, 77 },
};

static void parse_stat(void **state)
{
	const struct stat_row *row = *state;
	struct procfs_stat s;

	assert_int_equal(procfs_parse_stat(text(row->file), &s), row->want_name != NULL);
	if (!row->want_name)
		return;
	assert_int_equal(s.name.len, strlen(row->want_name));
	assert_memory_equal(s.name.at, row->want_name, s.name.len);
	assert_int_equal(s.parent_pid, row->parent);
	assert_int_equal(s.start_ticks, row->ticks);
}

struct status_row {
	const char *name, *file;
	bool want;
};

static const struct status_row status_rows[] = {
	{ "empty", "", false },
	{ "no capabilities", "Uid:\t1\t2\t3\t4\nGid:\t1\t3\t3\t4\n", false },
	{ "one id", "Uid:\t1\nGid:\t1\t3\t3\t4\nCapEff:\tff\n", false },
	{ "text for an id", "Uid:\ta\tb\nGid:\t1\t3\t3\t4\nCapEff:\tff\n", false },
	{ "plain", "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t1\t3\t3\t4\nCapEff:\t00000000000000ff\n",
	  true },
	{ "name that looks like ids",
	  "Name:\tUid: 9 9\nUid:\t1\t2\t3\t4\nGid:\t1\t3\t3\t4\nCapEff:\tff\n", true },
};

static void parse_status(void **state)
{
	const struct status_row *row = *state;
	struct procfs_status s;

	assert_int_equal(procfs_parse_status(text(row->file), &s), row->want);
	if (!row->want)
		return;
	assert_int_equal(s.uid, 2);
	assert_int_equal(s.gid, 3);
	assert_int_equal(s.cap_effective, 0xff);
}

static void parse_ns(void **state)
{
	(void)state;
	assert_int_equal(procfs_parse_ns(text("")), 0);
	assert_int_equal(procfs_parse_ns(text("mnt:[")), 0);
	assert_int_equal(procfs_parse_ns(text("mnt:[12")), 0);
	assert_int_equal(procfs_parse_ns(text("mnt:[12]x")), 0);
	assert_int_equal(procfs_parse_ns(text("mnt:[4294967296]")), 0);
	assert_int_equal(procfs_parse_ns(text("mnt:[4026531841]")), 4026531841u);
}

static void own_process_is_found(void **state)
{
	struct procfs *p = procfs_new("/proc");
	struct rec_image key = { .pid = (uint32_t)getpid() };
	struct image_facts f;

	(void)state;
	assert_non_null(p);
	assert_true(procfs_facts(p, &key, &f));
	assert_int_equal(f.key.pid, key.pid);
	assert_int_equal(f.parent.pid, getppid());
	assert_int_equal(f.uid, geteuid());
	assert_true(f.executable.len > strlen("/test_procfs"));
	assert_memory_equal(f.executable.at + f.executable.len - strlen("/test_procfs"),
			    "/test_procfs", strlen("/test_procfs"));
	assert_true(f.args.len > 0);
	assert_int_equal(f.args.at[f.args.len - 1], 0);
	assert_true(f.mnt_ns && f.pid_ns && f.net_ns && f.user_ns && f.inode && f.device);
	assert_memory_equal(f.name.at, "test_procfs", f.name.len);
	/* Another start time is another process. */
	key.start_ns = 1;
	assert_false(procfs_facts(p, &key, &f));
	key.pid = 0;
	assert_false(procfs_facts(p, &key, &f));
	procfs_free(p);
	procfs_free(NULL);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parse_stat, stat_rows);
	ADD_ROWS(&t, parse_status, status_rows);
	ADD_TEST(&t, parse_ns);
	ADD_TEST(&t, own_process_is_found);
	return tests_run(&t, "procfs");
}
