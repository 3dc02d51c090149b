/* SPDX-License-Identifier: Apache-2.0 */
/* What an open journal holds in memory; for the files of journal.h only. */
#ifndef AGENT_JOURNAL_STATE_H
#define AGENT_JOURNAL_STATE_H

#include "agent/journal_frame.h"
#include "agent/journal_mark.h"

#define JOURNAL_FILE_BYTES_MAX MiB(8)
#define JOURNAL_NAME_MAX 64 /* of a file in the folder, with its NUL */
#define JOURNAL_DAMAGED_KEPT 8 /* files set aside; older ones are removed */

/* One file. Positions first .. first + n - 1 lie in it. */
struct journal_file {
	bool tombstone; /* NAME.tomb: one frame, at position first, that stands for covers positions */
	bool damaged;
	uint64_t number; /* of the file, rising within a lane */
	uint64_t first;
	uint32_t covers; /* of a tombstone */
	uint32_t n, n_max; /* offsets in use, allocated */
	uint32_t *offsets; /* where each frame begins; 0: missing (dropped, damaged) */
	uint64_t bytes; /* of the file */
	uint8_t epoch[BATCH_EPOCH_LEN];
};

struct journal_files {
	size_t n, max;
	struct journal_file **at; /* by position, ascending */
};

struct journal_lane {
	enum batch_lane lane;
	struct journal_files files, tombs;
	uint64_t acked; /* position; everything up to here is durable at the collector */
	uint64_t acked_saved; /* as the ack file has it */
	uint64_t next; /* position of the next frame */
	uint64_t next_file; /* number of the next file */
	int fd; /* of the newest file, to append to; -1: the next append begins a file */
	struct journal_tail tail;
	struct journal_mark mark; /* as it was found at the start */
	uint64_t dropped_frames, dropped_events;
};

/* What journal_must_drop named, until journal_drop. */
struct journal_pending {
	struct journal_file *file; /* NULL: none */
	uint64_t first;
	size_t n;
	struct seal_hash last_hash;
	uint64_t events;
};

struct journal {
	struct journal_config c;
	char *dir;
	int dir_fd, lock_fd;
	uint64_t file_bytes; /* a file is closed at this size */
	uint8_t epoch[BATCH_EPOCH_LEN];
	bool chain_broken; /* frames are missing: a new epoch has to begin before the next append */
	struct journal_lane lanes[BATCH_LANES];
	uint8_t *buf; /* one frame with its header; JOURNAL_FRAME_MAX + JOURNAL_FRAME_HEADER_LEN */
	struct arena *arena; /* of one header */
	struct journal_marker marker;
	const struct journal_file *read_file; /* open for reading, or NULL */
	int read_fd;
	struct journal_pending pending;
};

static inline struct journal_lane *journal_lane(const struct journal *j, enum batch_lane lane)
{
	return (struct journal_lane *)&j->lanes[lane == BATCH_LANE_BULK ? 1 : 0];
}
static inline uint64_t journal_file_end(const struct journal_file *f)
{
	return f->first + f->n;
}

/* journal_file.c: one file at a time, and lists of them. */
struct journal_file *journal_file_new(bool tombstone, uint64_t number, uint64_t first);
void journal_file_free(struct journal_file *f); /* NULL allowed */
void journal_file_name(const struct journal_file *f, enum batch_lane lane,
		       char buf[static JOURNAL_NAME_MAX]);
/* Note that the frame at the end of f begins at offset (0: missing). -ENOMEM. */
MUST_CHECK int journal_file_note(struct journal_file *f, uint32_t offset);
/* Room for one more, so that the next push or note cannot fail. -ENOMEM. */
MUST_CHECK int journal_files_reserve(struct journal_files *l);
MUST_CHECK int journal_file_reserve(struct journal_file *f);
void journal_files_push(struct journal_files *l, struct journal_file *f);
void journal_files_free(struct journal_files *l);
/* As it counts against the budget: whole blocks. */
uint64_t journal_file_disk(const struct journal_file *f);
uint64_t journal_disk(const struct journal *j);
/* The file that holds position, or the first behind it; l->n: none. */
size_t journal_files_find(const struct journal_files *l, uint64_t position);
/* Where position's frame lies: its file, or NULL. */
struct journal_file *journal_locate(const struct journal_lane *l, uint64_t position,
				    uint32_t *ret_offset);
/* Write a new frame at the end of f through fd (a new one begins with its file header); durable on
 * return, the directory entry too. Errors leave the file with a tail that is no frame, or a frame. */
MUST_CHECK int journal_file_append(struct journal *j, int fd, const struct journal_file_header *h,
				   const struct journal_frame *frame, uint64_t offset,
				   struct error *e);
/* Read and check one frame; ret_f->body in j->buf. -EBADMSG: it is not there as it was written. */
MUST_CHECK int journal_file_read(struct journal *j, const struct journal_lane *l,
				 const struct journal_file *f, uint32_t offset,
				 struct journal_frame *ret_f, struct error *e);
/* No descriptor of f stays open. */
void journal_file_forget(struct journal *j, const struct journal_file *f);
/* Unlink it, or rename it to NAME.damaged. The caller removes it from its list. */
MUST_CHECK int journal_file_remove(struct journal *j, const struct journal_lane *l,
				   const struct journal_file *f, struct error *e);

/* journal_note.c: the files epoch and acks. */
MUST_CHECK int journal_epoch_begin(struct journal *j,
				   struct error *e); /* durable; the tails are empty */
MUST_CHECK int journal_epoch_load(struct journal *j, bool *ret_known, struct error *e);
MUST_CHECK int journal_acks_save(struct journal *j, struct error *e);
MUST_CHECK int journal_acks_load(struct journal *j, struct error *e);

/* journal_room.c: remove what is acknowledged or dropped. keep: how many of the newest frames stay. */
MUST_CHECK int journal_release(struct journal *j, uint64_t keep, struct error *e);

/* journal.c: frame, whose header is h, is the lane's newest. */
void journal_tail_move(struct journal_lane *l, const struct batch_header *h,
		       const struct journal_frame *frame);

/* journal_recover.c: from the folder to the state. */
MUST_CHECK int journal_recover(struct journal *j, struct journal_recovery *ret_r, struct error *e);

#endif
