/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_check.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/rows.h"

static const struct version_row {
	const char *name;
	uint32_t want;
} version_rows[] = {
	{ "", 0 },
	{ "linux", 0 },
	{ "6", 0 },
	{ "6.", 0 },
	{ "6.x", 0 },
	{ "5.10", KERNEL_NUMBER(5, 10, 0) },
	{ "5.10.", KERNEL_NUMBER(5, 10, 0) },
	{ "6.1.0-18-amd64", KERNEL_NUMBER(6, 1, 0) },
	{ "4.19.325", KERNEL_NUMBER(4, 19, 255) },
	{ "6.18.44-fc-v669", KERNEL_NUMBER(6, 18, 44) },
};

static void version(void **state)
{
	const struct version_row *row = *state;

	assert_int_equal(hooks_kernel_number(row->name), row->want);
}

static void old_kernel_is_one_sentence(void **state)
{
	(void)state;
	struct error e = { 0 };

	assert_int_equal(hooks_check(NULL, KERNEL_NUMBER(5, 4, 0), &e), -ENOTSUP);
	assert_string_equal(e.text,
			    "kernel 5.4 is too old: 5.10 is the oldest that can run the sensors");
	assert_true(strlen(e.hint) > 0);
}

static const struct mounts_row {
	const char *name;
	const char *text; /* of /proc/self/mounts; NULL: no such file */
	int want;
	const char *want_path;
} mounts_rows[] = {
	{ "no file", NULL, -ENOENT, "" },
	{ "empty", "", -ENOENT, "" },
	{ "v1 only", "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n", -ENOENT, "" },
	{ "too long for the caller", "x /123456789012345678901234567890123 cgroup2 rw 0 0\n",
	  -ENAMETOOLONG, "" },
	{ "unified", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", 0, "/sys/fs/cgroup" },
	{ "hybrid", "cgroup /c/memory cgroup rw 0 0\nnone /c/unified cgroup2 rw 0 0\n", 0,
	  "/c/unified" },
	{ "a blank in its name", "none /a\\040b cgroup2 rw 0 0\n", 0, "/a b" },
};

static void cgroup_root(void **state)
{
	const struct mounts_row *row = *state;
	char path[] = "/tmp/test_mounts_XXXXXX", got[32] = "";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	if (row->text)
		assert_int_equal(write(fd, row->text, strlen(row->text)), strlen(row->text));
	else
		assert_int_equal(unlink(path), 0);
	assert_int_equal(hooks_cgroup_root(path, got, sizeof(got)), row->want);
	if (row->want == 0)
		assert_string_equal(got, row->want_path);
	close_fd(&fd);
	(void)unlink(path);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, version, version_rows);
	ADD_TEST(&t, old_kernel_is_one_sentence);
	ADD_ROWS(&t, cgroup_root, mounts_rows);
	return tests_run(&t, "hooks_check");
}
