/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/overlay_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "agent/acquire/host_root.h"
#include "agent/acquire/overlay.h"
#include "proto/base/files.h"

#define MOUNTINFO_MAX MiB(16)
#define DEVICES_MAX 16
#define AGREE_TRIES 100 /* the container may change its root meanwhile */

struct device {
	uint32_t major, minor;
};

struct search {
	const struct acquire_request *r;
	int host; /* O_PATH: the host's "/" */
	uint8_t *table; /* its mounts */
	size_t table_len;
	struct bytes id; /* of the container; empty: the order names none */
	struct device root; /* the overlay that the target sees, perhaps one of its own */
	struct device
		devices[DEVICES_MAX]; /* overlays at its "/", the first mounted first, then root */
	size_t n_devices;
	struct mount mount;
};

/* ---- looking from the host ------------------------------------------------------------------------------- */

/* Links are followed, and none leads out of the host's root. */
static int open_folder(const struct search *s, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, s->host, path, &how, sizeof(how));

	return fd >= 0 ? (int)fd : -errno;
}

/* base: the folder that a relative path is relative to. */
static int open_layer(const struct search *s, const char *base, const char *path,
		      char ret_path[static PATH_MAX])
{
	int n = path[0] == '/' ? snprintf(ret_path, PATH_MAX, "%s", path) :
				 snprintf(ret_path, PATH_MAX, "%s/%s", base, path);

	if (path[0] == '\0')
		return -ENOENT;
	return n < PATH_MAX ? open_folder(s, ret_path) : -ENAMETOOLONG;
}

static struct device device_of(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0)
		return (struct device){ 0 };
	return (struct device){ .major = st.stx_dev_major, .minor = st.stx_dev_minor };
}

static bool same_device(struct device d, const struct mount *m)
{
	return d.major == m->dev_major && d.minor == m->dev_minor;
}

/* ---- is it this folder? ----------------------------------------------------------------------------------- */

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* An overlay's root shows the times of its upper folder. That of the last change of its inode nobody can set, nor
 * that of its making. */
static bool same_times(const struct statx *a, const struct statx *b)
{
	return a->stx_mode == b->stx_mode && same_time(&a->stx_ctime, &b->stx_ctime) &&
	       same_time(&a->stx_mtime, &b->stx_mtime) &&
	       (!(a->stx_mask & b->stx_mask & STATX_BTIME) ||
		same_time(&a->stx_btime, &b->stx_btime));
}

static bool agrees(int upper, int root)
{
	const unsigned int want = STATX_BASIC_STATS | STATX_BTIME;
	struct statx a, b;

	for (int i = 0; i < AGREE_TRIES; i++) {
		if (statx(upper, "", AT_EMPTY_PATH, want, &a) < 0 ||
		    statx(root, "", AT_EMPTY_PATH, want, &b) < 0)
			return false;
		if (same_times(&a, &b))
			return true;
	}
	return false;
}

/* root: of the overlay. The folder's path in both of its readings, see overlay_upper. */
static int open_upper(const struct search *s, const struct mount *m, int root,
		      struct overlay_root *ret)
{
	char path[PATH_MAX], base[PATH_MAX];
	int result = -ENOENT;

	overlay_folder_above(m->point, base);
	for (int given = 0; given < 2; given++) {
		if (!overlay_upper(m->options, given == 1, path))
			return -ENOENT;
		int fd = open_layer(s, base, path, ret->upper_path);

		if (fd < 0)
			continue;
		if (agrees(fd, root)) {
			ret->upper = fd;
			return 0;
		}
		(void)close(fd);
		result = -EPERM;
	}
	return result;
}

