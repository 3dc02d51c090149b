/* SPDX-License-Identifier: Apache-2.0 */
/* Whose files are the host's, and that the manifest says when they are the agent's own. */
#include <stdio.h>
#include <sys/stat.h>

#include "agent/acquire/host_root.h"
#include "proto/base/files.h"
#include "tests/unit/rows.h"

static const struct row {
	const char *name;
	bool first; /* process, with a root */
} rows[] = {
	{ "no first process", false },
	{ "a first process", true },
};

static void is_noted(void **state)
{
	const struct row *row = *state;
	char dir[] = "/tmp/exhibit-root-XXXXXX", path[128], root[HOST_ROOT_MAX];
	struct acquire_request r = { .proc = dir };
	AUTO(free_ptr) uint8_t *notes = NULL;
	struct output *o = NULL;
	size_t len = 0;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/1/root", dir);
	if (row->first)
		assert_int_equal(files_mkdirs(path, 0755, NULL), 0);
	assert_string_equal(host_root(&r, root), row->first ? path : "");
	assert_int_equal(output_folder(dir, 0, &o, NULL), 0);
	assert_int_equal(host_root_note(&r, o, NULL), 0);
	output_free(o);
	(void)snprintf(path, sizeof(path), "%s/notes.jsonl", dir);
	assert_int_equal(files_read(path, 4096, &notes, &len, NULL), 0);
	assert_int_equal(memmem(notes, len, "\"host_root\"", 11) != NULL, !row->first);
	assert_int_equal(unlink(path), 0);
	for (const char *part = "/1/root"; row->first && part != NULL;
	     part = part[2] ? "/1" : NULL) {
		(void)snprintf(path, sizeof(path), "%s%s", dir, part);
		assert_int_equal(rmdir(path), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_noted, rows);
	return tests_run(&t, "host_root");
}
