/* SPDX-License-Identifier: Apache-2.0 */
/* What a container changed against its image: the upper folder of its overlay, whiteouts explained
 * (Documentation/filesystems/overlayfs.rst). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "agent/acquire/file_sink.h"
#include "agent/acquire/file_walk.h"
#include "agent/acquire/overlay_root.h"

struct changes {
	struct file_sink *sink;
	struct target upper; /* its root is the upper folder */
	struct overlay_root overlay;
	uint64_t added, modified, deleted;
};

/* ---- which overlay -------------------------------------------------------------------------------------- */

static int tell_source(const struct overlay_root *r, struct output *o, struct error *e)
{
	int result = output_note(o, "changes.upper", r->upper_path, e);

	if (result == 0)
		result = output_note(o, "changes.upper_source", r->source, e);
	if (result == 0 && r->by_container)
		result = output_warn(
			o, true, e,
			"that %.512s holds its changes only the container says: no runtime's mount is in the host's mount table",
			r->upper_path);
	if (result == 0 && r->covered)
		result = output_warn(
			o, true, e,
			"the container's root is another mount than its runtime made: taken is what changed in the runtime's");
	if (result == 0 && r->lost > 0)
		result = output_warn(
			o, true, e,
			"%zu layers of the image cannot be opened: what was modified may be told as added",
			r->lost);
	return result;
}

static int open_overlay(const struct acquire_request *r, struct changes *c, struct output *o,
			struct error *e)
{
	struct target t = { .root = -1 };
	int result = target_open(r, &t, e);

	if (result < 0)
		return result;
	if (t.whole_host)
		result = error_set(e, -EINVAL, "changes are those of a container: name one");
	if (result == 0)
		result = overlay_root_open(r, &t, &c->overlay, e);
	target_release(&t);
	c->upper.root = take_fd(&c->overlay.upper);
	return result == 0 ? tell_source(&c->overlay, o, e) : result;
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
	for (size_t i = 0; i < c->overlay.n_lower; i++) {
		struct target layer = { .root = c->overlay.lower[i] };
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
	overlay_root_release(&c->overlay);
	file_sink_free(c->sink);
}

static int note_counts(const struct changes *c, struct output *o, struct error *e)
{
	int r = output_note_u64(o, "changes.layers", c->overlay.n_lower, e);

	if (r == 0)
		r = output_note_u64(o, "changes.added", c->added, e);
	if (r == 0)
		r = output_note_u64(o, "changes.modified", c->modified, e);
	return r == 0 ? output_note_u64(o, "changes.deleted", c->deleted, e) : r;
}

int acquire_changes(const struct acquire_request *r, struct output *o, struct error *e)
{
	AUTO(release) struct changes c = { .upper = { .root = -1 }, .overlay = { .upper = -1 } };
	struct file_walk w = { &c.upper, found, missed, &c };
	struct error why = { 0 };
	uint64_t n = 0;
	int result = open_overlay(r, &c, o, e);

	if (result == 0)
		result = file_sink_new(o, "changes", &c.sink, e);
	if (result < 0)
		return result;
	result = file_walk(&w, "/", &n, &why);
	/* Also after a failure: what was taken is of use. */
	int ended = file_sink_finish(c.sink, result < 0 ? why.text : NULL, e);

	if (ended == 0)
		ended = note_counts(&c, o, e);
	if (result == 0 || result == -ECANCELED)
		return ended;
	if (e != NULL)
		*e = why;
	return result;
}
