/* SPDX-License-Identifier: Apache-2.0 */
/* Removing files: what is acknowledged, and, when the budget is used up, the oldest of bulk under a
 * tombstone. The order is always: the reason is durable, then the file goes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/journal_room.h"
#include "agent/journal_state.h"
#include "proto/base/files.h"

/* No frame of f is still wanted. keep: how many of the lane's newest positions stay. */
static bool spent(const struct journal_lane *l, const struct journal_file *f, uint64_t keep)
{
	bool readable = false;

	for (uint32_t i = 0; i < f->n; i++) {
		uint64_t position = f->first + i;

		if (f->offsets[i] == 0)
			continue;
		readable = true;
		if (position > l->acked)
			return false;
	}
	return !readable || journal_file_end(f) + keep <= l->next;
}

static void take_out(struct journal_files *list, size_t i)
{
	journal_file_free(list->at[i]);
	list->n--;
	memmove(&list->at[i], &list->at[i + 1], (list->n - i) * sizeof(struct journal_file *));
}

/* The newest file always stays: it carries the chain on. */
static bool removable(const struct journal_lane *l, const struct journal_files *list, size_t i,
		      uint64_t keep)
{
	if (list == &l->files && i == list->n - 1)
		return false;
	return spent(l, list->at[i], list == &l->files ? keep : 0);
}

static int release_list(struct journal *j, struct journal_lane *l, struct journal_files *list,
			uint64_t keep, struct error *e)
{
	for (size_t i = 0; i < list->n;) {
		int r;

		if (!removable(l, list, i, keep)) {
			i++;
			continue;
		}
		if (l->acked != l->acked_saved) {
			r = journal_acks_save(j, e);
			/* On a full disk removing comes first: what is sent again costs less. */
			if (r < 0 && r != -ENOSPC && r != -EDQUOT)
				return r;
		}
		if (j->pending.file == list->at[i])
			j->pending = (struct journal_pending){ 0 };
		r = journal_file_remove(j, l, list->at[i], e);
		if (r < 0)
			return r;
		take_out(list, i);
	}
	return 0;
}

