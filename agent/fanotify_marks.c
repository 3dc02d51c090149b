/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "agent/fanotify_spaces.h"
#include "agent/hooks_check.h"
#include "agent/mounts.h"
#include "proto/base/files.h"

#define MOUNTINFO_MAX MiB(16)
/* Of another namespace, which may be anybody's. */
#define ELSEWHERE_INFO_MAX MiB(1)
#define ELSEWHERE_EACH_MAX 128
#define ELSEWHERE_MAX 1024
#define LISTED_MAX 3 /* file systems without a mark that the reason names */

struct list {
	size_t n, max;
	struct fanotify_fs *fs;
	bool cut; /* there were more */
};

struct fanotify_marks {
	int group, mountinfo_fd;
	uint64_t mask;
	char *mountinfo, *only;
	bool overlay_writes; /* a write into an overlay shows on the file system that it stores on */
	struct list near; /* mounted in our own namespace */
	struct list far; /* only in others */
	struct fanotify_spaces *spaces;
	uint64_t generation;
};

/* A namespace while its mounts are read. */
struct view {
	uint32_t ns; /* 0: our own */
	int root; /* O_PATH of the root of a process there; -1 for our own */
};

static void release_fs(struct fanotify_fs *fs)
{
	free(fs->point);
	free(fs->type);
	free(fs->upper);
	free(fs->work);
	*fs = (struct fanotify_fs){ 0 };
}

static void release_list(struct list *list)
{
	for (size_t i = 0; i < list->n; i++)
		release_fs(&list->fs[i]);
	free(list->fs);
	*list = (struct list){ 0 };
}

static int new_list(struct list *ret, size_t max)
{
	*ret = (struct list){ .max = max, .fs = calloc(max, sizeof(*ret->fs)) };
	return ret->fs ? 0 : -ENOMEM;
}

void fanotify_marks_close(struct fanotify_marks *m)
{
	if (!m)
		return;
	close_fd(&m->mountinfo_fd);
	release_list(&m->near);
	release_list(&m->far);
	fanotify_spaces_free(m->spaces);
	free(m->mountinfo);
	free(m->only);
	free(m);
}

/* Since Linux 6.5 (bc2473c90fca); before, only renames and removals show there. */
static bool overlays_show_writes(void)
{
	struct utsname name;

	return uname(&name) == 0 && hooks_kernel_number(name.release) >= KERNEL_NUMBER(6, 5, 0);
}

int fanotify_marks_open(int group, uint64_t mask, const char *mountinfo, const char *only,
			struct fanotify_marks **ret_m, struct error *e)
{
	struct fanotify_marks *m = calloc(1, sizeof(*m));

	if (!m)
		return error_set(e, -ENOMEM, "cannot keep a list of file systems: %m");
	m->group = group;
	m->generation = 1;
	m->mask = mask;
	m->mountinfo = strdup(mountinfo);
	m->only = only ? strdup(only) : NULL;
	m->mountinfo_fd = open(mountinfo, O_RDONLY | O_CLOEXEC);
	m->overlay_writes = overlays_show_writes();
	m->spaces = fanotify_spaces_new("/proc");
	if (m->mountinfo_fd < 0 || !m->mountinfo || (only && !m->only) || !m->spaces ||
	    new_list(&m->far, ELSEWHERE_MAX) < 0) {
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

/* The mount itself, without ever waiting for a file system that somebody else serves: only names that
 * the kernel has at hand (those of mount points always are), no symbolic links, and the number of the
 * mount must be the one that was listed. Before Linux 5.12 names are looked up. */
static int open_elsewhere(int root, const char *point, uint32_t mount_id)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_CACHED,
	};
	AUTO(close_fd) int fd = (int)syscall(SYS_openat2, root, point, &how, sizeof(how));
	struct statx st;

	if (fd < 0 && errno == EINVAL) {
		how.resolve &= ~(uint64_t)RESOLVE_CACHED;
		fd = (int)syscall(SYS_openat2, root, point, &how, sizeof(how));
	}
	if (fd < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &st) < 0)
		return -errno;
	if (!(st.stx_mask & STATX_MNT_ID) || st.stx_mnt_id != mount_id)
		return -EBUSY;
	return take_fd(&fd);
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

