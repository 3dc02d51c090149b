/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/fanotify_events.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>

#include "agent/fanotify_layers.h"
#include "agent/fanotify_path.h"
#include "proto/actions.h"

#ifndef FAN_RENAME /* before Linux 5.17's headers */
#define FAN_RENAME 0x10000000
#endif

#define RECORDS_MAX 2048 /* in one buffer of 64 KiB: the smallest has 24 bytes and a handle */
#define TIER_FANOTIFY 0

/* A directory's path and a name, put together. */
struct full_path {
	size_t len;
	bool incomplete; /* the directory could not be found out: the name alone */
	bool elsewhere; /* of another mount namespace: in ours it may be another file's */
	enum fanotify_part part;
	const struct fanotify_fs *overlay; /* of FANOTIFY_UPPER */
	size_t rest; /* ... what follows here follows the overlay's mount point */
	char at[PATH_MAX + NAME_MAX + 2]; /* terminated */
};

struct fanotify_events {
	struct fanotify_marks *marks;
	struct fanotify_paths *paths;
	struct fanotify_layers *layers;
	char *own_folder[FANOTIFY_OWN_MAX];
	size_t n_folders, n_pids;
	uint32_t own_pid[FANOTIFY_OWN_MAX];
	struct fanotify_stats stats;
	/* Before Linux 5.17 a rename is two events; the first waits for the second. */
	bool moved;
	int32_t moved_pid;
	uint64_t moved_mask;
	struct full_path moved_from;
	struct full_path path, old;
	char shown[2][2 * PATH_MAX + NAME_MAX + 2]; /* as an overlay shows them */
	size_t n;
	struct fanotify_record record[RECORDS_MAX];
};

void fanotify_events_free(struct fanotify_events *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n_folders; i++)
		free(x->own_folder[i]);
	fanotify_paths_free(x->paths);
	fanotify_layers_free(x->layers);
	free(x);
}

static int copy_own(struct fanotify_events *x, const struct fanotify_config *c)
{
	for (size_t i = 0; i < FANOTIFY_OWN_MAX && c->own_folders[i]; i++) {
		x->own_folder[i] = strdup(c->own_folders[i]);
		if (!x->own_folder[i])
			return -ENOMEM;
		x->n_folders++;
	}
	for (size_t i = 0; i < FANOTIFY_OWN_MAX && c->own_pids[i]; i++)
		x->own_pid[x->n_pids++] = c->own_pids[i];
	return 0;
}

int fanotify_events_new(const struct fanotify_config *c, struct fanotify_marks *m,
			struct fanotify_events **ret_x, struct error *e)
{
	struct fanotify_events *x = calloc(1, sizeof(*x));

	if (x) {
		x->marks = m;
		x->paths = fanotify_paths_new(m);
		x->layers = fanotify_layers_new(m);
	}
	if (!x || !x->paths || !x->layers || copy_own(x, c) < 0) {
		fanotify_events_free(x);
		return error_set(e, -ENOMEM, "cannot keep what fanotify tells: %m");
	}
	*ret_x = x;
	return 0;
}

int fanotify_events_own_pid(struct fanotify_events *x, uint32_t pid)
{
	if (x->n_pids == FANOTIFY_OWN_MAX)
		return -ENOSPC;
	x->own_pid[x->n_pids++] = pid;
	return 0;
}

void fanotify_events_stats(const struct fanotify_events *x, struct fanotify_stats *ret)
{
	*ret = x->stats;
}

static bool is_own_pid(const struct fanotify_events *x, int32_t pid)
{
	for (size_t i = 0; i < x->n_pids; i++)
		if (pid > 0 && x->own_pid[i] == (uint32_t)pid)
			return true;
	return false;
}

static bool is_own_text(const struct fanotify_events *x, const char *path, size_t path_len)
{
	for (size_t i = 0; i < x->n_folders; i++) {
		size_t len = strlen(x->own_folder[i]);

		if (path_len >= len && !memcmp(path, x->own_folder[i], len) &&
		    (path_len == len || path[len] == '/'))
			return true;
	}
	return false;
}

static bool is_own_path(const struct fanotify_events *x, const struct full_path *path)
{
	return !path->incomplete && !path->elsewhere && is_own_text(x, path->at, path->len);
}

static void append(struct full_path *to, struct bytes b)
{
	size_t room = sizeof(to->at) - 1 - to->len;
	size_t len = b.len < room ? b.len : room;

	if (len)
		memcpy(to->at + to->len, b.at, len);
	to->len += len;
	to->at[to->len] = 0;
}

