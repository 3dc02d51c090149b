/* SPDX-License-Identifier: Apache-2.0 */
/* What a container changed against its image: the upper folder of its overlay, whiteouts explained
 * (Documentation/filesystems/overlayfs.rst). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "agent/acquire/file_sink.h"
#include "agent/acquire/file_walk.h"
#include "agent/acquire/host_root.h"
#include "proto/base/files.h"

#define MOUNTINFO_MAX MiB(1)
#define LAYERS_MAX 256

struct changes {
	struct file_sink *sink;
	struct target upper; /* its root is the upper folder */
	int lower[LAYERS_MAX]; /* O_PATH, topmost first */
	size_t n_lower;
	uint64_t added, modified, deleted;
};

/* ---- which overlay -------------------------------------------------------------------------------------- */

/* A mount option's value with its backslashes (octal ones of mountinfo, those that overlay puts before ':' and
 * ',') undone, up to a ',' or the end. Returns where it ended. */
static const char *unescape(const char *at, char stop, char *ret, size_t size)
{
	size_t n = 0;

	while (*at != '\0' && *at != ',' && *at != stop && *at != '\n' && *at != ' ') {
		char c = *at++;

		if (c == '\\' && at[0] >= '0' && at[0] <= '3' && at[1] >= '0' && at[1] <= '7' &&
		    at[2] >= '0' && at[2] <= '7') {
			c = (char)((at[0] - '0') << 6 | (at[1] - '0') << 3 | (at[2] - '0'));
			at += 3;
			if (c == '\\' && *at != '\0')
				c = *at++;
		}
		if (n + 1 < size)
			ret[n++] = c;
	}
	ret[n] = '\0';
	return at;
}

/* The line of the mount at "/", NUL-terminated in place; NULL: none that is an overlay. The last counts: it is on
 * top. */
static char *root_line(char *text)
{
	char *found = NULL;

	for (char *line = text; line != NULL && *line != '\0';) {
		char *end = strchr(line, '\n');
		char *at = line;

		if (end != NULL)
			*end = '\0';
		/* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT */
		for (int i = 0; i < 4 && at != NULL; i++) {
			at = strchr(at, ' ');
			at = at != NULL ? at + 1 : NULL;
		}
		if (at != NULL && strncmp(at, "/ ", 2) == 0)
			found = strstr(line, " - overlay ") != NULL ? line : NULL;
		line = end != NULL ? end + 1 : NULL;
	}
	return found;
}

static int open_layer(const char *root, const char *path)
{
	char whole[2 * PATH_MAX];

	if (path[0] != '/')
		return -EINVAL; /* relative to where the mounter stood, which nobody knows any more */
	(void)snprintf(whole, sizeof(whole), "%s%s", root, path);
	int fd = open(whole, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd >= 0 ? fd : -errno;
}

static void open_lowers(struct changes *c, const char *root, const char *at)
{
	char path[PATH_MAX];

	while (c->n_lower < LAYERS_MAX) {
		at = unescape(at, ':', path, sizeof(path));
		int fd = open_layer(root, path);

		if (fd >= 0)
			c->lower[c->n_lower++] = fd;
		if (*at != ':')
			break;
		at++;
	}
}

static int open_overlay(const struct acquire_request *r, struct changes *c, struct output *o,
			struct error *e)
{
	char path[PATH_MAX], root[HOST_ROOT_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	struct target t = { .root = -1 };
	size_t len = 0;
	int result = target_open(r, &t, e);

	if (result < 0)
		return result;
	if (t.whole_host) {
		target_release(&t);
		return error_set(e, -EINVAL, "changes are those of a container: name one");
	}
	(void)snprintf(path, sizeof(path), "%s/%u/mountinfo", r->proc, t.pids[0]);
	target_release(&t);
	result = files_read(path, MOUNTINFO_MAX, &text, &len, e);
	if (result < 0)
		return result;
	char *line = root_line((char *)text);
	const char *upper = line != NULL ? strstr(line, "upperdir=") : NULL;
	const char *lower = line != NULL ? strstr(line, "lowerdir=") : NULL;

	if (upper == NULL)
		return error_set(e, -EOPNOTSUPP,
				 "the container's root is no overlay with a folder of changes");
	(void)unescape(upper + strlen("upperdir="), '\0', path, sizeof(path));
	c->upper.root = open_layer(host_root(r, root), path);
	if (c->upper.root < 0)
		return error_set(e, c->upper.root, "cannot open the folder of changes %s: %m",
				 path);
	if (lower != NULL)
		open_lowers(c, root, lower + strlen("lowerdir="));
	return output_note(o, "changes.upper", path, e);
}

/* ---- what a file of the upper folder means ----------------------------------------------------------------- */

static bool is_whiteout(int fd, const struct stat *st)
{
	char self[64];
	char value[4];

	if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0))
		return true;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return S_ISREG(st->st_mode) && st->st_size == 0 &&
	       (getxattr(self, "trusted.overlay.whiteout", value, sizeof(value)) >= 0 ||
		getxattr(self, "user.overlay.whiteout", value, sizeof(value)) >= 0);
}