int journal_release(struct journal *j, uint64_t keep, struct error *e)
{
	for (size_t i = 0; i < BATCH_LANES; i++) {
		struct journal_lane *l = &j->lanes[i];
		int r = release_list(j, l, &l->files, keep, e);

		if (r == 0)
			r = release_list(j, l, &l->tombs, keep, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A tombstone is written before the file that it stands for goes. */
static uint64_t reserve(const struct journal *j)
{
	return j->c.max_bytes / 8 < KiB(256) ? j->c.max_bytes / 8 : KiB(256);
}

bool journal_fits(const struct journal *j, const struct journal_lane *l, size_t len)
{
	struct journal_file next = { .bytes = JOURNAL_FILE_HEADER_LEN + JOURNAL_FRAME_HEADER_LEN +
					      len };
	const struct journal_file *last = l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;
	uint64_t used = journal_disk(j);

	if (l->fd >= 0 && last && last->bytes + JOURNAL_FRAME_HEADER_LEN + len <= j->file_bytes) {
		next.bytes = last->bytes + JOURNAL_FRAME_HEADER_LEN + len;
		used -= journal_file_disk(last);
	}
	return used + journal_file_disk(&next) <= j->c.max_bytes - reserve(j);
}

/* The oldest bulk file with a frame that is not acknowledged; never the newest. */
static struct journal_file *oldest(const struct journal_lane *l, uint64_t *ret_position)
{
	for (size_t i = 0; i + 1 < l->files.n; i++) {
		struct journal_file *f = l->files.at[i];

		for (uint32_t k = 0; k < f->n; k++) {
			if (f->offsets[k] == 0 || f->first + k <= l->acked)
				continue;
			*ret_position = f->first + k;
			return f;
		}
	}
	return NULL;
}

static void describe(const struct journal_frame *frame, const struct batch_header *h,
		     struct batch_dropped *d)
{
	*d = (struct batch_dropped){
		.number = h->number,
		.first_sequence = h->first_sequence,
		.last_sequence = h->last_sequence,
		.first_boottime_ns = h->first_boottime_ns,
		.last_boottime_ns = h->last_boottime_ns,
		.header_hash = frame->hash,
		.previous = h->previous,
		.has_previous = h->has_previous,
	};
	for (size_t i = 0; i < JOURNAL_CLASSES; i++)
		d->counts[i] = frame->counts[i];
}

static void describe_run(const struct batch_header *h, struct batch_tombstone *t)
{
	t->tenant = h->tenant;
	t->host_id = h->host_id;
	t->lane = h->lane;
	memcpy(t->boot_id, h->boot_id, sizeof(t->boot_id));
	memcpy(t->epoch, h->epoch, sizeof(t->epoch));
	t->offset_ns = h->sealed_wall_ns - (int64_t)h->sealed_boottime_ns;
}

static bool continues(const struct batch_tombstone *t, const struct batch_header *h)
{
	const struct batch_dropped *before = &t->dropped[t->n_dropped - 1];

	return memcmp(t->boot_id, h->boot_id, sizeof(t->boot_id)) == 0 &&
	       h->number == before->number + 1 &&
	       memcmp(h->previous.b, before->header_hash.b, SEAL_HASH_LEN) == 0;
}

/* Add the frame at position to the run. 1: done; 0: it begins another run; -EBADMSG: it is damaged;
 * others: try later. */
static int extend_run(struct journal *j, const struct journal_lane *l, struct journal_file *f,
		      uint64_t position, struct batch_tombstone *t)
{
	uint32_t offset = f->offsets[position - f->first];
	struct journal_frame frame;
	struct batch_view view;
	int r = offset > 0 ? journal_file_read(j, l, f, offset, &frame, NULL) : -EBADMSG;

	if (r < 0)
		return r;
	arena_reset(j->arena);
	r = batch_parse(frame.body, frame.len, j->arena, &view, NULL);
	if (r < 0)
		return r == -EPROTONOSUPPORT ? -EBADMSG : r;
	if (t->n_dropped == 0)
		describe_run(&view.header, t);
	else if (!continues(t, &view.header))
		return 0;
	describe(&frame, &view.header, &t->dropped[t->n_dropped++]);
	return 1;
}

/* How many; negative: the first one cannot be read, as extend_run. */
static int gather_run(struct journal *j, const struct journal_lane *l, struct journal_file *f,
		      uint64_t first, struct batch_tombstone *t, size_t max)
{
	uint64_t events = 0;
	int r = 1;

	t->n_dropped = 0;
	for (uint64_t p = first; r > 0 && p < journal_file_end(f) && t->n_dropped < max; p++)
		r = extend_run(j, l, f, p, t);
	if (t->n_dropped == 0)
		return r;
	for (size_t i = 0; i < t->n_dropped; i++)
		for (size_t k = 0; k < JOURNAL_CLASSES; k++)
			events += t->dropped[i].counts[k];
	j->pending = (struct journal_pending){
		.file = f,
		.first = first,
		.n = t->n_dropped,
		.last_hash = t->dropped[t->n_dropped - 1].header_hash,
		.events = events,
	};
	return (int)t->n_dropped;
}

/* A frame that cannot be read stands in the way of those behind it: from now on it is missing. */
static void give_up(struct journal *j, struct journal_file *f, uint64_t position)
{
	f->offsets[position - f->first] = 0;
	f->damaged = true;
	if (memcmp(f->epoch, j->epoch, sizeof(f->epoch)) == 0)
		j->chain_broken = true;
}

size_t journal_must_drop(struct journal *j, enum batch_lane lane, size_t len,
			 struct batch_tombstone *t, size_t max)
{
	const struct journal_lane *bulk = journal_lane(j, BATCH_LANE_BULK);
	struct journal_file *f;
	uint64_t position;

	j->pending = (struct journal_pending){ 0 };
	t->n_dropped = 0;
	if (max > BATCH_DROPPED_MAX)
		max = BATCH_DROPPED_MAX;
	if (journal_fits(j, journal_lane(j, lane), len))
		return 0;
	/* What is acknowledged goes before anything that is not; failing that, the append says why. */
	if (journal_release(j, 0, NULL) < 0 || journal_fits(j, journal_lane(j, lane), len))
		return 0;
	if (j->c.policy == JOURNAL_DROP_NEW || max == 0)
		return 0;
	while ((f = oldest(bulk, &position)) != NULL) {
		int n = gather_run(j, bulk, f, position, t, max);

		if (n != -EBADMSG)
			return n > 0 ? (size_t)n : 0;
		give_up(j, f, position);
	}
	/* A file that held nothing but what was given up is free now. */
	(void)!journal_release(j, 0, NULL);
	return 0;
}

static int write_tombstone(struct journal *j, const struct journal_lane *l,
			   struct journal_file *tomb, const struct journal_frame *frame,
			   struct error *e)
{
	struct journal_file_header h = { .lane = l->lane, .first = tomb->first };
	AUTO(free_ptr) uint8_t *file = NULL;
	AUTO(free_ptr) char *path = NULL;
	char name[JOURNAL_NAME_MAX];

	memcpy(h.epoch, tomb->epoch, sizeof(h.epoch));
	journal_file_name(tomb, l->lane, name);
	tomb->bytes = JOURNAL_FILE_HEADER_LEN + JOURNAL_FRAME_HEADER_LEN + (uint64_t)frame->len;
	file = malloc(tomb->bytes);
	if (!file || asprintf(&path, "%s/%s", j->dir, name) < 0) {
		path = NULL;
		return error_set(e, -ENOMEM, "cannot write a tombstone: %m");
	}
	journal_file_header_write(&h, file);
	journal_frame_write(frame, &h, file + JOURNAL_FILE_HEADER_LEN);
	memcpy(file + JOURNAL_FILE_HEADER_LEN + JOURNAL_FRAME_HEADER_LEN, frame->body, frame->len);
	return files_replace(path, file, tomb->bytes, 0600, e);
}

static void journal_file_free_ptr(struct journal_file **f)
{
	journal_file_free(*f);
}

int journal_drop(struct journal *j, size_t n, const void *bytes, size_t len, struct error *e)
{
	struct journal_lane *l = journal_lane(j, BATCH_LANE_BULK);
	struct journal_pending p = j->pending;
	AUTO(journal_file_free_ptr) struct journal_file *tomb = NULL;
	struct journal_frame frame = { .kind = JOURNAL_TOMBSTONE, .body = bytes };
	int r;

	if (!p.file || n != p.n || len == 0 || len > JOURNAL_FRAME_MAX)
		return error_set(e, -EINVAL,
				 "cannot drop %zu frames: journal_must_drop did not name them", n);
	frame.position = p.first + n - 1;
	frame.covers = (uint32_t)n;
	frame.hash = p.last_hash;
	frame.len = (uint32_t)len;
	tomb = journal_file_new(true, 0, frame.position);
	if (!tomb || journal_file_note(tomb, JOURNAL_FILE_HEADER_LEN) < 0 ||
	    journal_files_reserve(&l->tombs) < 0)
		return error_set(e, -ENOMEM, "cannot write a tombstone: %m");
	tomb->covers = frame.covers;
	memcpy(tomb->epoch, p.file->epoch, sizeof(tomb->epoch));
	r = write_tombstone(j, l, tomb, &frame, e);
	if (r < 0)
		return error_wrap(e, r, "cannot make room in the journal");
	for (uint64_t k = p.first; k <= frame.position; k++)
		p.file->offsets[k - p.file->first] = 0;
	journal_files_push(&l->tombs, TAKE(tomb));
	l->dropped_frames += n;
	l->dropped_events += p.events;
	j->pending = (struct journal_pending){ 0 };
	/* The tombstone is there; a file that cannot be removed now is removed at the next start. */
	(void)!journal_release(j, JOURNAL_KEEP, NULL);
	return 0;
}
