/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>

#include "agent/journal_room.h"
#include "agent/journal_state.h"
#include "proto/base/files.h"

#define BUDGET_MIN KiB(64)
#define FILES_PER_BUDGET 32 /* so that removing one gives back little enough */
#define FILE_BYTES_MIN KiB(4)
#define ARENA_MAX MiB(4) /* of one header, and what unknown fields can make of it */
#define ARENA_KEPT KiB(256)
#define ACKS_BETWEEN_SAVES 64

static int open_folder(struct journal *j, struct error *e)
{
	int r = files_mkdirs(j->dir, 0700, e);

	if (r < 0)
		return r;
	j->dir_fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->dir_fd < 0)
		return error_set(e, -errno, "cannot open the journal's folder '%s': %m", j->dir);
	j->lock_fd = openat(j->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->lock_fd < 0)
		return error_set(e, -errno, "cannot open '%s/lock': %m", j->dir);
	if (flock(j->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		(void)error_set(e, r, "cannot lock the journal '%s': %m", j->dir);
		error_hint(e,
			   "another agent uses it; stop that, or give this one another state.dir");
		return r;
	}
	return 0;
}

static void journal_close_ptr(struct journal **j)
{
	journal_close(*j);
}

static uint64_t choose_file_bytes(uint64_t max_bytes)
{
	uint64_t bytes = max_bytes / FILES_PER_BUDGET;

	if (bytes > JOURNAL_FILE_BYTES_MAX)
		return JOURNAL_FILE_BYTES_MAX;
	return bytes < FILE_BYTES_MIN ? FILE_BYTES_MIN : bytes;
}

static struct journal *make(const struct journal_config *c)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->c = *c;
	j->dir_fd = j->lock_fd = j->read_fd = j->marker.fd = -1;
	for (size_t i = 0; i < BATCH_LANES; i++)
		j->lanes[i] = (struct journal_lane){
			.lane = (enum batch_lane)(i + 1), .fd = -1, .next = 1, .next_file = 1
		};
	j->file_bytes = choose_file_bytes(c->max_bytes);
	j->dir = strdup(c->dir);
	j->buf = malloc(JOURNAL_FRAME_HEADER_LEN + JOURNAL_FRAME_MAX);
	j->arena = arena_new(ARENA_MAX, ARENA_KEPT);
	/* Taken now, so that later no header counts as damaged because memory is short. */
	if (!j->dir || !j->buf || !j->arena || !arena_alloc(j->arena, ARENA_KEPT / 2)) {
		journal_close(j);
		return NULL;
	}
	return j;
}

int journal_open(const struct journal_config *c, struct journal **ret_j,
		 struct journal_recovery *ret_r, struct error *e)
{
	AUTO(journal_close_ptr) struct journal *j = NULL;
	int r;

	*ret_r = (struct journal_recovery){ 0 };
	if (c->max_bytes < BUDGET_MIN)
		return error_set(e, -EINVAL,
				 "cannot open the journal '%s' with %" PRIu64
				 " bytes: the least are %u",
				 c->dir, c->max_bytes, (unsigned int)BUDGET_MIN);
	j = make(c);
	if (!j)
		return error_set(e, -ENOMEM, "cannot open the journal '%s': %m", c->dir);
	r = open_folder(j, e);
	if (r == 0)
		r = journal_recover(j, ret_r, e);
	if (r < 0)
		return r;
	*ret_j = TAKE(j);
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	for (size_t i = 0; i < BATCH_LANES; i++) {
		struct journal_lane *l = &j->lanes[i];

		/* Failing that, some frames are sent twice. */
		if (l->acked != l->acked_saved && j->dir_fd >= 0)
			(void)!journal_acks_save(j, NULL);
		close_fd(&l->fd);
		journal_files_free(&l->files);
		journal_files_free(&l->tombs);
	}
	journal_marker_close(&j->marker);
	close_fd(&j->read_fd);
	close_fd(&j->lock_fd);
	close_fd(&j->dir_fd);
	arena_free(j->arena);
	free(j->buf);
	free(j->dir);
	free(j);
}

