/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "agent/mounts.h"
#include "proto/base/files.h"

#define MOUNTINFO_MAX MiB(16)
#define LISTED_MAX 3 /* file systems without a mark that the reason names */

struct fanotify_marks {
	int group, mountinfo_fd;
	uint64_t mask;
	char *mountinfo, *only;
	size_t n;
	struct fanotify_fs *fs; /* FANOTIFY_FS_MAX */
	bool cut; /* more file systems than that */
};

static void release_fs(struct fanotify_fs *fs)
{
	free(fs->point);
	free(fs->type);
	*fs = (struct fanotify_fs){ 0 };
}

static void release_list(struct fanotify_fs *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		release_fs(&list[i]);
	free(list);
}

void fanotify_marks_close(struct fanotify_marks *m)
{
	if (!m)
		return;
	close_fd(&m->mountinfo_fd);
	release_list(m->fs, m->n);
	free(m->mountinfo);
	free(m->only);
	free(m);
}

int fanotify_marks_open(int group, uint64_t mask, const char *mountinfo, const char *only,
			struct fanotify_marks **ret_m, struct error *e)
{
	struct fanotify_marks *m = calloc(1, sizeof(*m));

	if (!m)
		return error_set(e, -ENOMEM, "cannot keep a list of file systems: %m");
	m->group = group;
	m->mask = mask;
	m->mountinfo = strdup(mountinfo);
	m->only = only ? strdup(only) : NULL;
	m->mountinfo_fd = open(mountinfo, O_RDONLY | O_CLOEXEC);
	if (m->mountinfo_fd < 0 || !m->mountinfo || (only && !m->only)) {
		int r = error_set(e, -errno, "cannot read the table of mounts '%s': %m", mountinfo);

		fanotify_marks_close(m);
		return r;
	}
	*ret_m = m;
	return 0;
}

int fanotify_marks_fd(const struct fanotify_marks *m)
{
	return m->mountinfo_fd;
}

/* Whether point still shows this file system and no later mount hides it. btrfs gives each subvolume
 * a device number of its own, which mountinfo does not name. */
static bool is_visible(const struct mount *mount)
{
	struct stat st;

	if (!strcmp(mount->type, "btrfs"))
		return true;
	return stat(mount->point, &st) == 0 &&
	       st.st_dev == makedev(mount->dev_major, mount->dev_minor);
}

static int mark(const struct fanotify_marks *m, const struct mount *mount,
		uint8_t ret_fsid[static 8])
{
	uint64_t mask = mounts_kind(mount->type) == MOUNT_DEVICES ?
				m->mask & ~(uint64_t)FAN_CLOSE_WRITE :
				m->mask;
	struct statfs fs;

	if (!is_visible(mount))
		return -EBUSY;
	if (statfs(mount->point, &fs) < 0)
		return -errno;
	if (fanotify_mark(m->group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM | FAN_MARK_ONLYDIR, mask,
			  AT_FDCWD, mount->point) < 0)
		return -errno;
	_Static_assert(sizeof(fs.f_fsid) == 8, "as in fanotify's records");
	memcpy(ret_fsid, &fs.f_fsid, 8);
	return 0;
}

static struct fanotify_fs *find_device(struct fanotify_fs *list, size_t n,
				       const struct mount *mount)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].dev_major == mount->dev_major && list[i].dev_minor == mount->dev_minor)
			return &list[i];
	return NULL;
}

static bool is_wanted(const struct fanotify_marks *m, const struct mount *mount)
{
	if (m->only && strcmp(m->only, mount->point) != 0)
		return false;
	return mounts_kind(mount->type) != MOUNT_PSEUDO;
}

/* A file system is mounted in many places; the best one shows all of it, and can be marked. */
static bool is_better(const struct fanotify_fs *fs, const struct mount *mount)
{
	return fs->code != 0 || (!fs->whole && !strcmp(mount->root, "/"));
}

static void take_mount(const struct fanotify_marks *m, const struct mount *mount,
		       struct fanotify_fs *fs)
{
	uint8_t fsid[8] = { 0 };
	int code = mounts_kind(mount->type) == MOUNT_REMOTE ? -EREMOTE : mark(m, mount, fsid);
	char *point, *type;

