/* SPDX-License-Identifier: Apache-2.0 */
/* A container's /proc/PID/mountinfo, in which it writes what it likes: every path out of it is terminated. */
#include <stdlib.h>
#include <string.h>

#include "agent/acquire/overlay.h"
#include "tests/fuzz/fuzz.h"

static void check(const char *path)
{
	if (strnlen(path, PATH_MAX) == PATH_MAX)
		abort();
}

static void read_options(const struct mount *m)
{
	struct overlay_lowers lowers = overlay_lowers(m->options);
	char path[PATH_MAX], above[PATH_MAX];
	size_t n = 0;

	for (int given = 0; given < 2; given++) {
		if (!overlay_upper(m->options, given == 1, path))
			continue;
		check(path);
		if (overlay_beside(m->point, path) && path[0] == '/' &&
		    strlen(path) != strlen(m->point) - 2)
			abort();
	}
	for (; overlay_lowers_next(&lowers, path); n++)
		check(path);
	overlay_folder_above(m->point, above);
	check(above);
	/* Each takes a byte of the options at least. */
	if (n > m->options.len || strncmp(m->point, above, strlen(above)) != 0)
		abort();
	(void)overlay_has_component(m->point, m->options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	static struct mount m;

	while (mounts_next(&r, &m))
		read_options(&m);
	return 0;
}