static void join(struct fanotify_events *x, const struct fanotify_place *place,
		 struct full_path *ret)
{
	static const struct bytes slash = { (const uint8_t *)"/", 1 };
	struct bytes dir = fanotify_paths_of(x->paths, &place->dir);
	const struct fanotify_fs *fs = fanotify_marks_find(x->marks, place->dir.fsid);

	ret->part = FANOTIFY_PLAIN;
	ret->elsewhere = fs && fs->mnt_ns;
	ret->len = 0;
	ret->incomplete = !dir.len;
	x->stats.unresolved += !dir.len;
	append(ret, dir);
	/* "." is the directory itself. */
	if (!place->name.len || (place->name.len == 1 && place->name.at[0] == '.'))
		return;
	if (dir.len && dir.at[dir.len - 1] != '/')
		append(ret, slash);
	append(ret, place->name);
}

static bool stat_object(struct fanotify_events *x, const struct fanotify_record *rec,
			const struct full_path *path, struct stat *ret)
{
	if (rec->object.bytes.len)
		return fanotify_paths_stat(x->paths, &rec->object, ret);
	return !path->incomplete && !path->elsewhere &&
	       fstatat(AT_FDCWD, path->at, ret, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0;
}

static struct bytes text_of(const struct full_path *path)
{
	return (struct bytes){ .at = path->len ? (const uint8_t *)path->at : NULL,
			       .len = path->len };
}

static void place_in_overlay(struct fanotify_events *x, struct full_path *path)
{
	if (!path->incomplete)
		path->part =
			fanotify_layers_part(x->layers, text_of(path), &path->overlay, &path->rest);
}

/* As whoever did it saw it: an overlay's file by its path in the overlay. which: 0 or 1, the buffer. */
static struct bytes shown(struct fanotify_events *x, const struct full_path *path, size_t which)
{
	char *to = x->shown[which];
	size_t point_len, rest_len;

	if (path->part != FANOTIFY_UPPER)
		return text_of(path);
	point_len = strlen(path->overlay->point);
	rest_len = path->len - path->rest;
	if (point_len == 1 && rest_len) /* "/" */
		point_len = 0;
	memcpy(to, path->overlay->point, point_len);
	memcpy(to + point_len, path->at + path->rest, rest_len);
	return (struct bytes){ .at = (const uint8_t *)to, .len = point_len + rest_len };
}

/* Our own folders may lie on an overlay. */
static bool is_own_overlay(struct fanotify_events *x, const struct full_path *path)
{
	struct bytes text = shown(x, path, 0);

	return path->part == FANOTIFY_UPPER && is_own_text(x, (const char *)text.at, text.len);
}

static struct event make_event(struct fanotify_events *x, uint32_t action, int32_t pid,
			       const struct full_path *path, uint64_t now_ns)
{
	return (struct event){
		.action = action,
		.class = CLASS_FILE_CHANGE,
		.hook = HOOK_FANOTIFY,
		.tier = TIER_FANOTIFY,
		.boottime_ns = now_ns,
		.image.pid = pid > 0 ? (uint32_t)pid : 0,
		.flags = path->incomplete ? EVENT_INCOMPLETE : 0,
		.u.file.path = shown(x, path, 0),
	};
}

static void take_stat(struct event *ev, const struct stat *st)
{
	struct event_file *f = &ev->u.file;

	f->inode = st->st_ino;
	f->device = st->st_dev;
	f->mode = st->st_mode;
	f->uid = st->st_uid;
	f->gid = st->st_gid;
	f->has_size = S_ISREG(st->st_mode);
	f->size = f->has_size ? (uint64_t)st->st_size : 0;
}

static void hand_over(struct fanotify_events *x, const struct fanotify_round *round,
		      struct event *ev)
{
	x->stats.events++;
	round->fn(round->ctx, ev);
}

static void modified(struct fanotify_events *x, const struct fanotify_record *rec,
		     const struct fanotify_round *round)
{
	struct event ev = make_event(x, ACTION_MODIFY, rec->pid, &x->path, round->now_ns);
	struct stat st;

	if (stat_object(x, rec, &x->path, &st)) {
		if (!S_ISREG(st.st_mode)) {
			x->stats.ignored++;
			return;
		}
		take_stat(&ev, &st);
	}
	hand_over(x, round, &ev);
}

static void unlinked(struct fanotify_events *x, const struct fanotify_record *rec,
		     const struct full_path *path, const struct fanotify_round *round)
{
	struct event ev = make_event(x, ACTION_UNLINK, rec->pid, path, round->now_ns);

	hand_over(x, round, &ev);
}

/* A removed directory that an overlay replaced by a whiteout: the two changed places, which is a second
 * event. */
static bool is_swapped(const struct fanotify_events *x, const struct fanotify_record *rec)
{
	const struct fanotify_record *next = rec + 1;

	return rec >= x->record && next < x->record + x->n && next->pid == rec->pid &&
	       (next->mask & (FAN_RENAME | FAN_ONDIR)) == (FAN_RENAME | FAN_ONDIR) &&
	       next->old.name.len == rec->at.name.len &&
	       !memcmp(next->old.name.at, rec->at.name.at, rec->at.name.len);
}

/* What an overlay prepares it makes in a folder of its own and then moves to its place: copies, and the
 * whiteouts (devices 0:0) that hide what is removed. A whiteout that appears is an unlink. */
static bool is_housekeeping(struct fanotify_events *x, const struct fanotify_record *rec,
			    const struct full_path *to, const struct full_path *from,
			    const struct fanotify_round *round)
{
	bool appears = from && from->part == FANOTIFY_WORK && to && to->part == FANOTIFY_UPPER;
	struct stat st;

	if (!(from && from->part == FANOTIFY_WORK) && !(to && to->part == FANOTIFY_WORK))
		return false;
	if (appears && !(rec->mask & FAN_ONDIR) && !is_swapped(x, rec) &&
	    stat_object(x, rec, to, &st) && S_ISCHR(st.st_mode) && !st.st_rdev)
		unlinked(x, rec, to, round);
	else
		x->stats.ignored++;
	/* From here on what lay in it is cleared away. */
	if ((rec->mask & FAN_ONDIR) && to && to->part == FANOTIFY_WORK)
		fanotify_paths_remember(x->paths, &rec->object, text_of(to));
	return true;
}

/* to, from: either may be NULL, when the other half was not seen. */
static void renamed(struct fanotify_events *x, const struct fanotify_record *rec,
		    const struct full_path *to, const struct full_path *from,
		    const struct fanotify_round *round)
{
	static const struct full_path unknown = { .incomplete = true };
	struct event ev;
	struct stat st;

	if (is_housekeeping(x, rec, to, from, round))
		return;
	ev = make_event(x, ACTION_RENAME, rec->pid, to ? to : &unknown, round->now_ns);
	if (from)
		ev.u.file.old_path = shown(x, from, 1);
	if (!from || from->incomplete)
		ev.flags |= EVENT_INCOMPLETE;
	if (to && stat_object(x, rec, to, &st))
		take_stat(&ev, &st);
	else if (rec->mask & FAN_ONDIR)
		ev.u.file.mode = S_IFDIR;
	if (rec->mask & FAN_ONDIR)
		fanotify_paths_forget_fresh(x->paths);
	hand_over(x, round, &ev);
}

/* The second half of a rename did not come. */
static void flush_moved(struct fanotify_events *x, const struct fanotify_round *round)
{
	const struct fanotify_record rec = { .mask = x->moved_mask, .pid = x->moved_pid };

	if (!x->moved)
		return;
	x->moved = false;
	renamed(x, &rec, NULL, &x->moved_from, round);
}

static void half_renamed(struct fanotify_events *x, const struct fanotify_record *rec,
			 const struct fanotify_round *round)
{
	bool is_pair = x->moved && x->moved_pid == rec->pid;

	if (rec->mask & FAN_MOVED_TO) {
		x->moved = x->moved && !is_pair;
		renamed(x, rec, &x->path, is_pair ? &x->moved_from : NULL, round);
	}
	if (rec->mask & FAN_MOVED_FROM) {
		flush_moved(x, round);
		x->moved = true;
		x->moved_pid = rec->pid;
		x->moved_mask = rec->mask & FAN_ONDIR;
		x->moved_from = x->path;
	}
}

static void tell_gap(const struct fanotify_round *round, uint32_t where, const char *reason)
{
	struct event ev = {
		.action = ACTION_GAP,
		.class = CLASS_AGENT,
		.hook = HOOK_AGENT,
		.boottime_ns = round->now_ns,
		.u.gap = {
			.where = where,
			.class = CLASS_FILE_CHANGE,
			.from_ns = round->since_ns,
			.to_ns = round->now_ns,
			.reason = reason,
		},
	};

	round->fn(round->ctx, &ev);
}

/* A merged event holds several bits; they are told in the order in which they can have happened. */
static void take_record(struct fanotify_events *x, const struct fanotify_record *rec,
			const struct fanotify_round *round)
{
	bool is_rename = rec->mask & FAN_RENAME;

	if (rec->mask & FAN_Q_OVERFLOW) {
		x->stats.overflows++;
		tell_gap(round, GAP_FANOTIFY, "fanotify's queue overflowed");
		return;
	}
	if (is_own_pid(x, rec->pid)) {
		x->stats.filtered++;
		return;
	}
	join(x, &rec->at, &x->path);
	if (is_rename)
		join(x, &rec->old, &x->old);
	if (is_own_path(x, &x->path) && (!is_rename || is_own_path(x, &x->old))) {
		x->stats.filtered++;
		return;
	}
	place_in_overlay(x, &x->path);
	if (is_rename)
		place_in_overlay(x, &x->old);
	if (is_own_overlay(x, &x->path) && (!is_rename || is_own_overlay(x, &x->old))) {
		x->stats.filtered++;
		return;
	}
	bool is_work = x->path.part == FANOTIFY_WORK;

	x->stats.ignored += is_work && (rec->mask & FAN_CLOSE_WRITE);
	if (!is_work && (rec->mask & FAN_CLOSE_WRITE))
		modified(x, rec, round);
	if (is_rename)
		renamed(x, rec, &x->path, &x->old, round);
	if (rec->mask & (FAN_MOVED_FROM | FAN_MOVED_TO))
		half_renamed(x, rec, round);
	else
		flush_moved(x, round);
	if ((rec->mask & FAN_DELETE) && !(rec->mask & FAN_ONDIR) && !is_work)
		unlinked(x, rec, &x->path, round);
	else if (rec->mask & FAN_DELETE)
		x->stats.ignored++;
}

/* A folder that an overlay takes away from what it shows, to remove it. */
static bool leaves_overlay(struct fanotify_events *x, const struct fanotify_record *rec)
{
	if ((rec->mask & (FAN_RENAME | FAN_ONDIR)) != (FAN_RENAME | FAN_ONDIR))
		return false;
	join(x, &rec->at, &x->path);
	place_in_overlay(x, &x->path);
	return x->path.part == FANOTIFY_WORK;
}

/* rm -r removes a folder right after what lay in it, so the folder's handle is often dead when its
 * children's events are read. The folder's own event, further back in the buffer, tells its name, and
 * its parent's event comes later still: thus from the end. An overlay moves the folder away before;
 * until then it was called as then. */
static void remember_removed(struct fanotify_events *x)
{
	for (size_t i = x->n; i-- > 0;) {
		const struct fanotify_record *rec = &x->record[i];

		bool is_gone = rec->mask & FAN_DELETE;

		if (!(is_gone || leaves_overlay(x, rec)) || !(rec->mask & FAN_ONDIR) ||
		    !rec->object.bytes.len)
			continue;
		struct full_path *path = is_gone ? &x->path : &x->old;

		join(x, is_gone ? &rec->at : &rec->old, path);
		if (!path->incomplete)
			fanotify_paths_remember(x->paths, &rec->object, text_of(path));
	}
}

size_t fanotify_events_take(struct fanotify_events *x, const void *buffer, size_t len,
			    const struct fanotify_round *round)
{
	struct reader r = reader_init(buffer, len);
	uint64_t unresolved = x->stats.unresolved;
	int more = 1;

	x->n = 0;
	while (x->n < RECORDS_MAX && (more = decode_fanotify(&r, &x->record[x->n])) > 0)
		x->n++;
	if (more < 0 || x->n == RECORDS_MAX) {
		x->stats.malformed++;
		tell_gap(round, GAP_DECODE, "fanotify's records could not be read");
	}
	remember_removed(x);
	x->stats.unresolved = unresolved;
	for (size_t i = 0; i < x->n; i++)
		take_record(x, &x->record[i], round);
	return x->n;
}

void fanotify_events_end_round(struct fanotify_events *x, const struct fanotify_round *round)
{
	flush_moved(x, round);
	fanotify_paths_end_round(x->paths);
}
