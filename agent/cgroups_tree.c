/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroups_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define FILEID_KERNFS 0xfe /* include/linux/exportfs.h */
#define DEPTH_MAX 64

static const struct {
	enum cgroup_kind kind;
	const char *below;
	long magic;
} places[] = {
	{ CGROUP_UNIFIED, "", CGROUP2_SUPER_MAGIC },
	{ CGROUP_UNIFIED, "/unified", CGROUP2_SUPER_MAGIC },
	{ CGROUP_V1, "/memory", CGROUP_SUPER_MAGIC },
	{ CGROUP_V1, "/pids", CGROUP_SUPER_MAGIC },
};

static bool try_place(struct cgroup_tree *tree, const char *dir, const char *below, long magic)
{
	struct statfs fs;
	int n = snprintf(tree->root, sizeof(tree->root), "%s%s", dir, below);
	AUTO(close_fd) int fd = -1;

	if (n < 0 || (size_t)n >= sizeof(tree->root))
		return false;
	fd = open(tree->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != magic)
		return false;
	tree->fd = take_fd(&fd);
	return true;
}

size_t cgroup_trees_open(const char *dir, struct cgroup_tree trees[static CGROUP_KINDS])
{
	size_t found = 0;

	for (size_t i = 0; i < CGROUP_KINDS; i++)
		trees[i].fd = -1;
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		struct cgroup_tree *tree = &trees[places[i].kind];

		if (tree->fd < 0 && try_place(tree, dir, places[i].below, places[i].magic))
			found++;
	}
	return found;
}

void cgroup_trees_close(struct cgroup_tree trees[static CGROUP_KINDS])
{
	for (size_t i = 0; i < CGROUP_KINDS; i++) {
		close_fd(&trees[i].fd);
		trees[i].fd = -1;
	}
}

static int open_id(const struct cgroup_tree *tree, uint64_t id)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + sizeof(uint64_t)];
	} u = { .handle = { .handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS } };

	memcpy(u.handle.f_handle, &id, sizeof(id));
	return open_by_handle_at(tree->fd, &u.handle, O_PATH | O_CLOEXEC);
}

struct bytes cgroup_tree_path(const struct cgroup_tree *tree, uint64_t id, const char *proc,
			      char *buf)
{
	AUTO(close_fd) int fd = tree->fd < 0 ? -1 : open_id(tree, id);
	size_t root_len = strlen(tree->root);
	char link[PATH_MAX];
	ssize_t len;

	if (fd < 0)
		return (struct bytes){ 0 };
	(void)snprintf(link, sizeof(link), "%s/self/fd/%d", proc, fd);
	len = readlink(link, buf, PATH_MAX);
	if (len < (ssize_t)root_len || len >= PATH_MAX || memcmp(buf, tree->root, root_len) != 0)
		return (struct bytes){ 0 };
	if ((size_t)len == root_len)
		return (struct bytes){ .at = (const uint8_t *)"/", .len = 1 };
	if (buf[root_len] != '/')
		return (struct bytes){ 0 };
	return (struct bytes){ .at = (uint8_t *)buf + root_len, .len = (size_t)len - root_len };
}

struct walk {
	char path[PATH_MAX];
	size_t left;
	void (*fn)(void *ctx, uint64_t id, struct bytes path);
	void *ctx;
};

static void close_dir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* Takes fd over. len: of w->path, which names the directory behind fd (empty: the root). */
static void walk_into(struct walk *w, int fd, size_t len, int depth)
{
	AUTO(close_dir) DIR *dir = fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while (w->left && (entry = readdir(dir))) {
		size_t name_len = strlen(entry->d_name);
		int child;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    len + name_len + 2 > sizeof(w->path))
			continue;
		w->path[len] = '/';
		memcpy(w->path + len + 1, entry->d_name, name_len + 1);
		/* kernfs gives the id as d_ino (fs/kernfs/dir.c, kernfs_fop_readdir). */
		w->fn(w->ctx, entry->d_ino,
		      (struct bytes){ .at = (uint8_t *)w->path, .len = len + name_len + 1 });
		w->left--;
		child = depth < DEPTH_MAX ?
				openat(dirfd(dir), entry->d_name,
				       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) :
				-1;
		if (child >= 0)
			walk_into(w, child, len + name_len + 1, depth + 1);
	}
}

size_t cgroup_tree_walk(const struct cgroup_tree *tree, size_t max,
			void (*fn)(void *ctx, uint64_t id, struct bytes path), void *ctx)
{
	struct walk w = { .left = max, .fn = fn, .ctx = ctx };
	struct stat st;
	int fd;

	if (tree->fd < 0 || !max || fstat(tree->fd, &st) < 0)
		return 0;
	fn(ctx, st.st_ino, (struct bytes){ .at = (const uint8_t *)"/", .len = 1 });
	w.left--;
	/* A descriptor of its own: the position of tree->fd is not ours to move. */
	fd = openat(tree->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		walk_into(&w, fd, 0, 0);
	return max - w.left;
}
