/* SPDX-License-Identifier: Apache-2.0 */
/* What the store remembers of one stored frame, in memory and in the index alike, and the key of the
 * stream that a batch or tombstone belongs to. */
#ifndef COLLECTOR_ROW_H
#define COLLECTOR_ROW_H

#include "collector/segment.h"

struct stream_key {
	struct batch_name tenant, host_id;
	uint8_t boot_id[BATCH_BOOT_LEN], epoch[BATCH_EPOCH_LEN];
	uint8_t lane;
};

#define ROW_CONFLICT 1u
#define ROW_HAS_PREVIOUS 2u

struct row {
	uint64_t offset; /* of the frame's head */
	uint32_t length; /* of its body */
	uint32_t stream; /* index in the segment's own list; ROW_NO_STREAM: host and retention records */
	uint8_t kind; /* enum frame_kind, the first four; what follows is 0 for the last two of them */
	uint8_t flags;
	uint32_t numbers; /* batch: 1; tombstone: how many are dropped */
	uint64_t number; /* the first */
	uint64_t first_sequence, last_sequence;
	uint32_t count, gaps; /* as store_ref has them */
	int64_t first_wall_ns, last_wall_ns, offset_ns, received_ns, watermark_wall_ns;
	struct seal_hash hash; /* of the (last) header */
	struct seal_hash previous; /* that the (first) header names */
};

#define ROW_PACKED 168
#define ROW_NO_STREAM UINT32_MAX

bool stream_key_equal(const struct stream_key *a, const struct stream_key *b);
/* 64 bits of SHA-256 over the key: hosts cannot aim at collisions cheaply. -ENOMEM. */
MUST_CHECK int stream_key_hash(const struct stream_key *k, uint64_t *ret_hash);
void batch_name_set(struct batch_name *n, const void *data, size_t len); /* len <= BATCH_NAME_MAX */
bool batch_name_equal(const struct batch_name *a, const struct batch_name *b);
int batch_name_compare(const struct batch_name *a, const struct batch_name *b);

/* The row of a parsed batch or tombstone (kind, key and everything but offset, stream, conflict). */
void row_of_batch(const struct batch_view *v, struct row *ret_row, struct stream_key *ret_key);
void row_of_tombstone(const struct batch_tombstone *t, struct row *ret_row,
		      struct stream_key *ret_key);

/* ordinal: the row's number, part of its checksum. */
void row_pack(const struct row *row, uint32_t ordinal, uint8_t buf[static ROW_PACKED]);
MUST_CHECK bool row_parse(const uint8_t buf[static ROW_PACKED], uint32_t ordinal,
			  struct row *ret_row);

#endif
