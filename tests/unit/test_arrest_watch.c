/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/arrest_watch.h"

#include <string.h>

#include "rows.h"

static const struct row {
	const char *name, *path;
	bool want;
} rows[] = {
	{ "runtime", "/usr/bin/runc", true },
	{ "shim", "/usr/local/bin/containerd-shim-runc-v2", true },
	{ "kubelet", "/usr/bin/kubelet", true },
	{ "first process", "/usr/lib/systemd/systemd", true },
	{ "ourselves", "/usr/sbin/exhibit-agent", true },
	{ "only called so", "/tmp/runc", false },
	{ "a longer name", "/usr/bin/runcx", false },
	{ "a shorter name", "/usr/bin/run", false },
	{ "below such a place", "/usr/bin/x/runc", false },
	{ "others of the place", "/usr/bin/touch", false },
	{ "no path", "runc", false },
	{ "empty", "", false },
	{ "a place alone", "/usr/bin/", false },
};

static void protects(void **state)
{
	const struct row *row = *state;

	assert_int_equal(arrest_protects(row->path, strlen(row->path)), row->want);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, protects, rows);
	return tests_run(&t, "arrest_watch");
}
