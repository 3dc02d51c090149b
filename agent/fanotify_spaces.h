/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fanotify: the mount namespaces other than our own, known from the processes that were seen in
 * them. The way in is /proc/PID/root of one of these; nothing of a namespace is kept open, so that it
 * ends with its last process. */
#ifndef AGENT_FANOTIFY_SPACES_H
#define AGENT_FANOTIFY_SPACES_H

#include "proto/base/base.h"

#define FANOTIFY_SPACES_MAX 1024 /* the one seen longest ago makes room */

struct fanotify_spaces;

/* proc: "/proc", borrowed. NULL: out of memory. */
struct fanotify_spaces *fanotify_spaces_new(const char *proc);
void fanotify_spaces_free(struct fanotify_spaces *s); /* NULL allowed */
/* Something happened there, done by pid (0: by nobody who can lead in). Cheap: for every record. */
void fanotify_spaces_seen(struct fanotify_spaces *s, uint32_t mnt_ns, uint32_t pid,
			  uint64_t now_ns);
/* The next namespace whose mounts are to be read, because it is new or something happened in it
 * since; each is due twice a second at most. 0: none. */
uint32_t fanotify_spaces_due(struct fanotify_spaces *s, uint64_t now_ns);
/* Read all again as soon as it is their turn: a file system that was known through a namespace that
 * ended may still be mounted in another one. */
void fanotify_spaces_all_due(struct fanotify_spaces *s);
/* Descriptor (O_PATH) of /proc/PID of a process there, closed by the caller. -ESRCH: none is left;
 * the namespace is forgotten then. */
int fanotify_spaces_process(struct fanotify_spaces *s, uint32_t mnt_ns);

#endif