static void open_lowers(const struct search *s, const struct mount *m, struct overlay_root *ret)
{
	struct overlay_lowers lowers = overlay_lowers(m->options);
	char path[PATH_MAX], whole[PATH_MAX], base[PATH_MAX];

	/* docker mounts from the folder of its layers, containerd from that of its snapshots. */
	overlay_folder_above(overlay_beside(m->point, ret->upper_path) ? m->point : ret->upper_path,
			     base);
	while (overlay_lowers_next(&lowers, path)) {
		int fd = ret->n_lower < OVERLAY_LAYERS_MAX ? open_layer(s, base, path, whole) : -1;

		if (fd >= 0)
			ret->lower[ret->n_lower++] = fd;
		else
			ret->lost++;
	}
}

/* ---- the runtime's mount ---------------------------------------------------------------------------------- */

/* containerd mounts at .../ID/rootfs, docker with containerd's images at .../overlayfs/ID. */
static bool named_after_it(const struct search *s, const struct mount *m)
{
	return s->id.len > 0 && overlay_has_component(m->point, s->id);
}

/* docker keeps in HOME/image/overlay2/layerdb/mounts/ID/mount-id which HOME/overlay2/NAME/merged is whose. */
static bool recorded_by_docker(const struct search *s, const struct mount *m)
{
	char home[PATH_MAX], path[PATH_MAX], upper[PATH_MAX];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	if (s->id.len == 0 || !overlay_upper(m->options, false, upper) ||
	    !overlay_beside(m->point, upper))
		return false;
	overlay_folder_above(m->point, home);
	const char *name = m->point + strlen(home) + 1;
	char *driver = strrchr(home, '/');

	if (driver == NULL)
		return false;
	int n = snprintf(path, sizeof(path), ".%.*s/image%s/layerdb/mounts/%.*s/mount-id",
			 (int)(driver - home), home, driver, (int)s->id.len,
			 (const char *)s->id.at);

	if (n >= (int)sizeof(path) || files_read_at(s->host, path, KiB(1), &text, &len, NULL) < 0)
		return false;
	return len > 0 && strlen(name) == len + strlen("/merged") && memcmp(name, text, len) == 0;
}

/* podman and CRI-O keep no such record for us: the overlay that the container sees, at a place as theirs. */
static bool seen_by_it(const struct search *s, const struct mount *m)
{
	char upper[PATH_MAX];

	for (size_t i = 0; i < s->n_devices; i++)
		if (same_device(s->devices[i], m))
			return overlay_upper(m->options, false, upper) &&
			       overlay_beside(m->point, upper);
	return false;
}

static const struct finder {
	const char *source;
	bool (*is)(const struct search *s, const struct mount *m);
} finders[] = {
	{ "the host's mount table, a mount that bears the container's id", named_after_it },
	{ "the host's mount table, the mount that docker's records name", recorded_by_docker },
	{ "the host's mount table, the mount that the container's root is", seen_by_it },
};

/* The mount must be the one that is to be seen there, and the folder its own. */
static int take_mount(struct search *s, struct overlay_root *ret)
{
	AUTO(close_fd) int root = open_folder(s, s->mount.point);

	if (root < 0)
		return root;
	struct device seen = device_of(root);

	if (!same_device(seen, &s->mount))
		return -ESTALE;
	int r = open_upper(s, &s->mount, root, ret);

	if (r < 0)
		return r;
	ret->covered = seen.major != s->root.major || seen.minor != s->root.minor;
	open_lowers(s, &s->mount, ret);
	return 0;
}

static bool find_on_host(struct search *s, struct overlay_root *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(finders); i++) {
		struct reader r = reader_init(s->table, s->table_len);

		ret->source = finders[i].source;
		while (mounts_next(&r, &s->mount))
			if (strcmp(s->mount.type, "overlay") == 0 && finders[i].is(s, &s->mount) &&
			    take_mount(s, ret) == 0)
				return true;
	}
	return false;
}

/* ---- the container's word --------------------------------------------------------------------------------- */

static int read_table(const struct acquire_request *r, uint32_t pid, uint8_t **ret, size_t *ret_len,
		      struct error *e)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%u/mountinfo", r->proc, pid);
	return files_read(path, MOUNTINFO_MAX, ret, ret_len, e);
}

