/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fanotify: from a directory's handle to its path, by open_by_handle_at(2) on a mount of its
 * file system (opened for one round only: an open mount cannot be unmounted) and readlink of
 * /proc/self/fd. Needs CAP_DAC_READ_SEARCH. Paths of directories that are gone are remembered. */
#ifndef AGENT_FANOTIFY_PATH_H
#define AGENT_FANOTIFY_PATH_H

#include <linux/limits.h>
#include <sys/stat.h>

#include "agent/decode_fanotify.h"
#include "agent/fanotify_marks.h"

#define FANOTIFY_PATHS_MAX 1024 /* remembered; each at most PATH_MAX */

struct fanotify_paths;

/* m: borrowed. NULL: out of memory. */
struct fanotify_paths *fanotify_paths_new(struct fanotify_marks *m);
void fanotify_paths_free(struct fanotify_paths *p); /* NULL allowed */

/* Path of a directory, without NUL, valid until the next call. Within a round it is asked once. Empty:
 * it is gone, and was not remembered; or not below a mount that we see. */
struct bytes fanotify_paths_of(struct fanotify_paths *p, const struct fanotify_handle *dir);
/* What a directory that was removed was called; its own handle no longer leads anywhere. */
void fanotify_paths_remember(struct fanotify_paths *p, const struct fanotify_handle *dir,
			     struct bytes path);
/* A directory was renamed: ask again. */
void fanotify_paths_forget_fresh(struct fanotify_paths *p);
/* stat of the object behind a handle, whatever it is called now. false: gone. */
bool fanotify_paths_stat(struct fanotify_paths *p, const struct fanotify_handle *object,
			 struct stat *ret);
/* Close what the round opened. */
void fanotify_paths_end_round(struct fanotify_paths *p);

#endif
