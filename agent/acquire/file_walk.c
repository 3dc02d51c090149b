/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/file_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define NAMES_MAX (1U << 20) /* in one folder */

struct names { /* of a folder, in their order */
	char **all;
	size_t n, room;
};

struct walk {
	const struct file_walk *w;
	uint64_t found;
};

/* No data of their own, or somebody else's who may not answer. */
bool file_walk_readable(int fd)
{
	static const uint32_t left_out[] = {
		PROC_SUPER_MAGIC,
		SYSFS_MAGIC,
		CGROUP_SUPER_MAGIC,
		CGROUP2_SUPER_MAGIC,
		DEBUGFS_MAGIC,
		TRACEFS_MAGIC,
		SECURITYFS_MAGIC,
		BPF_FS_MAGIC,
		DEVPTS_SUPER_MAGIC,
		EFIVARFS_MAGIC,
		PSTOREFS_MAGIC,
		NFS_SUPER_MAGIC,
		CIFS_SUPER_MAGIC,
		SMB2_SUPER_MAGIC,
		FUSE_SUPER_MAGIC,
		V9FS_MAGIC,
		CEPH_SUPER_MAGIC,
		AFS_SUPER_MAGIC,
		CODA_SUPER_MAGIC,
		AUTOFS_SUPER_MAGIC,
		0x62656570 /* configfs */,
		0x19800202 /* mqueue */,
	};
	struct statfs at;

	if (fstatfs(fd, &at) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
		if ((uint32_t)at.f_type == left_out[i])
			return false;
	return true;
}

static void names_release(struct names *n)
{
	for (size_t i = 0; i < n->n; i++)
		free(n->all[i]);
	free(n->all);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct names *n, const char *name)
{
	if (n->n == n->room) {
		size_t room = n->room == 0 ? 64 : 2 * n->room;
		char **all = room > NAMES_MAX ? NULL : reallocarray(n->all, room, sizeof(*all));

		if (all == NULL)
			return -ENOMEM;
		n->all = all;
		n->room = room;
	}
	n->all[n->n] = strdup(name);
	if (n->all[n->n] == NULL)
		return -ENOMEM;
	n->n++;
	return 0;
}

/* path: "" is the root. Reading a folder must not change its access time either. */
static int list(const struct target *t, const char *path, struct names *ret)
{
	const char *at = path[0] == '\0' ? "/" : path;
	int fd = target_openat(t, at, O_RDONLY | O_DIRECTORY | O_NOATIME);

	if (fd == -EPERM)
		fd = target_openat(t, at, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	DIR *d = fdopendir(fd);

	if (d == NULL) {
		(void)close(fd);
		return -errno;
	}
	int r = 0;

	while (r == 0) {
		errno = 0;
		const struct dirent *e = readdir(d);

		if (e == NULL) {
			r = -errno;
			break;
		}
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = add_name(ret, e->d_name);
	}
	(void)closedir(d);
	qsort(ret->all, ret->n, sizeof(*ret->all), compare);
	return r;
}

static int miss(struct walk *w, const char *path, int why, struct error *e)
{
	return w->w->missed(w->w->ctx, path, strerror(-why), e);
}

/* PATH/NAME in a new buffer; NULL: too long for one call. */
static char *join(const char *path, const char *name)
{
	char *both = NULL;
	size_t len = strlen(path) + 1 + strlen(name);

	if (len >= PATH_MAX || asprintf(&both, "%s/%s", path, name) < 0)
		return NULL;
	return both;
}

static int take(struct walk *w, const char *path, unsigned int depth, dev_t device,
		struct error *e);

static int take_below(struct walk *w, const char *path, unsigned int depth, dev_t device,
		      struct error *e)
{
	AUTO(names_release) struct names names = { 0 };
	int r = list(w->w->target, path, &names);

	if (r < 0)
		return miss(w, path, r, e);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		AUTO(free_ptr) char *below = join(path, names.all[i]);

		r = below == NULL ? miss(w, path, -ENAMETOOLONG, e) :
				    take(w, below, depth + 1, device, e);
	}
	return r;
}

/* One found path, and what is below it. device: of the folder above; 0: it was named itself. */
static int take(struct walk *w, const char *path, unsigned int depth, dev_t device, struct error *e)
{
	AUTO(close_fd) int fd = target_openat(w->w->target, path[0] == '\0' ? "/" : path, O_PATH);
	struct stat st;

	if (fd < 0)
		return miss(w, path, fd, e);
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return miss(w, path, -errno, e);
	if (device != 0 && st.st_dev != device && !file_walk_readable(fd))
		return w->w->missed(w->w->ctx, path,
				    "a file system without data of its own, or of another machine",
				    e);
	int r = w->w->found(w->w->ctx, fd, path, e);

	w->found++;
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	if (depth == FILE_WALK_DEPTH_MAX)
		return w->w->missed(w->w->ctx, path, "folders lie too deep below it", e);
	/* Not held open while we are below: a deep tree would take all descriptors. */
	close_fd(&fd);
	fd = -1;
	return take_below(w, path, depth, st.st_dev, e);
}

static bool is_pattern(const char *part)
{
	return strpbrk(part, "*?[") != NULL;
}

/* path is what was matched so far, rest what is still to be: components of the pattern, without a leading
 * slash. */
static int match(struct walk *w, const char *path, const char *rest, struct error *e)
{
	char part[NAME_MAX + 1];
	size_t len = strcspn(rest, "/");
	const char *after = rest + len + strspn(rest + len, "/");

	if (*rest == '\0')
		return take(w, path, 0, 0, e);
	if (len > NAME_MAX)
		return miss(w, path, -ENAMETOOLONG, e);
	(void)snprintf(part, sizeof(part), "%.*s", (int)len, rest);
	if (!is_pattern(part)) {
		AUTO(free_ptr) char *next = join(path, part);

		return next == NULL ? miss(w, path, -ENAMETOOLONG, e) : match(w, next, after, e);
	}
	AUTO(names_release) struct names names = { 0 };
	int r = list(w->w->target, path, &names);

	/* Below a pattern, what is no folder is no match. */
	if (r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r < 0)
		return miss(w, path, r, e);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		AUTO(free_ptr) char *next = NULL;

		/* Hidden names too. A name may itself look like a pattern. */
		if (fnmatch(part, names.all[i], FNM_NOESCAPE) != 0 &&
		    strcmp(part, names.all[i]) != 0)
			continue;
		next = join(path, names.all[i]);
		r = next == NULL ? miss(w, path, -ENAMETOOLONG, e) : match(w, next, after, e);
	}
	return r;
}

int file_walk(const struct file_walk *file_walk, const char *pattern, uint64_t *ret_n,
	      struct error *e)
{
	struct walk w = { .w = file_walk };

	if (pattern[0] != '/')
		return error_set(e, -EINVAL, "'%s' is no absolute path", pattern);
	int r = match(&w, "", pattern + strspn(pattern, "/"), e);

	*ret_n = w.found;
	return r;
}
