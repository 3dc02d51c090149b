/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a journal file: a header, then frames. Pure functions; format: agent/README.md
 * "Journal". All integers little-endian, all sums CRC-32 (zlib). */
#ifndef AGENT_JOURNAL_FRAME_H
#define AGENT_JOURNAL_FRAME_H

#include "agent/journal.h"

#define JOURNAL_FILE_HEADER_LEN 64
#define JOURNAL_FRAME_HEADER_LEN 104
#define JOURNAL_CLASSES 16
#define JOURNAL_POSITION_MAX (1ull << 62)

struct journal_file_header {
	enum batch_lane lane;
	uint8_t epoch[BATCH_EPOCH_LEN];
	uint64_t first; /* position of its first frame */
	uint64_t number; /* of the file; as in its name */
};

struct journal_frame {
	enum journal_kind kind;
	uint64_t position;
	uint32_t covers; /* positions that it stands for, the last of which is its own: 1 for a batch */
	struct seal_hash hash; /* of the batch's header; a tombstone: of the last one dropped */
	uint64_t sequence; /* the highest of its boot, epoch and lane, in this batch or before it */
	uint16_t counts[JOURNAL_CLASSES]; /* events by class */
	const uint8_t *body; /* borrowed */
	uint32_t len;
};

/* What a place in a file turned out to hold. */
enum journal_found {
	JOURNAL_FOUND_FRAME,
	JOURNAL_FOUND_BAD_BODY, /* header true, body false: its length can be trusted */
	JOURNAL_FOUND_NOTHING, /* no frame begins here, or the file ends within it */
};

void journal_file_header_write(const struct journal_file_header *h,
			       uint8_t out[static JOURNAL_FILE_HEADER_LEN]);
/* -EBADMSG. */
MUST_CHECK int journal_file_header_read(const uint8_t *data, size_t len,
					struct journal_file_header *ret_h);

/* The header that stands before f->body in a file of this epoch and lane. */
void journal_frame_write(const struct journal_frame *f, const struct journal_file_header *h,
			 uint8_t out[static JOURNAL_FRAME_HEADER_LEN]);
/* What begins at data, of a file of this epoch and lane. */
enum journal_found journal_frame_read(const uint8_t *data, size_t len,
				      const struct journal_file_header *h,
				      struct journal_frame *ret_f);

/* A pass over a whole file's bytes. */
struct journal_scan {
	const uint8_t *data; /* of the whole file */
	size_t len;
	const struct journal_file_header *h;
	size_t at; /* where the next frame is looked for */
	size_t frame_at; /* where the frame just returned begins */
	uint64_t expect; /* position of the next frame; 0: whatever comes */
	size_t bad_from; /* 0: everything so far was good; else where bytes that are no frame begin */
	bool damaged; /* a good frame stood behind bad bytes */
};

void journal_scan_init(struct journal_scan *s, const uint8_t *data, size_t len,
		       const struct journal_file_header *h);
/* The next good frame; steps over what is not one. false at the end: then s->bad_from tells where the
 * tail begins that holds no good frame (0: there is none). */
MUST_CHECK bool journal_scan_next(struct journal_scan *s, struct journal_frame *ret_f);

/* Two small files, replaced as a whole. */
#define JOURNAL_NOTE_LEN 32
void journal_epoch_write(const uint8_t epoch[static BATCH_EPOCH_LEN],
			 uint8_t out[static JOURNAL_NOTE_LEN]);
MUST_CHECK int journal_epoch_read(const uint8_t *data, size_t len,
				  uint8_t ret_epoch[static BATCH_EPOCH_LEN]);
/* acked: position acknowledged per lane, critical first. */
void journal_acks_write(const uint64_t acked[static BATCH_LANES],
			uint8_t out[static JOURNAL_NOTE_LEN]);
MUST_CHECK int journal_acks_read(const uint8_t *data, size_t len,
				 uint64_t ret_acked[static BATCH_LANES]);

#endif
