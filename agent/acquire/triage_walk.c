/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/triage_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#define CIFS_MAGIC 0xff534d42
#define FUSE_MAGIC 0x65735546

bool triage_is_remote(const struct triage *t, int fd)
{
	static const unsigned int kinds[] = { NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC, SMB2_SUPER_MAGIC,
					      CIFS_MAGIC,       FUSE_MAGIC,      V9FS_MAGIC,
					      CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC };
	struct stat root, there;
	struct statfs fs;

	if (fstat(t->target.root, &root) < 0 || fstat(fd, &there) < 0 ||
	    root.st_dev == there.st_dev || fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if ((unsigned int)fs.f_type == kinds[i])
			return true;
	return false;
}

int triage_open_dir(struct triage *t, int dir, const char *name, int how)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | how;
	int fd = openat(dir, name, flags | O_NOATIME);

	if (fd < 0 && errno == EPERM) {
		fd = openat(dir, name, flags);
		t->atime_touched += fd >= 0;
	}
	return fd;
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

static void walk(struct triage_walk *w, int fd, size_t used, unsigned int depth, dev_t device);

static void go_down(struct triage_walk *w, int dir, const char *name, size_t used,
		    unsigned int depth, dev_t device)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
	    st.st_dev != device)
		return;
	if (depth >= TRIAGE_DEPTH_MAX) {
		w->cut = true;
		return;
	}
	walk(w, triage_open_dir(w->t, dir, name, O_NOFOLLOW), used, depth + 1, device);
}

/* fd is taken; used: bytes of the path. */
static void walk(struct triage_walk *w, int fd, size_t used, unsigned int depth, dev_t device)
{
	AUTO(close_dir) DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (dir == NULL && fd >= 0)
		(void)close(fd);
	while (dir != NULL && (entry = readdir(dir)) != NULL && !triage_over(w->t)) {
		size_t len = strlen(entry->d_name);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (w->left == 0 || used + 1 + len + 1 > sizeof(w->path)) {
			w->cut = true;
			continue;
		}
		w->left--;
		w->path[used] = '/';
		memcpy(w->path + used + 1, entry->d_name, len + 1);
		w->visit(w->ctx, dirfd(dir), entry->d_name, w->path);
		if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
			go_down(w, dirfd(dir), entry->d_name, used + 1 + len, depth, device);
	}
	w->path[used] = '\0';
}

void triage_walk(struct triage_walk *w, int dir)
{
	struct stat st;

	if (dir >= 0 && (fstat(dir, &st) < 0 || triage_is_remote(w->t, dir))) {
		triage_tell(w->t, true, "%s: is another host's or process's file system", w->path);
		(void)close(dir);
	} else if (dir >= 0) {
		walk(w, dir, strlen(w->path), 0, st.st_dev);
	}
}
