/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/own.h"

#include <errno.h>

static int add(struct own *o, const char *dir, struct error *e)
{
	if (o->n == OWN_MAX)
		return error_set(e, -E2BIG, "sense.own-dirs names more than %d folders",
				 OWN_MAX - 1);
	char *folder = realpath(dir, NULL);

	if (folder != NULL && strcmp(folder, "/") != 0)
		o->folder[o->n++] = folder;
	else
		free(folder);
	return 0;
}

int own_init(struct own *o, const char *state_dir, const struct option_list *dirs, struct error *e)
{
	*o = (struct own){ 0 };
	int r = add(o, state_dir, e);

	for (size_t i = 0; r == 0 && i < dirs->n; i++)
		r = add(o, dirs->item[i], e);
	if (r < 0)
		own_release(o);
	return r;
}

void own_release(struct own *o)
{
	for (size_t i = 0; i < o->n; i++)
		free(o->folder[i]);
	o->n = 0;
}

bool own_covers(const struct own *o, struct bytes path)
{
	for (size_t i = 0; i < o->n; i++) {
		size_t n = strlen(o->folder[i]);

		if (path.len > n && path.at[n] == '/' && memcmp(path.at, o->folder[i], n) == 0)
			return true;
	}
	return false;
}
