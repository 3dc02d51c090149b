/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fanotify: the folders in which overlays store. What happens in one of them is what somebody did
 * to the overlay, or the overlay's own housekeeping on the way. */
#ifndef AGENT_FANOTIFY_LAYERS_H
#define AGENT_FANOTIFY_LAYERS_H

#include "agent/fanotify_marks.h"

enum fanotify_part {
	FANOTIFY_PLAIN, /* of no overlay */
	FANOTIFY_UPPER, /* what the overlay shows */
	FANOTIFY_WORK, /* what it prepares, and what it is about to remove */
};

struct fanotify_layers;

struct fanotify_layers *fanotify_layers_new(const struct fanotify_marks *m); /* borrowed */
void fanotify_layers_free(struct fanotify_layers *l); /* NULL allowed */
/* Where a path lies. For FANOTIFY_UPPER *ret_overlay is the overlay, valid until the next refresh, and
 * *ret_rest how many of the path's bytes stand for its root. */
enum fanotify_part fanotify_layers_part(struct fanotify_layers *l, struct bytes path,
					const struct fanotify_fs **ret_overlay, size_t *ret_rest);

#endif