static int mark_path(const struct fanotify_marks *m, const struct mount *mount, const char *path,
		     uint8_t ret_fsid[static 8])
{
	uint64_t mask = mounts_kind(mount->type) == MOUNT_DEVICES ?
				m->mask & ~(uint64_t)FAN_CLOSE_WRITE :
				m->mask;
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return -errno;
	if (fanotify_mark(m->group, FAN_MARK_ADD | FAN_MARK_FILESYSTEM | FAN_MARK_ONLYDIR, mask,
			  AT_FDCWD, path) < 0)
		return -errno;
	_Static_assert(sizeof(fs.f_fsid) == 8, "as in fanotify's records");
	memcpy(ret_fsid, &fs.f_fsid, 8);
	return 0;
}

static int mark(const struct fanotify_marks *m, const struct view *view, const struct mount *mount,
		uint8_t ret_fsid[static 8])
{
	char path[32];

	if (!view->ns)
		return is_visible(mount) ? mark_path(m, mount, mount->point, ret_fsid) : -EBUSY;
	AUTO(close_fd) int fd = open_elsewhere(view->root, mount->point, mount->id);

	if (fd < 0)
		return fd;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return mark_path(m, mount, path, ret_fsid);
}

static struct fanotify_fs *find_device(const struct list *list, const struct mount *mount)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->fs[i].dev_major == mount->dev_major &&
		    list->fs[i].dev_minor == mount->dev_minor)
			return &list->fs[i];
	return NULL;
}

static const struct fanotify_fs *find_id(const struct list *list, const uint8_t fsid[static 8])
{
	for (size_t i = 0; i < list->n; i++)
		if (!list->fs[i].code && !list->fs[i].upper && !memcmp(list->fs[i].fsid, fsid, 8))
			return &list->fs[i];
	return NULL;
}

/* An overlay gives no file handles that could be opened, but what it stores it stores in a folder of
 * another file system, which tells. Whoever mounted it named that folder, mostly in our namespace. */
static int cover_overlay(const struct fanotify_marks *m, const struct list *list,
			 const struct mount *mount)
{
	uint8_t fsid[8];
	struct statfs fs;

	if (statfs(mount->upper, &fs) < 0)
		return -EOPNOTSUPP;
	memcpy(fsid, &fs.f_fsid, 8);
	if (!find_id(list, fsid) && !find_id(&m->near, fsid) && !find_id(&m->far, fsid))
		return -EOPNOTSUPP;
	return m->overlay_writes ? 0 : -ENODATA;
}

static bool is_at_or_below(const char *point, const char *folder)
{
	size_t len = strlen(folder);

	return !strncmp(point, folder, len) && (!point[len] || point[len] == '/');
}

static bool is_wanted(const struct fanotify_marks *m, const struct view *view,
		      const struct mount *mount)
{
	if (m->only && !is_at_or_below(mount->point, m->only))
		return false;
	if (mounts_kind(mount->type) == MOUNT_PSEUDO)
		return false;
	if (!view->ns)
		return true;
	/* What we know already, except what we see of it in its own namespace better. */
	const struct fanotify_fs *fs = find_device(&m->near, mount);

	if (fs && fs->code != -EBUSY && !mount->upper[0])
		return false;
	fs = find_device(&m->far, mount);
	return !fs || fs->code || fs->mnt_ns == view->ns;
}

/* A file system is mounted in many places; the best one shows all of it, and can be marked. */
static bool is_better(const struct fanotify_fs *fs, const struct mount *mount)
{
	return fs->code != 0 || (!fs->whole && !strcmp(mount->root, "/"));
}

static bool copy_texts(struct fanotify_fs *fs, const struct mount *mount)
{
	fs->point = strdup(mount->point);
	fs->type = strdup(mount->type);
	if (mount->upper[0] && (!fs->code || fs->code == -ENODATA)) {
		fs->upper = strdup(mount->upper);
		fs->work = strdup(mount->work);
		if (!fs->upper || !fs->work)
			return false;
	}
	return fs->point && fs->type;
}

static void take_mount(const struct fanotify_marks *m, const struct view *view,
		       const struct list *list, const struct mount *mount, struct fanotify_fs *fs)
{
	struct fanotify_fs taken = {
		.dev_major = mount->dev_major,
		.dev_minor = mount->dev_minor,
		.whole = !strcmp(mount->root, "/"),
		.mnt_ns = view->ns,
		.mount_id = mount->id,
	};

	if (mounts_kind(mount->type) == MOUNT_REMOTE)
		taken.code = -EREMOTE;
	else if (mount->upper[0])
		taken.code = cover_overlay(m, list, mount);
	else
		taken.code = mark(m, view, mount, taken.fsid);
	if (fs->point && taken.code)
		return;
	if (!copy_texts(&taken, mount)) {
		release_fs(&taken);
		return;
	}
	release_fs(fs);
	*fs = taken;
}

