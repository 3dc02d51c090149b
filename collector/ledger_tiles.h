/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's tiles on disk: the right edge of the tree in memory, from which full and partial tiles are written,
 * and hashes and entries read back. Layout: C2SP tlog-tiles. A tiles_edge belongs to one thread; reading is
 * any thread's. */
#ifndef COLLECTOR_LEDGER_TILES_H
#define COLLECTOR_LEDGER_TILES_H

#include "collector/ledger_pending.h"
#include "proto/seal.h"
#include "proto/tlog.h"

#define TILES_ENTRY_MAX 65535
#define TILES_ENTRIES_MAX (TLOG_TILE_WIDTH * (2 + KiB(4))) /* of our own entries */

/* The last, partial tile of each level, and of the entries. */
struct tiles_edge {
	uint64_t size;
	struct seal_hash hashes[TLOG_TILE_LEVELS][TLOG_TILE_WIDTH];
	uint8_t *entries; /* TILES_ENTRIES_MAX bytes */
	size_t entries_len;
};
MUST_CHECK int tiles_edge_init(struct tiles_edge *t); /* of an empty log. -ENOMEM */
void tiles_edge_release(struct tiles_edge *t);
void tiles_edge_copy(struct tiles_edge *to,
		     const struct tiles_edge *from); /* both were initialised */
/* As it stands on disk for size leaves; each part is checked against the next: -EBADMSG names the tile. */
MUST_CHECK int tiles_edge_load(int dirfd, uint64_t size, const struct seal_hash *root,
			       struct tiles_edge *t, struct error *e);
MUST_CHECK int tiles_edge_root(const struct tiles_edge *t, struct seal_hash *ret, struct error *e);
/* Add leaves, write each tile that gets full, then the partial ones. Durable when this returns 0; on an error t is
 * to be dropped. */
MUST_CHECK int tiles_write(int dirfd, struct tiles_edge *t, struct leaf *const *leaves, size_t n,
			   struct error *e);
/* Unlink what the tree of size leaves needs no more of partial tiles that one of old leaves had. */
void tiles_tidy(int dirfd, uint64_t old, uint64_t size);

/* Hashes from the tiles of a tree of size leaves; keeps the last tile read. */
struct tiles_reader {
	int dirfd;
	uint64_t size;
	int level;
	uint64_t index;
	unsigned int width; /* 0: nothing read yet */
	struct seal_hash hashes[TLOG_TILE_WIDTH];
};
struct tlog_source tiles_source(struct tiles_reader *r);
/* One tile's hashes: width of them. -ENOENT, -EBADMSG. */
MUST_CHECK int tiles_read_hashes(int dirfd, int level, uint64_t index, unsigned int width,
				 struct seal_hash *ret, struct error *e);
/* A tile of width entries: each by tiles_next_entry, malloc'ed. -ENOENT, -EBADMSG. */
MUST_CHECK int tiles_read_entries(int dirfd, uint64_t index, unsigned int width, uint8_t **ret,
				  size_t *ret_len, struct error *e);
struct reader;
/* NULL: none any more, or r is bad. */
const uint8_t *tiles_next_entry(struct reader *r, size_t *ret_len);
/* Entries first..size-1 in order, each checked for being there; stops at fn's error. */
MUST_CHECK int tiles_each_entry(int dirfd, uint64_t first, uint64_t size,
				int (*fn)(void *ctx, uint64_t index, const uint8_t *entry,
					  size_t len, struct error *e),
				void *ctx, struct error *e);

#endif
