/* SPDX-License-Identifier: Apache-2.0 */
/* From the folder to the state. May itself be cut at any point: each step leaves a folder that the
 * next attempt reads to the same result. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/journal_list.h"
#include "agent/journal_state.h"
#include "proto/base/files.h"

#define FILE_MAX (JOURNAL_FILE_BYTES_MAX + JOURNAL_FRAME_MAX + KiB(4))

#define LOST_MAX 100000 /* are counted: what files say of positions may be anything */

/* A file as it was found. */
struct found {
	struct journal_file *f;
	size_t torn; /* bytes at its end that hold no good frame */
};

static void journal_file_free_ptr(struct journal_file **f)
{
	journal_file_free(*f);
}

/* A false header costs nothing but the header when the frames behind it are of the current epoch. */
static void guess_header(const struct journal *j, enum batch_lane lane,
			 const struct journal_name *name, struct journal_file_header *h)
{
	*h = (struct journal_file_header){ .lane = lane, .number = name->number };
	memcpy(h->epoch, j->epoch, sizeof(h->epoch));
}

static int note_frame(struct journal_file *f, const struct journal_scan *s,
		      const struct journal_frame *frame)
{
	int r = 0;

	if (f->n == 0)
		f->first = frame->position;
	/* What is missing between keeps its place. */
	while (r == 0 && journal_file_end(f) < frame->position)
		r = journal_file_note(f, 0);
	return r < 0 ? r : journal_file_note(f, (uint32_t)s->frame_at);
}

static int scan_data(struct journal *j, struct journal_lane *l, const struct journal_name *name,
		     const uint8_t *data, size_t len, struct found *ret)
{
	AUTO(journal_file_free_ptr)
	struct journal_file *f = journal_file_new(name->tombstone, name->number, 1);
	struct journal_file_header h;
	struct journal_scan s;
	struct journal_frame frame;
	bool header_bad = journal_file_header_read(data, len, &h) < 0 || h.lane != l->lane ||
			  (!name->tombstone && h.number != name->number);

	if (!f)
		return -ENOMEM;
	if (header_bad)
		guess_header(j, l->lane, name, &h);
	memcpy(f->epoch, h.epoch, sizeof(f->epoch));
	journal_scan_init(&s, data, len, &h);
	while (journal_scan_next(&s, &frame)) {
		if ((frame.kind == JOURNAL_TOMBSTONE) != name->tombstone ||
		    (name->tombstone && f->n > 0)) {
			s.damaged = true;
			continue;
		}
		if (note_frame(f, &s, &frame) < 0)
			return -ENOMEM;
		f->covers = frame.covers;
	}
	f->bytes = len;
	f->damaged = s.damaged || (header_bad && f->n > 0);
	ret->torn = f->n == 0 ? len : s.bad_from > 0 ? len - s.bad_from : 0;
	ret->f = TAKE(f);
	return 0;
}

static int set_aside(struct journal *j, const char *name, struct journal_recovery *rec,
		     struct error *e)
{
	char aside[JOURNAL_NAME_MAX + sizeof(".damaged")];

	(void)snprintf(aside, sizeof(aside), "%s.damaged", name);
	rec->damaged_files++;
	if (renameat(j->dir_fd, name, j->dir_fd, aside) < 0)
		return error_set(e, -errno, "cannot set aside the damaged '%s/%s': %m", j->dir,
				 name);
	return 0;
}

static int read_found(struct journal *j, struct journal_lane *l, const struct journal_name *name,
		      struct found *ret, struct journal_recovery *rec, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;
	int r = files_read_at(j->dir_fd, name->text, FILE_MAX, &data, &len, e);

	if (r == -EIO) /* some disks can do it the second time */
		r = files_read_at(j->dir_fd, name->text, FILE_MAX, &data, &len, e);
	*ret = (struct found){ 0 };
	/* What the disk cannot give back, or what no journal wrote. */
	if (r == -EIO || r == -EFBIG)
		return set_aside(j, name->text, rec, e);
	if (r < 0)
		return error_wrap(e, r, "cannot recover the journal '%s'", j->dir);
	r = scan_data(j, l, name, data, len, ret);
	return r < 0 ? error_set(e, r, "cannot recover the journal '%s': %m", j->dir) : 0;
}