static void read_mounts(const struct fanotify_marks *m, const struct view *view, struct reader *r,
			struct list *list)
{
	struct mount mount;

	while (mounts_next(r, &mount)) {
		struct fanotify_fs *fs;

		if (!is_wanted(m, view, &mount))
			continue;
		fs = find_device(list, &mount);
		if (!fs && list->n == list->max) {
			list->cut = true;
			continue;
		}
		struct fanotify_fs *next = &list->fs[list->n];

		if (!fs || is_better(fs, &mount))
			take_mount(m, view, list, &mount, fs ? fs : next);
		if (fs || !next->point)
			continue;
		/* Nothing can change on what is read-only, marked or not. */
		if (next->code && mount.read_only)
			release_fs(next);
		else
			list->n++;
	}
}

static bool differs(const struct fanotify_marks *m, const struct fanotify_coverage *before)
{
	struct fanotify_coverage after;

	fanotify_marks_coverage(m, &after);
	return before->marked != after.marked || before->unmarked != after.unmarked ||
	       strcmp(before->reason, after.reason) != 0;
}

bool fanotify_marks_refresh(struct fanotify_marks *m)
{
	static const struct view ours = { .root = -1 };
	AUTO(free_ptr) uint8_t *text = NULL;
	struct fanotify_coverage before;
	struct reader r;
	struct list list;
	size_t len;

	if (files_read(m->mountinfo, MOUNTINFO_MAX, &text, &len, NULL) < 0)
		return false;
	if (new_list(&list, FANOTIFY_FS_MAX) < 0)
		return false;
	fanotify_marks_coverage(m, &before);
	r = reader_init(text, len);
	read_mounts(m, &ours, &r, &list);
	release_list(&m->near);
	m->near = list;
	m->generation++;
	return differs(m, &before);
}

void fanotify_marks_seen(struct fanotify_marks *m, uint32_t mnt_ns, uint32_t pid, uint64_t now_ns)
{
	fanotify_spaces_seen(m->spaces, mnt_ns, pid, now_ns);
}

/* Put what a namespace has mounted now in the place of what it had. */
static void replace_far(struct fanotify_marks *m, uint32_t ns, struct list *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->far.n; i++) {
		struct fanotify_fs fs = m->far.fs[i];

		m->far.fs[i] = (struct fanotify_fs){ 0 };
		if (fs.mnt_ns == ns)
			release_fs(&fs);
		else
			m->far.fs[kept++] = fs;
	}
	m->far.n = kept;
	m->far.cut = list->cut;
	m->generation++;
	for (size_t i = 0; i < list->n; i++) {
		if (m->far.n == m->far.max) {
			m->far.cut = true;
			return;
		}
		m->far.fs[m->far.n++] = list->fs[i];
		list->fs[i] = (struct fanotify_fs){ 0 };
	}
}