/* Its first process may be gone by now: the next will do. */
static int read_own_table(const struct acquire_request *r, const struct target *t, uint8_t **ret,
			  size_t *ret_len, struct error *e)
{
	int result = error_set(e, -ESRCH, "the container's processes have ended");

	for (size_t i = 0; result < 0 && i < t->n_pids; i++)
		result = read_table(r, t->pids[i], ret, ret_len, e);
	return result;
}

static bool next_at_root(struct reader *r, struct mount *m)
{
	while (mounts_next(r, m))
		if (strcmp(m->type, "overlay") == 0 && strcmp(m->point, "/") == 0)
			return true;
	return false;
}

static void collect_devices(struct search *s, struct bytes table)
{
	struct reader r = reader_init(table.at, table.len);

	while (s->n_devices < DEVICES_MAX - 1 && next_at_root(&r, &s->mount))
		s->devices[s->n_devices++] =
			(struct device){ .major = s->mount.dev_major, .minor = s->mount.dev_minor };
	s->devices[s->n_devices++] = s->root;
}

static int take_word(struct search *s, const struct target *t, struct bytes table,
		     struct overlay_root *ret, struct error *e)
{
	struct reader r = reader_init(table.at, table.len);
	char upper[PATH_MAX];
	bool found = false;

	while (!found && next_at_root(&r, &s->mount))
		found = same_device(s->root, &s->mount) &&
			overlay_upper(s->mount.options, false, upper);
	if (!found)
		return error_set(e, -EOPNOTSUPP,
				 "the container's root is no overlay with a folder of changes");
	if (upper[0] != '/')
		return error_set(
			e, -EPERM,
			"only the container says where its changes are, and not from where on: %.200s",
			upper);
	int result = open_upper(s, &s->mount, t->root, ret);

	if (result < 0)
		return error_set(
			e, -EPERM,
			"only the container names a folder of its changes, and it is not that: %.200s",
			upper);
	ret->source = "the container's own mount table";
	ret->by_container = true;
	open_lowers(s, &s->mount, ret);
	return 0;
}

/* ---- all -------------------------------------------------------------------------------------------------- */

static int open_search(const struct acquire_request *r, struct search *s, struct error *e)
{
	char path[HOST_ROOT_MAX + 2], root[HOST_ROOT_MAX];
	/* Where the first process may not be looked at, we are where the host's mounts are. */
	bool first = host_root(r, root)[0] != '\0';

	(void)snprintf(path, sizeof(path), "%s/", root);
	s->host = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->host < 0)
		return error_set(e, -errno, "cannot open the host's root: %m");
	return read_table(r, first ? 1 : (uint32_t)getpid(), &s->table, &s->table_len, e);
}

static void close_search(struct search *s)
{
	close_fd(&s->host);
	free(s->table);
}

int overlay_root_open(const struct acquire_request *r, const struct target *t,
		      struct overlay_root *ret, struct error *e)
{
	const ProtobufCBinaryData *id = &r->order->container_id;
	AUTO(free_ptr) struct overlay_root *o = calloc(1, sizeof(*o));
	AUTO(close_search) struct search s = { .r = r, .host = -1, .id = { id->data, id->len } };
	AUTO(free_ptr) uint8_t *table = NULL;
	size_t len = 0;

	if (o == NULL)
		return error_set(e, -ENOMEM, "cannot look for the container's root: out of memory");
	o->upper = -1;
	int result = open_search(r, &s, e);

	if (result == 0)
		result = read_own_table(r, t, &table, &len, e);
	if (result < 0)
		return result;
	s.root = device_of(t->root);
	collect_devices(&s, (struct bytes){ table, len });
	if (!find_on_host(&s, o))
		result = take_word(&s, t, (struct bytes){ table, len }, o, e);
	if (result == 0)
		*ret = *o;
	return result;
}

void overlay_root_release(struct overlay_root *o)
{
	close_fd(&o->upper);
	o->upper = -1;
	for (size_t i = 0; i < o->n_lower; i++)
		(void)close(o->lower[i]);
	o->n_lower = 0;
}
