/* SPDX-License-Identifier: Apache-2.0 */
/* Which folder holds what a container changed. What its own mount table says is only as good as the container is
 * honest: whoever may mount may put an overlay of its own over "/" and name any folder, which on the host is another
 * one. So the host's mount table is asked first, for the mount that the container's runtime made; and whatever a
 * folder is called, it is taken only when it bears the very times of the overlay that shows it. */
#ifndef ACQUIRE_OVERLAY_ROOT_H
#define ACQUIRE_OVERLAY_ROOT_H

#include "agent/acquire/target.h"

#define OVERLAY_LAYERS_MAX 256

struct overlay_root {
	int upper; /* O_PATH */
	char upper_path[4096]; /* in the host's view */
	int lower[OVERLAY_LAYERS_MAX]; /* O_PATH, topmost first */
	size_t n_lower, lost; /* lost: layers of the image that could not be opened */
	/* How the mount was found, a phrase for the manifest. */
	const char *source;
	bool by_container; /* nobody but the container names it */
	bool covered; /* the target's root is another mount than this one */
};

/* -EOPNOTSUPP: no overlay; -EPERM: the named folder is not the one that holds the changes. */
MUST_CHECK int overlay_root_open(const struct acquire_request *r, const struct target *t,
				 struct overlay_root *ret, struct error *e);
void overlay_root_release(struct overlay_root *o);

#endif
