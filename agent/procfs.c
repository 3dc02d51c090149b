/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/procfs.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/actions.h"
#include "proto/base/files.h"

#define FILE_MAX KiB(16) /* stat and status; longer is not theirs */

struct procfs {
	const char *root;
	uint8_t *stat, *args;
	char executable[PATH_MAX], directory[PATH_MAX];
};

struct procfs *procfs_new(const char *root)
{
	struct procfs *p = calloc(1, sizeof(*p));

	if (p)
		p->root = root;
	return p;
}

void procfs_free(struct procfs *p)
{
	if (!p)
		return;
	free(p->stat);
	free(p->args);
	free(p);
}

static bool read_stat(struct procfs *p, int dir, struct procfs_stat *ret)
{
	size_t len;

	free(TAKE(p->stat));
	return files_read_at(dir, "stat", FILE_MAX, &p->stat, &len, NULL) == 0 &&
	       procfs_parse_stat((struct bytes){ .at = p->stat, .len = len }, ret);
}

static void read_status(int dir, struct image_facts *ret)
{
	AUTO(free_ptr) uint8_t *file = NULL;
	struct procfs_status status;
	size_t len;

	if (files_read_at(dir, "status", FILE_MAX, &file, &len, NULL) < 0 ||
	    !procfs_parse_status((struct bytes){ .at = file, .len = len }, &status))
		return;
	ret->uid = status.uid;
	ret->gid = status.gid;
	ret->cap_effective = status.cap_effective;
}

static struct bytes read_link(int dir, const char *name, char buf[static PATH_MAX])
{
	ssize_t len = readlinkat(dir, name, buf, PATH_MAX);

	return len > 0 ? (struct bytes){ .at = (uint8_t *)buf, .len = (size_t)len } :
			 (struct bytes){ 0 };
}

static uint32_t read_ns(int dir, const char *name)
{
	char buf[PATH_MAX];

	return procfs_parse_ns(read_link(dir, name, buf));
}

static bool cut_end(struct bytes *b, const char *end)
{
	size_t len = strlen(end);

	if (b->len < len || memcmp(b->at + b->len - len, end, len) != 0)
		return false;
	b->len -= len;
	return true;
}

/* As the records say it: without the mark of a removed file, a memfd as "memfd:NAME". */
static void read_executable(struct procfs *p, int dir, struct image_facts *ret)
{
	static const char memfd[] = "/memfd:";
	struct bytes path = read_link(dir, "exe", p->executable);
	struct stat st;

	if (cut_end(&path, " (deleted)"))
		ret->flags |= EVENT_EXE_DELETED;
	if (path.len >= sizeof(memfd) - 1 && !memcmp(path.at, memfd, sizeof(memfd) - 1)) {
		ret->flags |= EVENT_EXE_MEMFD;
		path.at++;
		path.len--;
	}
	ret->executable = path;
	if (fstatat(dir, "exe", &st, 0) == 0) {
		ret->inode = st.st_ino;
		ret->device = st.st_dev;
	}
}

/* How much more there is than REC_ARGS_MAX is not known; the flag says that it was cut. */
static void read_args(struct procfs *p, int dir, struct image_facts *ret)
{
	AUTO(close_fd) int fd = openat(dir, "cmdline", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	if (!p->args)
		p->args = malloc(REC_ARGS_MAX + 1);
	while (fd >= 0 && p->args && n > 0 && len <= REC_ARGS_MAX) {
		n = read(fd, p->args + len, REC_ARGS_MAX + 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	ret->args_bytes = len;
	if (len > REC_ARGS_MAX) {
		ret->flags |= EVENT_TRUNCATED;
		len = REC_ARGS_MAX;
	}
	ret->args = (struct bytes){ .at = p->args, .len = len };
}

bool procfs_facts(void *ctx, const struct rec_image *key, struct image_facts *ret)
{
	struct procfs *p = ctx;
	struct procfs_stat before, after;
	char path[PATH_MAX];
	AUTO(close_fd) int dir = -1;

	(void)snprintf(path, sizeof(path), "%s/%u", p->root, key->pid);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || !read_stat(p, dir, &before))
		return false;
	if (key->start_ns && key->start_ns / PROCFS_TICK_NS != before.start_ticks)
		return false;
	*ret = (struct image_facts){ .key = *key, .parent = { .pid = before.parent_pid } };
	read_status(dir, ret);
	read_executable(p, dir, ret);
	read_args(p, dir, ret);
	ret->working_directory = read_link(dir, "cwd", p->directory);
	ret->mnt_ns = read_ns(dir, "ns/mnt");
	ret->pid_ns = read_ns(dir, "ns/pid");
	ret->net_ns = read_ns(dir, "ns/net");
	ret->user_ns = read_ns(dir, "ns/user");
	/* The folder's descriptor belongs to this process only: if it ended, this fails. */
	if (!read_stat(p, dir, &after) || after.start_ticks != before.start_ticks)
		return false;
	ret->name = after.name;
	if (ret->name.len > REC_COMM_LEN)
		ret->name.len = REC_COMM_LEN;
	return true;
}