static int unlink_name(struct journal *j, const char *name, struct error *e)
{
	if (unlinkat(j->dir_fd, name, 0) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot remove '%s/%s': %m", j->dir, name);
	return 0;
}

static int load_tombs(struct journal *j, struct journal_lane *l, const struct journal_names *names,
		      struct journal_recovery *rec, struct error *e)
{
	for (size_t i = 0; i < names->n; i++) {
		const struct journal_name *name = &names->at[i];
		AUTO(journal_file_free_ptr) struct journal_file *f = NULL;
		struct found found;
		int r;

		if (!name->tombstone || name->lane != l->lane)
			continue;
		r = read_found(j, l, name, &found, rec, e);
		f = found.f;
		if (r < 0)
			return r;
		if (!f)
			continue;
		if (f->n != 1 || f->damaged || found.torn > 0 || f->first != name->number) {
			r = set_aside(j, name->text, rec, e);
			if (r < 0)
				return r;
			continue;
		}
		if (journal_files_reserve(&l->tombs) < 0)
			return error_set(e, -ENOMEM, "cannot recover the journal '%s': %m", j->dir);
		f->number = 0;
		journal_files_push(&l->tombs, TAKE(f));
	}
	return 0;
}

/* Positions up to end are of f, and missing. */
static int miss_until(struct journal_file *f, uint64_t end)
{
	int r = 0;

	while (r == 0 && journal_file_end(f) < end)
		r = journal_file_note(f, 0);
	return r;
}

/* Frames of the newest file that were durable and are not there: no torn write. They keep their positions, and the
 * file all of its bytes, for whoever looks into it. What the mark says beyond what the file can hold is no mark. */
static int miss_durable(struct journal_lane *l, size_t torn, struct journal_recovery *rec,
			bool *ret_missed)
{
	struct journal_file *f = l->files.at[l->files.n - 1];
	const struct journal_mark *m = &l->mark;
	uint64_t good = f->bytes - torn, end = journal_file_end(f);
	int r = 0;

	*ret_missed = m->file == f->number && m->length > good && m->length <= FILE_MAX;
	if (!*ret_missed)
		return 0;
	if (m->position >= end &&
	    m->position - end <= (m->length - good) / JOURNAL_FRAME_HEADER_LEN)
		r = miss_until(f, m->position + 1);
	rec->damaged_files += !f->damaged;
	f->damaged = true;
	return r;
}

/* Cut what is behind the newest file's last good frame, and make sure that the rest is on disk: a
 * killed agent may have written it and not synced. */
static int settle_newest(struct journal *j, struct journal_lane *l, size_t torn,
			 struct journal_recovery *rec, struct error *e)
{
	struct journal_file *f = l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;
	AUTO(close_fd) int fd = -1;
	char name[JOURNAL_NAME_MAX];
	bool missed;

	if (!f)
		return 0;
	if (miss_durable(l, torn, rec, &missed) < 0)
		return error_set(e, -ENOMEM, "cannot recover the journal '%s': %m", j->dir);
	if (missed)
		torn = 0;
	else if (l->mark.file <= f->number) /* else that newer file is gone */
		l->mark = (struct journal_mark){ f->number, f->bytes - torn,
						 journal_file_end(f) - 1 };
	journal_file_name(f, l->lane, name);
	fd = openat(j->dir_fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s/%s': %m", j->dir, name);
	if (torn > 0 && ftruncate(fd, (off_t)(f->bytes - torn)) < 0)
		return error_set(e, -errno, "cannot cut the torn end off '%s/%s': %m", j->dir,
				 name);
	if (fdatasync(fd) < 0)
		return error_set(e, -errno, "cannot make '%s/%s' durable: %m", j->dir, name);
	rec->torn_bytes += torn;
	f->bytes -= torn;
	return 0;
}

/* A later file that begins at a position took it over: the append before it had failed. That is one
 * frame; a file that loses more is none that this program leaves behind. */
static void yield_positions(struct journal_file *f, uint64_t next_first,
			    struct journal_recovery *rec)
{
	if (journal_file_end(f) <= next_first)
		return;
	if (journal_file_end(f) > next_first + 1 && !f->damaged) {
		f->damaged = true;
		rec->damaged_files++;
	}
	f->n = next_first > f->first ? (uint32_t)(next_first - f->first) : 0;
}

/* Keep f as the lane's newest so far. */
static int adopt_file(struct journal *j, struct journal_lane *l, struct journal_file *f,
		      struct journal_recovery *rec, struct error *e)
{
	while (l->files.n > 0) {
		struct journal_file *before = l->files.at[l->files.n - 1];
		int r;

		yield_positions(before, f->first, rec);
		if (before->n > 0)
			break;
		r = journal_file_remove(j, l, before, e);
		if (r < 0)
			return r;
		journal_file_free(before);
		l->files.n--;
	}
	if (journal_files_reserve(&l->files) < 0)
		return error_set(e, -ENOMEM, "cannot recover the journal '%s': %m", j->dir);
	journal_files_push(&l->files, f);
	return 0;
}

static bool is_last(const struct journal_names *names, size_t i)
{
	for (size_t k = i + 1; k < names->n; k++) {
		if (!names->at[k].tombstone && names->at[k].lane == names->at[i].lane)
			return false;
	}
	return true;
}

/* A file without one good frame: the newest was being begun, unless the mark knows better; any other lost what it
 * held. */
static int discard_empty(struct journal *j, const struct journal_lane *l,
			 const struct journal_names *names, size_t i, size_t len,
			 struct journal_recovery *rec, struct error *e)
{
	bool begun = is_last(names, i) && l->mark.file != names->at[i].number;

	if (!begun && len > JOURNAL_FILE_HEADER_LEN)
		return set_aside(j, names->at[i].text, rec, e);
	rec->torn_bytes += len;
	return unlink_name(j, names->at[i].text, e);
}

/* Behind the last good frame of the file before stands none, though the next file begins further on: those
 * positions were that file's. */
static int lose_end(struct journal_lane *l, size_t torn, uint64_t next_first,
		    struct journal_recovery *rec)
{
	struct journal_file *f = l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;
	uint64_t end = f ? journal_file_end(f) : 0;
	int r = 0;

	if (!f || torn == 0 || end >= next_first)
		return 0;
	if (next_first - end <= torn / JOURNAL_FRAME_HEADER_LEN)
		r = miss_until(f, next_first);
	rec->damaged_files += !f->damaged;
	f->damaged = true;
	return r;
}

static int load_files(struct journal *j, struct journal_lane *l, const struct journal_names *names,
		      struct journal_recovery *rec, struct error *e)
{
	size_t torn = 0;

	for (size_t i = 0; i < names->n; i++) {
		const struct journal_name *name = &names->at[i];
		AUTO(journal_file_free_ptr) struct journal_file *f = NULL;
		struct found found;
		int r;

		if (name->tombstone || name->lane != l->lane)
			continue;
		r = read_found(j, l, name, &found, rec, e);
		f = found.f;
		if (r == 0 && f && f->n == 0)
			r = discard_empty(j, l, names, i, f->bytes, rec, e);
		if (r < 0)
			return r;
		if (!f || f->n == 0)
			continue;
		if (lose_end(l, torn, f->first, rec) < 0)
			return error_set(e, -ENOMEM, "cannot recover the journal '%s': %m", j->dir);
		rec->damaged_files += f->damaged;
		torn = found.torn;
		r = adopt_file(j, l, f, rec, e);
		if (r < 0)
			return r;
		f = NULL;
	}
	return settle_newest(j, l, torn, rec, e);
}

static bool covered(const struct journal_lane *l, uint64_t position)
{
	size_t i = journal_files_find(&l->tombs, position);

	return i < l->tombs.n && position + l->tombs.at[i]->covers > l->tombs.at[i]->first;
}

/* A dropped frame whose file was not removed yet, or came back. */
static void hide_covered(struct journal_lane *l)
{
	for (size_t i = 0; i < l->files.n; i++) {
		struct journal_file *f = l->files.at[i];

		for (uint32_t k = 0; k < f->n; k++) {
			if (f->offsets[k] != 0 && covered(l, f->first + k))
				f->offsets[k] = 0;
		}
	}
}

/* The mark is of a file behind all that are here. */
static bool newest_is_gone(const struct journal_lane *l)
{
	return l->mark.file > 0 &&
	       (l->files.n == 0 || l->mark.file > l->files.at[l->files.n - 1]->number);
}

/* How many positions from..end-1 nobody acknowledged, dropped, or still has; LOST_MAX: as many, or more. */
static uint64_t count_lost(const struct journal_lane *l, uint64_t from, uint64_t end)
{
	uint64_t n = 0;
	uint32_t offset;

	for (uint64_t p = from > l->acked ? from : l->acked + 1; p < end && n < LOST_MAX; p++)
		n += !journal_locate(l, p, &offset) && !covered(l, p);
	return n;
}

/* Frames of the current epoch are missing: its chain cannot go on. Without the file acks nothing
 * counts as acknowledged: that begins one epoch too many, when files had been removed already. */
static bool chain_lost(const struct journal *j, const struct journal_lane *l,
		       struct journal_recovery *rec)
{
	uint64_t before = l->acked + 1, lost = 0;

	for (size_t i = 0; i < l->files.n; i++) {
		const struct journal_file *f = l->files.at[i];
		bool current = memcmp(f->epoch, j->epoch, sizeof(f->epoch)) == 0;

		if (current)
			lost += count_lost(l, before, journal_file_end(f));
		before = journal_file_end(f);
	}
	if (newest_is_gone(l))
		lost += count_lost(l, before, l->mark.position + 1);
	rec->lost_frames += lost;
	/* Durable once, or acknowledged, and the newest file never goes: somebody took it away. */
	return lost > 0 || newest_is_gone(l) || l->acked >= l->next;
}

static uint64_t end_of(const struct journal_files *list)
{
	return list->n > 0 ? journal_file_end(list->at[list->n - 1]) : 1;
}

/* What the lane's next batch continues. -EBADMSG: the newest frame is not a batch after all. */
static int find_tail(struct journal *j, struct journal_lane *l, struct error *e)
{
	struct journal_file *f = l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;
	struct journal_frame frame;
	struct batch_view view;
	int r;

	if (!f || memcmp(f->epoch, j->epoch, sizeof(f->epoch)) != 0)
		return 0;
	if (f->offsets[f->n - 1] == 0)
		return -EBADMSG;
	r = journal_file_read(j, l, f, f->offsets[f->n - 1], &frame, e);
	if (r < 0)
		return r;
	arena_reset(j->arena);
	r = batch_parse(frame.body, frame.len, j->arena, &view, e);
	if (r < 0)
		return r == -EPROTONOSUPPORT ? -EBADMSG : r;
	journal_tail_move(l, &view.header, &frame);
	return 0;
}

static int recover_lane(struct journal *j, struct journal_lane *l,
			const struct journal_names *names, struct journal_recovery *rec,
			struct error *e)
{
	int r = load_tombs(j, l, names, rec, e);

	if (r == 0)
		r = load_files(j, l, names, rec, e);
	if (r < 0)
		return r;
	l->next = end_of(&l->files) > end_of(&l->tombs) ? end_of(&l->files) : end_of(&l->tombs);
	l->next_file = names->next_file;
	hide_covered(l);
	r = find_tail(j, l, e);
	if (r < 0 && r != -EBADMSG)
		return error_wrap(e, r, "cannot recover the journal '%s'", j->dir);
	if (chain_lost(j, l, rec) || r < 0)
		j->chain_broken = true;
	if (l->next <= l->acked)
		l->next = l->acked + 1;
	return 0;
}

static int remove_leftovers(struct journal *j, const struct journal_names *names, struct error *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < names->n_leftovers; i++)
		r = unlink_name(j, names->leftovers[i], e);
	return r;
}

/* From now on what recovery found is what there is. Both slots: none may say more than the other. */
static void set_marks(struct journal *j)
{
	for (size_t i = 0; i < BATCH_LANES; i++) {
		struct journal_lane *l = &j->lanes[i];
		const struct journal_file *f = l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;

		if (newest_is_gone(l))
			l->mark = f ? (struct journal_mark){ f->number, f->bytes,
							     journal_file_end(f) - 1 } :
				      (struct journal_mark){ 0 };
		for (unsigned int slot = 0; slot < JOURNAL_MARK_SLOTS; slot++)
			journal_marker_set(&j->marker, l->lane, &l->mark);
	}
}

int journal_recover(struct journal *j, struct journal_recovery *ret_r, struct error *e)
{
	AUTO(journal_names_release) struct journal_names names = { 0 };
	struct journal_mark marks[BATCH_LANES];
	bool epoch_known = false;
	int r = journal_epoch_load(j, &epoch_known, e);

	if (r == 0)
		r = journal_acks_load(j, e);
	if (r == 0)
		r = journal_list(j->dir_fd, j->dir, &names, e);
	if (r == 0)
		r = remove_leftovers(j, &names, e);
	journal_marker_open(&j->marker, j->dir_fd, marks);
	for (size_t i = 0; i < BATCH_LANES; i++)
		j->lanes[i].mark = marks[i];
	for (size_t i = 0; r == 0 && i < BATCH_LANES; i++)
		r = recover_lane(j, &j->lanes[i], &names, ret_r, e);
	if (r < 0)
		return r;
	if (fsync(j->dir_fd) < 0)
		return error_set(e, -errno, "cannot sync the journal's folder '%s': %m", j->dir);
	if (!epoch_known || j->chain_broken) {
		ret_r->new_epoch = true;
		r = journal_epoch_begin(j, e);
	}
	if (r < 0)
		return r;
	set_marks(j);
	return journal_release(j, JOURNAL_KEEP, e);
}
