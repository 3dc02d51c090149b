/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled objects of bpf/, by name. Adding one: a row in hooks_objects.c. */
#ifndef AGENT_HOOKS_OBJECTS_H
#define AGENT_HOOKS_OBJECTS_H

#include "proto/base/base.h"

struct hooks_object {
	const char *name; /* "t1_proc" */
	const void *(*bytes)(size_t *ret_len); /* the ELF file */
};

/* NULL: no such object. */
const struct hooks_object *hooks_object(const char *name);
const struct hooks_object *hooks_object_at(size_t i); /* NULL past the end */

#endif
