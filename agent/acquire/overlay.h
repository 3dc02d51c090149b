/* SPDX-License-Identifier: Apache-2.0 */
/* The options of an overlay as a mount table tells them (mounts.h; Documentation/filesystems/overlayfs.rst): paths as
 * whoever mounted it named them, in that process' view, perhaps relative. Pure. */
#ifndef ACQUIRE_OVERLAY_H
#define ACQUIRE_OVERLAY_H

#include "agent/mounts.h"

/* Where it stores changes. Kernels before 6.5 show the text as it was given, in which a backslash marks what follows
 * as it is; newer ones show the folder's name. given: read it in the first way. false: none, or too long. */
MUST_CHECK bool overlay_upper(struct bytes options, bool given, char ret[static PATH_MAX]);

/* Its lower folders, topmost first, from "lowerdir=A:B" and "lowerdir+=A,lowerdir+=B"; without those that hold data
 * only, whose names nobody sees. */
struct overlay_lowers {
	struct reader options, value;
};
struct overlay_lowers overlay_lowers(struct bytes options);
/* false: no more. A path that is too long comes as "". */
bool overlay_lowers_next(struct overlay_lowers *l, char ret[static PATH_MAX]);

/* Whether a mount point and an upper folder lie as docker, podman and CRI-O lay them out: D/merged and D/diff, the
 * latter perhaps relative to the folder that D is in. */
bool overlay_beside(const char *point, const char *upper);
/* Whether a component of a path is the name. name: not empty. */
bool overlay_has_component(const char *path, struct bytes name);
/* What a relative path of the mounter's is relative to, as containerd and docker do: the folder two above base. */
void overlay_folder_above(const char *base, char ret[static PATH_MAX]);

#endif
