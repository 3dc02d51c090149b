/* SPDX-License-Identifier: Apache-2.0 */
/* What is in one segment that has no index file yet: rows, their tokens, streams, and where each number
 * of each stream is. Filled by the writer thread (under the store's lock once others may read it). */
#ifndef COLLECTOR_SEGMENT_TABLE_H
#define COLLECTOR_SEGMENT_TABLE_H

#include "collector/segment_index.h"

struct segment_table {
	struct row *rows;
	struct token_row *tokens; /* as many */
	uint32_t n_rows, max_rows;
	struct index_stream *streams;
	uint32_t n_streams, max_streams;
	uint32_t *stream_map; /* key hash to stream number + 1 */
	uint32_t *row_map; /* (stream, number) to row number + 1 */
	uint32_t map_rows; /* slots, a power of two; at most half are used */
	uint32_t map_streams;
	uint64_t token_bytes, end_bytes; /* memory of tokens; length of the streams in FRAME_END */
	uint32_t batches, tombstones;
	uint64_t events;
	int64_t first_wall_ns, last_wall_ns, first_received_ns, last_received_ns;
};

void segment_table_init(struct segment_table *t);
void segment_table_release(struct segment_table *t);
/* Room for n more rows and as many streams: what follows cannot fail then. -ENOMEM, -EFBIG. */
MUST_CHECK int segment_table_reserve(struct segment_table *t, uint32_t n);
/* The stream's number here, added when it is new. */
uint32_t segment_table_stream(struct segment_table *t, const struct stream_key *k,
			      uint64_t key_hash);
/* row.stream is set. Takes tokens.hashes (malloc'ed or NULL). Room was reserved. */
void segment_table_add(struct segment_table *t, const struct row *row, struct token_row tokens);
/* Rows that begin with this number of a stream: call with *ret_row UINT32_MAX for the first; false: no more. */
MUST_CHECK bool segment_table_find(const struct segment_table *t, const struct stream_key *k,
				   uint64_t key_hash, uint64_t number, uint32_t *ret_row,
				   uint32_t *ret_slot);

#endif
