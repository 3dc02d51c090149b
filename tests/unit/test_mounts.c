/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <string.h>

#include "agent/mounts.h"

struct row {
	const char *name, *file, *point; /* point NULL: no line is well-formed */
	const char *root, *type;
	uint32_t major, minor;
	bool read_only;
};

static const struct row rows[] = {
	{ "empty", "", NULL, NULL, NULL, 0, 0, false },
	{ "blank lines", "\n\n", NULL, NULL, NULL, 0, 0, false },
	{ "no separator", "1 2 8:1 / /a rw\n", NULL, NULL, NULL, 0, 0, false },
	{ "nothing after the separator", "1 2 8:1 / /a rw -\n", NULL, NULL, NULL, 0, 0, false },
	{ "no device", "1 2 x / /a rw - ext4 /dev/a rw\n", NULL, NULL, NULL, 0, 0, false },
	{ "device without minor", "1 2 8: / /a rw - ext4 /dev/a rw\n", NULL, NULL, NULL, 0, 0,
	  false },
	{ "device past 32 bits", "1 2 8:4294967296 / /a rw - ext4 /dev/a rw\n", NULL, NULL, NULL, 0,
	  0, false },
	{ "relative point", "1 2 8:1 / a rw - ext4 /dev/a rw\n", NULL, NULL, NULL, 0, 0, false },
	{ "NUL in a name", "1 2 8:1 / /a\\000b rw - ext4 /dev/a rw\n", NULL, NULL, NULL, 0, 0,
	  false },
	{ "plain", "1 2 8:1 / /a rw - ext4 /dev/a rw\n", "/a", "/", "ext4", 8, 1, false },
	{ "no newline at the end", "1 2 8:1 / /a rw - ext4 /dev/a rw", "/a", "/", "ext4", 8, 1,
	  false },
	{ "optional fields", "1 2 8:1 / /a rw shared:1 master:2 - ext4 /dev/a rw\n", "/a", "/",
	  "ext4", 8, 1, false },
	{ "bad line first", "x\n1 2 8:1 / /a rw - ext4 /dev/a rw\n", "/a", "/", "ext4", 8, 1,
	  false },
	{ "escapes", "1 2 0:99 /r\\134 /a\\040b\\011\\012 rw - tmpfs t rw\n", "/a b\t\n", "/r\\",
	  "tmpfs", 0, 99, false },
	{ "unfinished escape", "1 2 0:99 / /a\\04 rw - tmpfs t rw\n", "/a\\04", "/", "tmpfs", 0, 99,
	  false },
	{ "eight is not octal", "1 2 0:99 / /a\\048 rw - tmpfs t rw\n", "/a\\048", "/", "tmpfs", 0,
	  99, false },
	{ "read-only", "1 2 8:1 / /a rw - iso9660 /dev/a ro,x\n", "/a", "/", "iso9660", 8, 1,
	  true },
	{ "read-only here only", "1 2 8:1 / /a ro - ext4 /dev/a rw\n", "/a", "/", "ext4", 8, 1,
	  false },
	{ "an option that begins with ro", "1 2 8:1 / /a rw - ext4 /dev/a root\n", "/a", "/",
	  "ext4", 8, 1, false },
};

static void overlay_says_where_it_stores(void **state)
{
	static const struct {
		const char *options, *upper, *work;
	} overlays[] = {
		{ "rw", "", "" },
		{ "rw,lowerdir=/l", "", "" },
		{ "rw,upperdir=u,workdir=/w", "", "/w" }, /* relative to who knows what */
		{ "rw,upperdir=", "", "" },
		{ "rw,xupperdir=/a,upperdirs=/b", "", "" },
		{ "rw,lowerdir=/l,upperdir=/a\\054b\\040c,workdir=/w", "/a,b c", "/w" },
		{ "upperdir=/u,workdir=/w,uuid=on", "/u", "/w" },
	};
	char line[256];
	struct mount m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(overlays); i++) {
		(void)snprintf(line, sizeof(line), "7 2 0:9 / /a rw - overlay o %s\n",
			       overlays[i].options);
		struct reader r = reader_init(line, strlen(line));

		assert_true(mounts_next(&r, &m));
		assert_int_equal(m.id, 7);
		assert_string_equal(m.upper, overlays[i].upper);
		assert_string_equal(m.work, overlays[i].work);
	}
}

static void parse(void **state)
{
	const struct row *row = *state;
	struct reader r = reader_init(row->file, strlen(row->file));
	struct mount m;

	assert_int_equal(mounts_next(&r, &m), row->point != NULL);
	if (!row->point)
		return;
	assert_string_equal(m.point, row->point);
	assert_string_equal(m.root, row->root);
	assert_string_equal(m.type, row->type);
	assert_int_equal(m.dev_major, row->major);
	assert_int_equal(m.dev_minor, row->minor);
	assert_int_equal(m.read_only, row->read_only);
	assert_false(mounts_next(&r, &m));
}

static void too_long_a_path_is_skipped(void **state)
{
	static char line[PATH_MAX + 200];
	struct reader r;
	struct mount m;

	(void)state;
	memcpy(line, "1 2 8:1 / /", 11);
	memset(line + 11, 'a', PATH_MAX);
	memcpy(line + 11 + PATH_MAX, " rw - ext4 /dev/a rw\n", 21);
	r = reader_init(line, 11 + PATH_MAX + 21);
	assert_false(mounts_next(&r, &m));
	r = reader_init(line + 10, 0);
	assert_false(mounts_next(&r, &m));
}

struct kind_row {
	const char *name;
	enum mount_kind kind;
};

static const struct kind_row kind_rows[] = {
	{ "proc", MOUNT_PSEUDO },       { "cgroup2", MOUNT_PSEUDO }, { "bpf", MOUNT_PSEUDO },
	{ "devtmpfs", MOUNT_DEVICES },  { "nfs4", MOUNT_REMOTE },    { "fuse", MOUNT_REMOTE },
	{ "fuse.sshfs", MOUNT_REMOTE }, { "ext4", MOUNT_LOCAL },     { "overlay", MOUNT_LOCAL },
	{ "tmpfs", MOUNT_LOCAL },       { "fuseblk", MOUNT_LOCAL },  { "of tomorrow", MOUNT_LOCAL },
};

static void kind(void **state)
{
	const struct kind_row *row = *state;

	assert_int_equal(mounts_kind(row->name), row->kind);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, parse, rows);
	ADD_TEST(&t, too_long_a_path_is_skipped);
	ADD_TEST(&t, overlay_says_where_it_stores);
	ADD_ROWS(&t, kind, kind_rows);
	return tests_run(&t, "mounts");
}
