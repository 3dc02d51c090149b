/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/own_cgroups.h"

#include <errno.h>

#include "proto/base/files.h"
#include "rows.h"

static const struct row {
	const char *name, *text;
	const char *want[4];
} rows[] = {
	{ "nothing", "", { NULL } },
	{ "no colon", "x\n", { NULL } },
	{ "root", "0::/\n", { NULL } },
	{ "v2", "0::/system.slice/a.service\n", { "/system.slice/a.service" } },
	{ "v1, each once",
	  "4:freezer:/a\n3:cpu,cpuacct:/b:c\n1:name=systemd:/a\n",
	  { "/a", "/b:c" } },
	{ "no end of line", "0::/a", { "/a" } },
};

static void test_read(void **state)
{
	const struct row *row = *state;
	char path[] = "/tmp/test-own-cgroups-XXXXXX";
	struct own_cgroups o;
	struct error e = { 0 };
	int fd = mkstemp(path);
	size_t i = 0;

	assert_true(fd >= 0);
	assert_int_equal(files_write_all(fd, row->text, strlen(row->text), &e), 0);
	assert_int_equal(own_cgroups_read(path, &o, &e), 0);
	for (; row->want[i] != NULL; i++) {
		assert_non_null(o.paths[i]);
		assert_string_equal(o.paths[i], row->want[i]);
	}
	assert_null(o.paths[i]);
	own_cgroups_release(&o);
	(void)close(fd);
	(void)unlink(path);
}

static void test_missing(void **state)
{
	struct own_cgroups o;
	struct error e = { 0 };

	(void)state;
	assert_int_equal(own_cgroups_read("/nonexistent", &o, &e), -ENOENT);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_missing);
	ADD_ROWS(&t, test_read, rows);
	return tests_run(&t, "own_cgroups");
}
