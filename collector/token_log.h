/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of the segment that is being written, beside it as ID.tok, so that a start need not open
 * and read every batch of it again. Derived, never synced, each record with its sum: what is missing or
 * damaged is extracted again. Format: collector/README.md "index". Writer thread only. */
#ifndef COLLECTOR_TOKEN_LOG_H
#define COLLECTOR_TOKEN_LOG_H

#include "collector/segment_table.h"

struct token_log;

/* A new, empty file. NULL: could not be made; nothing depends on it. */
struct token_log *token_log_new(int dirfd, const struct segment_id *id);
void token_log_free(struct token_log *l); /* NULL allowed */
/* Write the tokens of rows from first on: one write(2), or several for many. A failure ends the log. */
void token_log_write(struct token_log *l, const struct segment_table *t, uint32_t first);
void token_log_remove(int dirfd, const struct segment_id *id);

struct token_log_reader;

/* NULL: there is none. */
struct token_log_reader *token_log_read(int dirfd, const struct segment_id *id);
void token_log_read_end(struct token_log_reader *r); /* NULL allowed */
/* The tokens of the row at offset with this header hash; rows are asked for in the order of the file.
 * ret->hashes: malloc'ed. false: not there (r may be NULL), or out of memory. */
MUST_CHECK bool token_log_find(struct token_log_reader *r, uint64_t offset,
			       const struct seal_hash *hash, struct token_row *ret);

#endif