static void read_space(struct fanotify_marks *m, uint32_t ns, struct list *list)
{
	AUTO(close_fd) int process = fanotify_spaces_process(m->spaces, ns);
	AUTO(free_ptr) uint8_t *text = NULL;
	struct view view = { .ns = ns, .root = -1 };
	struct reader r;
	size_t len;

	if (process < 0) {
		fanotify_spaces_all_due(m->spaces);
		return;
	}
	view.root = openat(process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (view.root < 0)
		return;
	if (files_read_at(process, "mountinfo", ELSEWHERE_INFO_MAX, &text, &len, NULL) == 0) {
		r = reader_init(text, len);
		read_mounts(m, &view, &r, list);
	} else {
		list->cut = true;
	}
	close_fd(&view.root);
}

bool fanotify_marks_refresh_elsewhere(struct fanotify_marks *m, uint64_t now_ns)
{
	uint32_t ns = fanotify_spaces_due(m->spaces, now_ns);
	struct fanotify_coverage before;
	struct list list;

	if (!ns || new_list(&list, ELSEWHERE_EACH_MAX) < 0)
		return false;
	fanotify_marks_coverage(m, &before);
	read_space(m, ns, &list);
	replace_far(m, ns, &list);
	release_list(&list);
	return differs(m, &before);
}

int fanotify_marks_open_mount(struct fanotify_marks *m, const struct fanotify_fs *fs)
{
	int fd;

	if (fs->mnt_ns) {
		AUTO(close_fd) int process = fanotify_spaces_process(m->spaces, fs->mnt_ns);
		AUTO(close_fd) int root = -1;

		if (process >= 0)
			root = openat(process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return -ESRCH;
		AUTO(close_fd) int at = open_elsewhere(root, fs->point, fs->mount_id);

		if (at < 0)
			return at;
		fd = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	} else {
		fd = open(fs->point, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
	}
	return fd < 0 ? -errno : fd;
}

const struct fanotify_fs *fanotify_marks_find(const struct fanotify_marks *m,
					      const uint8_t fsid[static 8])
{
	const struct fanotify_fs *fs = find_id(&m->near, fsid);

	return fs ? fs : find_id(&m->far, fsid);
}

static const struct fanotify_fs *nth_overlay(const struct list *list, size_t *i)
{
	for (size_t at = 0; at < list->n; at++)
		if (list->fs[at].upper && !(*i)--)
			return &list->fs[at];
	return NULL;
}

const struct fanotify_fs *fanotify_marks_overlay(const struct fanotify_marks *m, size_t i)
{
	const struct fanotify_fs *fs = nth_overlay(&m->far, &i);

	return fs ? fs : nth_overlay(&m->near, &i);
}

uint64_t fanotify_marks_generation(const struct fanotify_marks *m)
{
	return m->generation;
}

static const char *why(int code)
{
	switch (code) {
	case -EREMOTE:
		return "not local";
	case -EBUSY:
		return "hidden below another mount";
	case -ENODATA:
		return "shows renames and removals only, before Linux 6.5";
	case -EOPNOTSUPP:
		return "gives no file handles";
	case -ENODEV:
		return "has no file system id";
	default:
		return strerror(-code);
	}
}

/* Said always: a file system that somebody mounts for himself is marked when a process of his was seen
 * and his mounts were read after that. */
#define ELSEWHERE "what other mount namespaces mount is marked within a second"

static int name_unmarked(const struct list *list, size_t *listed, char *at, size_t size)
{
	size_t done = 0;

	for (size_t i = 0; i < list->n && *listed < LISTED_MAX && done < size; i++) {
		const struct fanotify_fs *fs = &list->fs[i];
		int n;

		if (!fs->code)
			continue;
		n = snprintf(at + done, size - done, "%s %s (%s) %s", *listed ? "," : ":",
			     fs->point, fs->type, why(fs->code));
		if (n < 0)
			break;
		++*listed;
		done += (size_t)n;
	}
	return (int)done;
}

static void say_reason(const struct fanotify_marks *m, struct fanotify_coverage *ret)
{
	const struct list *lists[] = { &m->near, &m->far };
	size_t listed = 0, size = sizeof(ret->reason);
	int len = snprintf(ret->reason, size, ELSEWHERE "; no mark on %zu file system%s",
			   ret->unmarked, ret->unmarked == 1 ? "" : "s");

	for (size_t i = 0; i < ARRAY_LEN(lists) && len > 0 && (size_t)len < size; i++)
		len += name_unmarked(lists[i], &listed, ret->reason + len, size - (size_t)len);
	if (listed < ret->unmarked && len > 0 && (size_t)len < size)
		(void)snprintf(ret->reason + len, size - (size_t)len, ", and others");
}

static void count(const struct list *list, struct fanotify_coverage *ret)
{
	for (size_t i = 0; i < list->n; i++) {
		ret->marked += !list->fs[i].code;
		ret->unmarked += list->fs[i].code != 0;
	}
}

void fanotify_marks_coverage(const struct fanotify_marks *m, struct fanotify_coverage *ret)
{
	*ret = (struct fanotify_coverage){ .partial = true };
	count(&m->near, ret);
	count(&m->far, ret);
	if (ret->unmarked)
		say_reason(m, ret);
	else if (m->near.cut || m->far.cut)
		(void)snprintf(ret->reason, sizeof(ret->reason),
			       ELSEWHERE "; not all file systems are marked: there are too many");
	else
		(void)snprintf(ret->reason, sizeof(ret->reason), ELSEWHERE);
}