const uint8_t *journal_epoch(const struct journal *j)
{
	return j->epoch;
}

void journal_tail_move(struct journal_lane *l, const struct batch_header *h,
		       const struct journal_frame *frame)
{
	l->tail = (struct journal_tail){
		.has_hash = true,
		.hash = frame->hash,
		.number = h->number,
		.last_sequence = frame->sequence,
		.watermark_ns = h->watermark_ns,
		.sealed_wall_ns = h->sealed_wall_ns,
		.sealed_boottime_ns = h->sealed_boottime_ns,
	};
	memcpy(l->tail.boot_id, h->boot_id, sizeof(l->tail.boot_id));
}

void journal_tail(const struct journal *j, enum batch_lane lane, struct journal_tail *ret_t)
{
	*ret_t = journal_lane(j, lane)->tail;
}

/* A batch that was sealed before a new epoch began, or out of order, must not enter the chain. */
static int check_continues(struct journal *j, const struct journal_lane *l,
			   const struct batch_header *h, struct error *e)
{
	if (j->chain_broken) {
		int r = journal_epoch_begin(j, e);

		if (r < 0)
			return r;
	}
	if (memcmp(h->epoch, j->epoch, sizeof(h->epoch)) != 0 ||
	    h->has_previous != l->tail.has_hash ||
	    (h->has_previous && memcmp(h->previous.b, l->tail.hash.b, SEAL_HASH_LEN) != 0))
		return error_set(e, -ESTALE,
				 "cannot append batch %" PRIu64
				 ": the journal's chain is elsewhere",
				 h->number);
	return 0;
}

/* A batch without events does not move the sequence; a boot begins it anew. */
static uint64_t highest_sequence(const struct journal_lane *l, const struct batch_header *h)
{
	bool same_boot = l->tail.has_hash &&
			 memcmp(l->tail.boot_id, h->boot_id, sizeof(h->boot_id)) == 0;

	return h->last_sequence > 0 || !same_boot ? h->last_sequence : l->tail.last_sequence;
}

static int fill_frame(struct journal_frame *f, const struct journal_lane *l,
		      const struct batch_header *h, const struct seal_hash *hash,
		      const uint64_t counts[static 16], const void *bytes, size_t len,
		      struct error *e)
{
	*f = (struct journal_frame){
		.kind = JOURNAL_BATCH,
		.position = l->next,
		.covers = 1,
		.hash = *hash,
		.sequence = highest_sequence(l, h),
		.body = bytes,
	};
	if (len == 0 || len > JOURNAL_FRAME_MAX)
		return error_set(e, -EINVAL, "cannot append a batch of %zu bytes: the most are %u",
				 len, (unsigned int)JOURNAL_FRAME_MAX);
	f->len = (uint32_t)len;
	for (size_t i = 0; i < JOURNAL_CLASSES; i++) {
		if (counts[i] > BATCH_EVENTS_MAX)
			return error_set(e, -EINVAL,
					 "cannot append a batch with %" PRIu64 " events",
					 counts[i]);
		f->counts[i] = (uint16_t)counts[i];
	}
	return 0;
}

static struct journal_file *newest(const struct journal_lane *l)
{
	return l->files.n > 0 ? l->files.at[l->files.n - 1] : NULL;
}

/* The file that the next frame goes into; a new one is not in the list before its frame is durable. */
static int choose_file(struct journal *j, struct journal_lane *l, uint32_t len,
		       struct journal_file **ret_f, bool *ret_new, struct error *e)
{
	struct journal_file *f = newest(l);
	char name[JOURNAL_NAME_MAX];

