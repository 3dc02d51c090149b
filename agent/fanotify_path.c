/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_path.h"

#include <fcntl.h>
#include <string.h>

#define MOUNTS_OPEN_MAX 16 /* in one round; others are opened each time */

/* Direct-mapped: a newer directory takes the place of an older one with the same hash. */
struct remembered {
	uint8_t fsid[8];
	int32_t type;
	uint8_t handle_len, handle[FANOTIFY_HANDLE_MAX];
	uint64_t round; /* in which it was asked for; 0: not fresh */
	size_t len; /* 0: free */
	char *path;
};

struct open_mount {
	uint8_t fsid[8];
	int fd;
};

struct fanotify_paths {
	struct fanotify_marks *marks;
	uint64_t round;
	size_t n_open;
	struct open_mount open[MOUNTS_OPEN_MAX];
	char buf[PATH_MAX];
	struct remembered remembered[FANOTIFY_PATHS_MAX];
};

struct fanotify_paths *fanotify_paths_new(struct fanotify_marks *m)
{
	struct fanotify_paths *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->marks = m;
	p->round = 1;
	return p;
}

void fanotify_paths_end_round(struct fanotify_paths *p)
{
	for (size_t i = 0; i < p->n_open; i++)
		close_fd(&p->open[i].fd);
	p->n_open = 0;
	p->round++;
}

void fanotify_paths_free(struct fanotify_paths *p)
{
	if (!p)
		return;
	fanotify_paths_end_round(p);
	for (size_t i = 0; i < FANOTIFY_PATHS_MAX; i++)
		free(p->remembered[i].path);
	free(p);
}

void fanotify_paths_forget_fresh(struct fanotify_paths *p)
{
	p->round++;
}

static struct remembered *slot_of(struct fanotify_paths *p, const struct fanotify_handle *h)
{
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (size_t i = 0; i < sizeof(h->fsid); i++)
		hash = (hash ^ h->fsid[i]) * 0x100000001b3ULL;
	for (size_t i = 0; i < h->bytes.len; i++)
		hash = (hash ^ h->bytes.at[i]) * 0x100000001b3ULL;
	return &p->remembered[(hash ^ hash >> 32) % FANOTIFY_PATHS_MAX];
}

static bool holds(const struct remembered *s, const struct fanotify_handle *h)
{
	return s->len && s->type == h->type && s->handle_len == h->bytes.len &&
	       !memcmp(s->fsid, h->fsid, 8) && !memcmp(s->handle, h->bytes.at, h->bytes.len);
}

void fanotify_paths_remember(struct fanotify_paths *p, const struct fanotify_handle *dir,
			     struct bytes path)
{
	struct remembered *s = slot_of(p, dir);
	char *copy;

	if (!path.len || path.len >= PATH_MAX || !dir->bytes.len ||
	    dir->bytes.len > FANOTIFY_HANDLE_MAX)
		return;
	copy = malloc(path.len);
	if (!copy)
		return;
	memcpy(copy, path.at, path.len);
	free(s->path);
	*s = (struct remembered){
		.type = dir->type,
		.handle_len = (uint8_t)dir->bytes.len,
		.round = p->round,
		.len = path.len,
		.path = copy,
	};
	memcpy(s->fsid, dir->fsid, sizeof(s->fsid));
	memcpy(s->handle, dir->bytes.at, dir->bytes.len);
}

/* A descriptor of a mount; *ret_owned: the caller closes it. */
static int mount_of(struct fanotify_paths *p, const struct fanotify_fs *fs, int *ret_owned)
{
	int fd;

	*ret_owned = -1;
	for (size_t i = 0; i < p->n_open; i++)
		if (!memcmp(p->open[i].fsid, fs->fsid, 8))
			return p->open[i].fd;
	fd = fanotify_marks_open_mount(p->marks, fs);
	if (fd >= 0 && p->n_open < MOUNTS_OPEN_MAX) {
		memcpy(p->open[p->n_open].fsid, fs->fsid, 8);
		p->open[p->n_open++].fd = fd;
	} else {
		*ret_owned = fd;
	}
	return fd;
}

/* O_PATH descriptor of the object; ret_fs: its file system. */
static int open_handle(struct fanotify_paths *p, const struct fanotify_handle *h,
		       const struct fanotify_fs **ret_fs)
{
	union {
		struct file_handle handle;
		uint8_t room[sizeof(struct file_handle) + FANOTIFY_HANDLE_MAX];
	} u = { .handle = { .handle_bytes = (unsigned int)h->bytes.len, .handle_type = h->type } };
	AUTO(close_fd) int owned = -1;
	int mount;

	*ret_fs = fanotify_marks_find(p->marks, h->fsid);
	if (!*ret_fs || !h->bytes.len || h->bytes.len > FANOTIFY_HANDLE_MAX)
		return -1;
	memcpy(u.handle.f_handle, h->bytes.at, h->bytes.len);
	mount = mount_of(p, *ret_fs, &owned);
	return mount < 0 ? -1 : open_by_handle_at(mount, &u.handle, O_PATH | O_CLOEXEC);
}

/* A path below the mount, or of a part of the file system that no mount shows? */
static bool is_below(struct bytes path, const char *point)
{
	size_t len = strlen(point);

	if (len == 1)
		return path.len >= 1 && path.at[0] == '/';
	return path.len >= len && !memcmp(path.at, point, len) &&
	       (path.len == len || path.at[len] == '/');
}

/* The kernel appends " (deleted)" to what has no link; a directory may as well be called so. */
static void cut_deleted(int fd, struct bytes *path)
{
	static const char mark[] = " (deleted)";
	size_t len = sizeof(mark) - 1;
	struct stat st;

	if (path->len > len && !memcmp(path->at + path->len - len, mark, len) &&
	    fstat(fd, &st) == 0 && !st.st_nlink)
		path->len -= len;
}

static struct bytes ask_kernel(struct fanotify_paths *p, const struct fanotify_handle *dir)
{
	const struct fanotify_fs *fs;
	AUTO(close_fd) int fd = open_handle(p, dir, &fs);
	struct bytes path = { .at = (const uint8_t *)p->buf };
	char link[64];
	ssize_t len;

	if (fd < 0)
		return (struct bytes){ 0 };
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, p->buf, sizeof(p->buf));
	if (len <= 0 || (size_t)len >= sizeof(p->buf))
		return (struct bytes){ 0 };
	path.len = (size_t)len;
	cut_deleted(fd, &path);
	/* In another namespace the path may begin above the root that the mount was listed from. */
	return is_below(path, fs->point) || (fs->mnt_ns && fs->whole) ? path : (struct bytes){ 0 };
}

struct bytes fanotify_paths_of(struct fanotify_paths *p, const struct fanotify_handle *dir)
{
	struct remembered *s = slot_of(p, dir);
	struct bytes path;

	if (holds(s, dir) && s->round == p->round)
		return (struct bytes){ .at = (uint8_t *)s->path, .len = s->len };
	path = ask_kernel(p, dir);
	if (path.len)
		fanotify_paths_remember(p, dir, path);
	else if (holds(s, dir))
		path = (struct bytes){ .at = (uint8_t *)s->path, .len = s->len };
	return path;
}

bool fanotify_paths_stat(struct fanotify_paths *p, const struct fanotify_handle *object,
			 struct stat *ret)
{
	const struct fanotify_fs *fs;
	AUTO(close_fd) int fd = open_handle(p, object, &fs);

	return fd >= 0 && fstat(fd, ret) == 0;
}