static bool is_opaque(int fd)
{
	char self[64];
	char value[4] = "";

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return (getxattr(self, "trusted.overlay.opaque", value, sizeof(value)) == 1 ||
		getxattr(self, "user.overlay.opaque", value, sizeof(value)) == 1) &&
	       value[0] == 'y';
}

/* The topmost layer that knows the path decides: a whiteout there means that it was gone already. */
static bool in_image(const struct changes *c, const char *path)
{
	for (size_t i = 0; i < c->n_lower; i++) {
		struct target layer = { .root = c->lower[i] };
		AUTO(close_fd) int fd = target_openat(&layer, path, O_PATH);
		struct stat st;

		if (fd >= 0 && fstatat(fd, "", &st, AT_EMPTY_PATH) == 0)
			return !is_whiteout(fd, &st);
	}
	return false;
}

static int found(void *ctx, int fd, const char *path, struct error *e)
{
	struct changes *c = ctx;
	struct stat st;
	const char *why = "added";

	if (path[0] == '\0')
		return 0;
	if (fstatat(fd, "", &st, AT_EMPTY_PATH) < 0)
		return file_sink_miss(c->sink, path, strlen(path), strerror(errno), e);
	if (is_whiteout(fd, &st))
		why = "deleted";
	else if (S_ISDIR(st.st_mode) && is_opaque(fd))
		why = "replaced";
	else if (in_image(c, path))
		why = "modified";
	c->added += why[0] == 'a';
	c->deleted += why[0] == 'd';
	c->modified += why[0] == 'm' || why[0] == 'r';
	return file_sink_take(c->sink, fd, path, strlen(path), why, e);
}

static int missed(void *ctx, const char *path, const char *reason, struct error *e)
{
	struct changes *c = ctx;

	return file_sink_miss(c->sink, path, strlen(path), reason, e);
}

static void release(struct changes *c)
{
	target_release(&c->upper);
	for (size_t i = 0; i < c->n_lower; i++)
		(void)close(c->lower[i]);
	file_sink_free(c->sink);
}

static int note_counts(const struct changes *c, struct output *o, struct error *e)
{
	int r = output_note_u64(o, "changes.layers", c->n_lower, e);

	if (r == 0)
		r = output_note_u64(o, "changes.added", c->added, e);
	if (r == 0)
		r = output_note_u64(o, "changes.modified", c->modified, e);
	return r == 0 ? output_note_u64(o, "changes.deleted", c->deleted, e) : r;
}

int acquire_changes(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(release) struct changes c = { .upper = { .root = -1 } };
	struct file_walk w = { &c.upper, found, missed, &c };
	struct error why = { 0 };
	uint64_t n = 0;
	int result = open_overlay(r, &c, o, e);

	if (result == 0)
		result = file_sink_new(o, "changes", &c.sink, e);
	if (result < 0)
		return result;
	result = file_walk(&w, "/", &n, &why);
	if (result < 0 && result != -ECANCELED) {
		if (e != NULL)
			*e = why;
		return result;
	}
	result = file_sink_finish(c.sink, result < 0 ? why.text : NULL, e);
	return result == 0 ? note_counts(&c, o, e) : result;
}
