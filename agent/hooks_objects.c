/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_objects.h"

#include "t1_proc.skel.h"

static const struct hooks_object objects[] = {
	{ "t1_proc", t1_proc_bpf__elf_bytes },
};

const struct hooks_object *hooks_object(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		if (strcmp(objects[i].name, name) == 0)
			return &objects[i];
	return NULL;
}
