/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of /proc/PID/mountinfo (proc(5)). Pure. */
#ifndef AGENT_MOUNTS_H
#define AGENT_MOUNTS_H

#include <linux/limits.h>

#include "agent/event.h"
#include "proto/base/reader.h"

/* Texts are NUL-terminated copies, octal escapes undone. */
struct mount {
	uint32_t id, dev_major, dev_minor;
	char root[PATH_MAX]; /* of the mount within its file system */
	char point[PATH_MAX];
	char type[64];
	bool read_only; /* the file system, not only this mount of it */
	/* overlay: where it stores, as whoever mounted it called it; else, and when relative, empty */
	char upper[PATH_MAX], work[PATH_MAX];
	struct bytes
		options; /* of the file system, as they stand there: leads into the reader's bytes */
};

/* The next well-formed line; false at the end. Other lines are skipped. */
bool mounts_next(struct reader *r, struct mount *ret);

/* What fanotify does with a type of file system. */
enum mount_kind {
	MOUNT_LOCAL, /* also every type that is not listed */
	MOUNT_PSEUDO, /* the kernel's own views: nothing is stored there */
	MOUNT_DEVICES, /* device nodes, whose every use ends in a close: only names are watched */
	MOUNT_REMOTE, /* touching it may block, and others change it unseen */
};
enum mount_kind mounts_kind(const char *type);

#endif
