/* SPDX-License-Identifier: Apache-2.0 */
/* The index file beside a sealed segment: a row per batch, its streams, its tokens. Derived: anything
 * here can be built again from the segment. Every read is bounded and checked by a sum, so that damage
 * shows as -EBADMSG and never as a wrong answer. Format: collector/README.md "index".
 * Writing belongs to the writer thread; an open index is read-only and for any thread. */
#ifndef COLLECTOR_SEGMENT_INDEX_H
#define COLLECTOR_SEGMENT_INDEX_H

#include "collector/row.h"
#include "collector/token_index.h"

/* One stream's part in a segment. */
struct index_stream {
	struct stream_key key;
	uint64_t key_hash;
	uint64_t first_number, last_number;
	uint32_t first, rows; /* its place in the list of rows by stream and number */
	uint32_t list_crc; /* of that part of the list */
};

/* What the header says: all that the store keeps of a sealed segment in memory. */
struct index_summary {
	struct segment_id id;
	uint64_t segment_bytes, index_bytes;
	struct seal_hash segment_sha256; /* of the whole file */
	struct seal_hash root;
	uint32_t frames, rows, streams, batches;
	uint64_t events;
	int64_t first_wall_ns, last_wall_ns, first_received_ns, last_received_ns;
};

/* What is to be written: rows in the order of the file, stream numbers into streams. */
struct index_source {
	struct index_summary summary; /* index_bytes, rows, streams: set by the writer */
	const struct row *rows;
	const struct token_row *tokens; /* as many */
	uint32_t n_rows;
	struct index_stream *streams; /* key and key_hash filled; the rest is computed here */
	uint32_t n_streams;
};

/* Write name in dirfd, fsynced. -ENOMEM, -EFBIG, -ENOSPC, -EIO. */
MUST_CHECK int segment_index_write(struct index_source *s, int dirfd, const char *name,
				   struct index_summary *ret_summary, struct error *e);

struct segment_index;

/* Open and check the header. -ENOENT, -EBADMSG, -ENOMEM, -EIO. */
MUST_CHECK int segment_index_open(int dirfd, const char *name, struct segment_index **ret_i,
				  struct error *e);
/* The same over other bytes (the fuzzer's): ctx outlives i. */
MUST_CHECK int segment_index_over(segment_read_fn read, void *ctx, uint64_t size,
				  struct segment_index **ret_i, struct error *e);
void segment_index_close(struct segment_index *i); /* NULL allowed */
static inline void segment_index_close_ptr(struct segment_index **i)
{
	segment_index_close(*i);
}
const struct index_summary *segment_index_summary(const struct segment_index *i);
uint32_t segment_index_bits(const struct segment_index *i); /* 2^bits buckets of tokens */

/* Rows one after the other or here and there, read in pieces. A cursor belongs to one thread. */
struct row_cursor {
	const struct segment_index *index;
	uint32_t from, n; /* what is in buffer */
	uint8_t *buffer;
};
void row_cursor_init(struct row_cursor *c, const struct segment_index *i);
void row_cursor_release(struct row_cursor *c);
/* -EBADMSG, -ENOMEM, -EIO. */
MUST_CHECK int row_cursor_get(struct row_cursor *c, uint32_t ordinal, struct row *ret_row);

/* All streams, malloc'ed, ordered by key hash (row.stream is the index). */
MUST_CHECK int segment_index_streams(const struct segment_index *i, struct index_stream **ret,
				     size_t *ret_n);
/* -ENOENT: the stream has nothing here. ret_no: as in row.stream. */
MUST_CHECK int segment_index_stream(const struct segment_index *i, const struct stream_key *k,
				    uint64_t key_hash, struct index_stream *ret, uint32_t *ret_no);
/* The row number at a place (index_stream.first ... + rows - 1) of the list by stream and number. */
MUST_CHECK int segment_index_by_stream(const struct segment_index *i, uint32_t place,
				       uint32_t *ret_row);
/* Add all rows of a stream. */
MUST_CHECK int segment_index_stream_rows(const struct segment_index *i,
					 const struct index_stream *stream, struct bitmap *hits);
/* Add the rows that may hold a token. */
MUST_CHECK int segment_index_token(const struct segment_index *i, uint32_t hash,
				   struct bitmap *hits);

#endif
