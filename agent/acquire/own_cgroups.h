/* SPDX-License-Identifier: Apache-2.0 */
/* The cgroups that we live in, which must never be frozen: as in the last field of /proc/PID/cgroup. */
#ifndef ACQUIRE_OWN_CGROUPS_H
#define ACQUIRE_OWN_CGROUPS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define OWN_CGROUPS_MAX 64

struct own_cgroups {
	const char *paths[OWN_CGROUPS_MAX + 1]; /* NULL-terminated, each once; "/" is left out */
	char *text; /* holds them */
};

MUST_CHECK int own_cgroups_read(const char *path, struct own_cgroups *ret, struct error *e);
void own_cgroups_release(struct own_cgroups *o);

#endif
