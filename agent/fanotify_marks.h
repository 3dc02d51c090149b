/* SPDX-License-Identifier: Apache-2.0 */
/* Inside fanotify: which file systems there are, and a mark on each that can have one. Nothing is kept
 * open on them, so that they can be unmounted; a mark goes with its file system. */
#ifndef AGENT_FANOTIFY_MARKS_H
#define AGENT_FANOTIFY_MARKS_H

#include "agent/fanotify.h"

#define FANOTIFY_FS_MAX 4096

struct fanotify_fs {
	uint32_t dev_major, dev_minor;
	uint8_t fsid[8]; /* statfs' f_fsid; meaningful when marked */
	int code; /* 0: marked, else a negative errno */
	bool whole; /* point is a mount of the whole file system: all its paths lie below */
	uint32_t mnt_ns; /* in which point leads there; 0: our own */
	uint32_t mount_id; /* of point */
	char *point, *type;
	char *upper, *work; /* of an overlay that stores on a marked file system; else NULL */
};

struct fanotify_marks;

/* group: fanotify descriptor, borrowed. only: see fanotify_config; both paths are copied. Namespaces
 * other than ours are not marked before fanotify_marks_seen tells of them. */
MUST_CHECK int fanotify_marks_open(int group, uint64_t mask, const char *mountinfo,
				   const char *only, struct fanotify_marks **ret_m,
				   struct error *e);
void fanotify_marks_close(struct fanotify_marks *m); /* NULL allowed */
/* Readable with POLLPRI when the mounts changed. */
int fanotify_marks_fd(const struct fanotify_marks *m);
/* Read the mounts again and mark all (again: one may have gone and come back). true: the coverage is
 * another one than before. What cannot be read leaves everything as it was. */
bool fanotify_marks_refresh(struct fanotify_marks *m);
/* Something happened in a mount namespace; see fanotify_spaces_seen. */
void fanotify_marks_seen(struct fanotify_marks *m, uint32_t mnt_ns, uint32_t pid, uint64_t now_ns);
/* Mark what one other namespace has mounted, if one is due; true as above. */
bool fanotify_marks_refresh_elsewhere(struct fanotify_marks *m, uint64_t now_ns);
/* A directory on a marked file system, for open_by_handle_at: a descriptor that the caller closes, or
 * a negative errno. Never O_PATH, which open_by_handle_at refuses (fs/fhandle.c uses fdget). */
int fanotify_marks_open_mount(struct fanotify_marks *m, const struct fanotify_fs *fs);
/* NULL: no marked file system has this id. Valid until the next refresh. */
const struct fanotify_fs *fanotify_marks_find(const struct fanotify_marks *m,
					      const uint8_t fsid[static 8]);
/* The i-th overlay with an upper folder, those of other namespaces first (what happens in a container is
 * told by its own paths); NULL: no more. Valid until the next refresh. */
const struct fanotify_fs *fanotify_marks_overlay(const struct fanotify_marks *m, size_t i);
/* Another number after each refresh, never 0. */
uint64_t fanotify_marks_generation(const struct fanotify_marks *m);
void fanotify_marks_coverage(const struct fanotify_marks *m, struct fanotify_coverage *ret);

#endif
