/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a path lies in one of Exhibit's own folders: what is stored there must not make events, or
 * storing would feed itself. Pure but for own_new, which resolves the folders. */
#ifndef AGENT_OWN_H
#define AGENT_OWN_H

#include "agent/event.h"
#include "proto/base/error.h"
#include "proto/base/options.h"

#define OWN_MAX 16

struct own {
	size_t n;
	char *folder[OWN_MAX]; /* absolute, resolved, without a slash at the end; malloc'ed */
};

/* Folders that do not exist are left out. -E2BIG: more than OWN_MAX. */
MUST_CHECK int own_init(struct own *o, const char *state_dir, const struct option_list *dirs,
			struct error *e);
void own_release(struct own *o);
/* path: as the kernel resolved it. */
bool own_covers(const struct own *o, struct bytes path);

#endif