	if (fs->point && code)
		return;
	point = strdup(mount->point);
	type = strdup(mount->type);
	if (!point || !type) {
		free(point);
		free(type);
		return;
	}
	release_fs(fs);
	*fs = (struct fanotify_fs){
		.dev_major = mount->dev_major,
		.dev_minor = mount->dev_minor,
		.code = code,
		.whole = !strcmp(mount->root, "/"),
		.point = point,
		.type = type,
	};
	memcpy(fs->fsid, fsid, sizeof(fsid));
}

static size_t read_mounts(const struct fanotify_marks *m, struct reader *r,
			  struct fanotify_fs *list, bool *ret_cut)
{
	struct mount mount;
	size_t n = 0;

	while (mounts_next(r, &mount)) {
		struct fanotify_fs *fs;

		if (!is_wanted(m, &mount))
			continue;
		fs = find_device(list, n, &mount);
		if (!fs && n == FANOTIFY_FS_MAX) {
			*ret_cut = true;
			continue;
		}
		if (!fs || is_better(fs, &mount))
			take_mount(m, &mount, fs ? fs : &list[n]);
		if (fs || !list[n].point)
			continue;
		/* Nothing can change on what is read-only, marked or not. */
		if (list[n].code && mount.read_only)
			release_fs(&list[n]);
		else
			n++;
	}
	return n;
}

bool fanotify_marks_refresh(struct fanotify_marks *m)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	struct fanotify_fs *list;
	struct fanotify_coverage before, after;
	struct reader r;
	bool cut = false;
	size_t len, n;

	if (files_read(m->mountinfo, MOUNTINFO_MAX, &text, &len, NULL) < 0)
		return false;
	list = calloc(FANOTIFY_FS_MAX, sizeof(*list));
	if (!list)
		return false;
	fanotify_marks_coverage(m, &before);
	r = reader_init(text, len);
	n = read_mounts(m, &r, list, &cut);
	release_list(m->fs, m->n);
	m->fs = list;
	m->n = n;
	m->cut = cut;
	fanotify_marks_coverage(m, &after);
	return before.marked != after.marked || before.unmarked != after.unmarked ||
	       strcmp(before.reason, after.reason) != 0;
}

const struct fanotify_fs *fanotify_marks_find(const struct fanotify_marks *m,
					      const uint8_t fsid[static 8])
{
	for (size_t i = 0; i < m->n; i++)
		if (!m->fs[i].code && !memcmp(m->fs[i].fsid, fsid, 8))
			return &m->fs[i];
	return NULL;
}

static const char *why(int code)
{
	switch (code) {
	case -EREMOTE:
		return "not local";
	case -EBUSY:
		return "hidden below another mount";
	case -EOPNOTSUPP:
		return "gives no file handles";
	case -ENODEV:
		return "has no file system id";
	default:
		return strerror(-code);
	}
}

/* A mark needs a path, and ours lead through our own mount namespace: a container's private tmpfs has
 * none, and an overlay reports its upper folder. */
#define ELSEWHERE "what is mounted only in other mount namespaces has no mark"

static void say_reason(const struct fanotify_marks *m, struct fanotify_coverage *ret)
{
	size_t listed = 0, size = sizeof(ret->reason);
	int len = snprintf(ret->reason, size, ELSEWHERE "; no mark on %zu file system%s",
			   ret->unmarked, ret->unmarked == 1 ? "" : "s");

	for (size_t i = 0; i < m->n && listed < LISTED_MAX && len > 0 && (size_t)len < size; i++) {
		if (!m->fs[i].code)
			continue;
		len += snprintf(ret->reason + len, size - (size_t)len, "%s %s (%s) %s",
				listed++ ? "," : ":", m->fs[i].point, m->fs[i].type,
				why(m->fs[i].code));
	}
	if (listed < ret->unmarked && len > 0 && (size_t)len < size)
		(void)snprintf(ret->reason + len, size - (size_t)len, ", and others");
}

void fanotify_marks_coverage(const struct fanotify_marks *m, struct fanotify_coverage *ret)
{
	*ret = (struct fanotify_coverage){ 0 };
	for (size_t i = 0; i < m->n; i++) {
		ret->marked += !m->fs[i].code;
		ret->unmarked += m->fs[i].code != 0;
	}
	ret->partial = true;
	if (ret->unmarked)
		say_reason(m, ret);
	else if (m->cut)
		(void)snprintf(ret->reason, sizeof(ret->reason),
			       ELSEWHERE "; only the first %d file systems are marked",
			       FANOTIFY_FS_MAX);
	else
		(void)snprintf(ret->reason, sizeof(ret->reason), ELSEWHERE);
}