	*ret_new = false;
	*ret_f = f;
	if (l->fd >= 0 && f && f->bytes + JOURNAL_FRAME_HEADER_LEN + len <= j->file_bytes)
		return journal_file_reserve(f) < 0 ?
			       error_set(e, -ENOMEM, "cannot append to the journal: %m") :
			       0;
	close_fd(&l->fd);
	l->fd = -1;
	f = journal_file_new(false, l->next_file, l->next);
	if (!f || journal_file_reserve(f) < 0 || journal_files_reserve(&l->files) < 0) {
		journal_file_free(f);
		return error_set(e, -ENOMEM, "cannot append to the journal: %m");
	}
	memcpy(f->epoch, j->epoch, sizeof(f->epoch));
	journal_file_name(f, l->lane, name);
	/* Its name is never used again, whatever becomes of it. */
	l->next_file++;
	l->fd = openat(j->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->fd < 0) {
		journal_file_free(f);
		return error_set(e, -errno, "cannot create '%s/%s': %m", j->dir, name);
	}
	*ret_new = true;
	*ret_f = f;
	return 0;
}

/* After a failed write or sync nobody knows what the disk holds: never write to that file again. */
static void abandon(struct journal *j, struct journal_lane *l, struct journal_file *f, bool new)
{
	if (new)
		(void)!journal_file_remove(j, l, f, NULL);
	else
		(void)!ftruncate(l->fd, (off_t)f->bytes);
	if (new)
		journal_file_free(f);
	close_fd(&l->fd);
	l->fd = -1;
}

int journal_append(struct journal *j, const struct batch_header *header,
		   const struct seal_hash *hash, const uint64_t counts[static 16],
		   const void *bytes, size_t len, struct error *e)
{
	struct journal_lane *l = journal_lane(j, header->lane);
	struct journal_file_header fh = { .lane = l->lane };
	struct journal_frame frame = { 0 };
	struct journal_file *f = NULL;
	bool new = false;
	int r = check_continues(j, l, header, e);

	if (r == 0)
		r = fill_frame(&frame, l, header, hash, counts, bytes, len, e);
	if (r < 0)
		return r;
	if (!journal_fits(j, l, len))
		return error_set(e, -ENOSPC,
				 "the journal '%s' is full: all of its %" PRIu64
				 " bytes wait for the collector",
				 j->dir, j->c.max_bytes);
	r = choose_file(j, l, frame.len, &f, &new, e);
	if (r < 0)
		return r;
	fh.first = f->first;
	fh.number = f->number;
	memcpy(fh.epoch, f->epoch, sizeof(fh.epoch));
	r = journal_file_append(j, l->fd, &fh, &frame, f->bytes, e);
	if (r < 0) {
		abandon(j, l, f, new);
		return r;
	}
	f->bytes += new ? JOURNAL_FILE_HEADER_LEN : 0;
	f->offsets[f->n++] = (uint32_t)f->bytes;
	f->bytes += JOURNAL_FRAME_HEADER_LEN + len;
	if (new)
		journal_files_push(&l->files, f);
	journal_marker_set(&j->marker, l->lane,
			   &(struct journal_mark){ f->number, f->bytes, frame.position });
	l->next++;
	journal_tail_move(l, header, &frame);
	return 0;
}

/* The first readable position of one list that is not below position; 0: none. */
static uint64_t next_in(const struct journal_files *list, uint64_t position)
{
	for (size_t i = journal_files_find(list, position); i < list->n; i++) {
		const struct journal_file *f = list->at[i];
		uint32_t k = position > f->first ? (uint32_t)(position - f->first) : 0;

		for (; k < f->n; k++) {
			if (f->offsets[k] != 0)
				return f->first + k;
		}
	}
	return 0;
}

uint64_t journal_next(const struct journal *j, enum batch_lane lane, uint64_t position)
{
	const struct journal_lane *l = journal_lane(j, lane);
	uint64_t batch = next_in(&l->files, position);
	uint64_t tomb = next_in(&l->tombs, position);

	if (batch == 0 && tomb == 0)
		return l->next;
	return batch == 0 || (tomb > 0 && tomb < batch) ? tomb : batch;
}

void journal_range(const struct journal *j, enum batch_lane lane, uint64_t *ret_first,
		   uint64_t *ret_last)
{
	const struct journal_lane *l = journal_lane(j, lane);

	*ret_first = journal_next(j, lane, l->acked + 1);
	*ret_last = l->next - 1;
}

