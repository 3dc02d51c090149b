/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows (batches) of a segment hold a token: sorted 32-bit token hashes with the rows of each, in
 * buckets of neighbouring hashes with a directory in front. Format: collector/README.md "index".
 * A hash stands for its token's upper half: an answer may name rows too many, never too few.
 * Building belongs to the writer thread; finding to any. */
#ifndef COLLECTOR_TOKEN_INDEX_H
#define COLLECTOR_TOKEN_INDEX_H

#include "collector/bitmap.h"
#include "collector/outfile.h"
#include "collector/segment.h"

#define TOKEN_ROWS_MAX (1u << 20)
#define TOKEN_BITS_MIN 4
#define TOKEN_BITS_MAX 20
#define TOKEN_BUCKET_MAX MiB(32) /* bytes of one bucket */
/* Rows whose tokens are not known (tombstones) carry this hash; it belongs to every answer. */
#define TOKEN_ANY 0u

/* The tokens of one row: sorted, without duplicates. */
struct token_row {
	uint32_t *hashes; /* owned by whoever holds the row */
	uint32_t n;
};

/* Where an index stands in its file. */
struct token_index {
	uint64_t directory, postings; /* offsets; the directory holds 2^bits + 1 of u32 */
	uint64_t postings_len;
	uint32_t bits; /* TOKEN_BITS_MIN..MAX: whoever fills this in has checked it */
	uint32_t rows;
};

uint32_t token_index_hash(uint64_t token);
/* Write postings, then the directory, at o's offset. rows < TOKEN_ROWS_MAX. -ENOMEM, -EFBIG, or what o
 * met. Cost: about 20 ns per token of a row. */
MUST_CHECK int token_index_write(const struct token_row *rows, uint32_t n_rows, struct outfile *o,
				 struct token_index *ret);
/* Add to hits (rows numbers) the rows of hash. -EBADMSG: damaged, hits may hold some of them; -EIO. */
MUST_CHECK int token_index_find(const struct token_index *t, segment_read_fn read, void *ctx,
				uint32_t hash, struct bitmap *hits);
/* One bucket's bytes (after its checksum), for the fuzzer. */
MUST_CHECK int token_index_search(const uint8_t *bucket, size_t len, uint32_t first_hash,
				  uint32_t hash, struct bitmap *hits);

#endif
