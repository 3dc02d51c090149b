/* SPDX-License-Identifier: Apache-2.0 */
/* Named files and folders in a target's view, and what its processes hold open although it is deleted. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "agent/acquire/file_sink.h"
#include "agent/acquire/file_walk.h"

#define DELETED_MAX 65536 /* different files */
#define DELETED_SUFFIX " (deleted)"

struct files {
	const struct acquire_request *r;
	struct file_sink *sink;
	struct target target;
	struct { /* taken already: many descriptors may lead to one file */
		dev_t device;
		ino_t inode;
	} * deleted;
	size_t n_deleted;
};

static int found(void *ctx, int fd, const char *path, struct error *e)
{
	struct files *f = ctx;

	return path[0] == '\0' ? 0 : file_sink_take(f->sink, fd, path, strlen(path), NULL, e);
}

static int missed(void *ctx, const char *path, const char *reason, struct error *e)
{
	struct files *f = ctx;

	return file_sink_miss(f->sink, path[0] == '\0' ? "/" : path,
			      path[0] == '\0' ? 1 : strlen(path), reason, e);
}

static int take_pattern(struct files *f, const ProtobufCBinaryData *path, struct error *e)
{
	struct file_walk w = { &f->target, found, missed, f };
	uint64_t n = 0;
	char text[PATH_MAX];

	if (path->len >= sizeof(text) || memchr(path->data, '\0', path->len) != NULL)
		return file_sink_miss(f->sink, path->data, path->len, "no path can be so", e);
	memcpy(text, path->data, path->len);
	text[path->len] = '\0';
	int r = file_walk(&w, text, &n, e);

	/* A pattern that matches nothing is an answer, and must not look like an empty archive by mistake. */
	if (r == 0 && n == 0 && strpbrk(text, "*?[") != NULL)
		r = file_sink_miss(f->sink, text, strlen(text), "nothing matches", e);
	return r;
}

/* ---- deleted, but open ------------------------------------------------------------------------------- */

static bool take_once(struct files *f, const struct stat *st)
{
	for (size_t i = 0; i < f->n_deleted; i++)
		if (f->deleted[i].device == st->st_dev && f->deleted[i].inode == st->st_ino)
			return false;
	if (f->n_deleted == DELETED_MAX)
		return false;
	f->deleted[f->n_deleted].device = st->st_dev;
	f->deleted[f->n_deleted].inode = st->st_ino;
	f->n_deleted++;
	return true;
}

/* link: /proc/PID/fd/N or /proc/PID/exe. name: of the entry, in front of the file's own. */
static int take_link(struct files *f, const char *link, const char *name, struct error *e)
{
	char to[PATH_MAX], entry[2 * PATH_MAX];
	ssize_t len = readlink(link, to, sizeof(to) - 1);
	size_t suffix = strlen(DELETED_SUFFIX);
	struct stat st;

	if (len <= (ssize_t)suffix)
		return 0;
	to[len] = '\0';
	if (strcmp(to + len - suffix, DELETED_SUFFIX) != 0)
		return 0;
	to[(size_t)len - suffix] = '\0';
	AUTO(close_fd) int fd = open(link, O_PATH | O_CLOEXEC);

	if (fd < 0 || fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return 0; /* closed meanwhile */
	if (!S_ISREG(st.st_mode) || st.st_nlink != 0 || !take_once(f, &st))
		return 0;
	const char *base = strrchr(to, '/');
	int n = snprintf(entry, sizeof(entry), "deleted/%s/%s", name,
			 base != NULL && base[1] != '\0' ? base + 1 : "file");

	return file_sink_take(f->sink, fd, entry, (size_t)n, "deleted", e);
}

static int take_process(struct files *f, uint32_t pid, struct error *e)
{
	char path[PATH_MAX], name[64];

	(void)snprintf(path, sizeof(path), "%s/%u/exe", f->r->proc, pid);
	(void)snprintf(name, sizeof(name), "%u/exe", pid);
	int r = take_link(f, path, name, e);

	(void)snprintf(path, sizeof(path), "%s/%u/fd", f->r->proc, pid);
	DIR *d = r == 0 ? opendir(path) : NULL;

	for (const struct dirent *at; d != NULL && r == 0 && (at = readdir(d)) != NULL;) {
		if (at->d_name[0] < '0' || at->d_name[0] > '9' || strlen(at->d_name) > 16)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%u/fd/%s", f->r->proc, pid, at->d_name);
		(void)snprintf(name, sizeof(name), "%u/%.16s", pid, at->d_name);
		r = take_link(f, path, name, e);
	}
	if (d != NULL)
		(void)closedir(d);
	return r;
}

static int take_deleted(struct files *f, struct error *e)
{
	int r = 0;

	f->deleted = calloc(DELETED_MAX, sizeof(*f->deleted));
	if (f->deleted == NULL)
		return error_set(e, -ENOMEM, "cannot look for deleted files: out of memory");
	if (f->target.whole_host)
		r = target_all_pids(f->r, &f->target.pids, &f->target.n_pids, e);
	for (size_t i = 0; r == 0 && i < f->target.n_pids; i++)
		r = take_process(f, f->target.pids[i], e);
	return r;
}

/* ---- the acquirer ------------------------------------------------------------------------------------- */

static void release(struct files *f)
{
	target_release(&f->target);
	file_sink_free(f->sink);
	free(f->deleted);
}

int acquire_files(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(release) struct files f = { .r = r, .target = { .root = -1 } };
	const Exhibit__V1__FilesOrder *order = r->order->files;
	struct error why = { 0 };
	int result = target_open(r, &f.target, e);

	if (result == 0)
		result = file_sink_new(o, "files", &f.sink, e);
	if (result < 0)
		return result;
	if (order->deleted)
		result = take_deleted(&f, &why);
	for (size_t i = 0; result == 0 && i < order->n_paths; i++)
		result = take_pattern(&f, &order->paths[i], &why);
	/* Also after a failure: what was taken is of use. */
	int ended = file_sink_finish(f.sink, result < 0 ? why.text : NULL, e);

	if (result == 0 || result == -ECANCELED)
		return ended;
	if (e != NULL)
		*e = why;
	return result;
}