static int lost(struct journal *j, struct journal_file *f, uint64_t position, struct error *e)
{
	int r = 0;

	f->offsets[position - f->first] = 0;
	f->damaged = true;
	if (memcmp(f->epoch, j->epoch, sizeof(f->epoch)) == 0) {
		j->chain_broken = true;
		r = journal_epoch_begin(j, NULL);
	}
	/* The sentence about the frame stays; that there is no new epoch yet is tried again. */
	return r < 0 ? error_wrap(e, r, "cannot begin a new epoch after damage") : -EBADMSG;
}

int journal_read(struct journal *j, enum batch_lane lane, uint64_t position,
		 enum journal_kind *ret_kind, const uint8_t **ret_bytes, size_t *ret_len,
		 struct error *e)
{
	const struct journal_lane *l = journal_lane(j, lane);
	struct journal_frame frame;
	uint32_t offset;
	struct journal_file *f = journal_locate(l, position, &offset);
	int r;

	if (!f)
		return error_set(e, -ENOENT, "the journal has no frame at position %" PRIu64,
				 position);
	r = journal_file_read(j, l, f, offset, &frame, e);
	if (r == 0 && frame.position != position)
		r = error_set(e, -EBADMSG, "a frame in the journal '%s' stands in the wrong place",
			      j->dir);
	if (r == -EBADMSG)
		return lost(j, f, position, e);
	if (r < 0)
		return r;
	*ret_kind = frame.kind;
	*ret_bytes = frame.body;
	*ret_len = frame.len;
	return 0;
}

int journal_lose(struct journal *j, enum batch_lane lane, uint64_t position, struct error *e)
{
	uint32_t offset;
	struct journal_file *f = journal_locate(journal_lane(j, lane), position, &offset);

	if (!f)
		return error_set(e, -ENOENT, "the journal has no frame at position %" PRIu64,
				 position);
	int r = lost(j, f, position, e);

	return r == -EBADMSG ? 0 : r;
}

int journal_ack(struct journal *j, enum batch_lane lane, uint64_t position,
		const struct seal_hash *hash, struct error *e)
{
	struct journal_lane *l = journal_lane(j, lane);
	struct journal_frame frame;
	uint32_t offset;
	const struct journal_file *f = position > l->acked ? journal_locate(l, position, &offset) :
							     NULL;
	int r = f ? journal_file_read(j, l, f, offset, &frame, e) : -ENOENT;

	if (r == -EBADMSG || (r == 0 && memcmp(frame.hash.b, hash->b, sizeof(hash->b)) != 0))
		r = -ENOENT;
	if (r == -ENOENT)
		return error_set(e, r,
				 "the journal has no frame with that hash at position %" PRIu64,
				 position);
	if (r < 0)
		return r;
	l->acked = position;
	if (l->acked - l->acked_saved >= ACKS_BETWEEN_SAVES) {
		r = journal_acks_save(j, e);
		if (r < 0 && r != -ENOSPC && r != -EDQUOT)
			return r;
	}
	return journal_release(j, JOURNAL_KEEP, e);
}

static uint64_t count_frames(const struct journal_files *list, uint64_t above)
{
	uint64_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		for (uint32_t k = 0; k < list->at[i]->n; k++)
			n += list->at[i]->offsets[k] != 0 && list->at[i]->first + k > above;
	return n;
}

void journal_stats(const struct journal *j, enum batch_lane lane, struct journal_stats *ret_s)
{
	const struct journal_lane *l = journal_lane(j, lane);

	*ret_s = (struct journal_stats){
		.frames = count_frames(&l->files, 0) + count_frames(&l->tombs, 0),
		.unacknowledged =
			count_frames(&l->files, l->acked) + count_frames(&l->tombs, l->acked),
		.dropped_frames = l->dropped_frames,
		.dropped_events = l->dropped_events,
	};
	for (size_t i = 0; i < l->files.n; i++)
		ret_s->bytes += journal_file_disk(l->files.at[i]);
	for (size_t i = 0; i < l->tombs.n; i++)
		ret_s->bytes += journal_file_disk(l->tombs.at[i]);
}
