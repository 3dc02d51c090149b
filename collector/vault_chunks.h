/* SPDX-License-Identifier: Apache-2.0 */
/* One line of chunks.jsonl. Pure function of bytes; fuzzed. */
#ifndef COLLECTOR_VAULT_CHUNKS_H
#define COLLECTOR_VAULT_CHUNKS_H

#include "collector/vault.h"

enum vault_line_kind { VAULT_LINE_ITEM, VAULT_LINE_CHUNK, VAULT_LINE_END };

struct vault_line {
	enum vault_line_kind kind;
	uint32_t item; /* 1..VAULT_ITEMS_MAX */
	char name[VAULT_NAME_MAX + 1], format[VAULT_FORMAT_MAX + 1]; /* item */
	uint64_t expected_bytes; /* item */
	uint64_t offset; /* chunk; end: the item's length */
	uint32_t bytes; /* chunk: 1..VAULT_CHUNK_BYTES */
	uint64_t group; /* where the lines that were synced with it begin: all before was durable by then */
	struct seal_hash hash; /* chunk, end */
};

/* len: without the newline. -EBADMSG; -ENOMEM. */
MUST_CHECK int vault_line_read(const char *text, size_t len, struct vault_line *ret);

#endif
