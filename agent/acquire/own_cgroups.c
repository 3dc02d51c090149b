/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/own_cgroups.h"

#include "proto/base/files.h"

#define FILE_MAX KiB(64)

static bool known(const struct own_cgroups *o, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(o->paths[i], path) == 0)
			return true;
	return false;
}

int own_cgroups_read(const char *path, struct own_cgroups *ret, struct error *e)
{
	struct own_cgroups o = { 0 };
	uint8_t *text;
	size_t len, n = 0;
	int r = files_read(path, FILE_MAX, &text, &len, e);

	if (r < 0)
		return error_wrap(e, r, "cannot tell which cgroup is our own");
	o.text = (char *)text;
	for (char *line = o.text, *next; line != NULL && n < OWN_CGROUPS_MAX; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		/* "4:freezer:/path", "0::/path" */
		char *second = strchr(line, ':');
		char *third = second == NULL ? NULL : strchr(second + 1, ':');

		if (third != NULL && strcmp(third + 1, "/") != 0 && !known(&o, n, third + 1))
			o.paths[n++] = third + 1;
	}
	*ret = o;
	return 0;
}

void own_cgroups_release(struct own_cgroups *o)
{
	free(o->text);
	*o = (struct own_cgroups){ 0 };
}
