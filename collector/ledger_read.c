/* SPDX-License-Identifier: Apache-2.0 */
/* The half of ledger_tiles.h that reads. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/ledger_tiles.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"

int tiles_read_hashes(int dirfd, int level, uint64_t index, unsigned int width,
		      struct seal_hash *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[TLOG_TILE_PATH_MAX];
	size_t len;
	int r = files_read_at(dirfd, tlog_tile_path(level, index, width, path),
			      TLOG_TILE_WIDTH * SEAL_HASH_LEN, &data, &len, e);

	if (r < 0)
		return r == -EFBIG ? error_set(e, -EBADMSG, "'%s' is too long", path) : r;
	if (len != width * SEAL_HASH_LEN)
		return error_set(e, -EBADMSG, "'%s' has %zu bytes instead of %u", path, len,
				 width * SEAL_HASH_LEN);
	memcpy(ret, data, len);
	return 0;
}

const uint8_t *tiles_next_entry(struct reader *r, size_t *ret_len)
{
	size_t len = (size_t)reader_u8(r) << 8;

	len |= reader_u8(r);
	*ret_len = len;
	return r->bad ? NULL : reader_bytes(r, len);
}

int tiles_read_entries(int dirfd, uint64_t index, unsigned int width, uint8_t **ret,
		       size_t *ret_len, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[TLOG_TILE_PATH_MAX];
	struct reader reader;
	size_t len, entry_len;
	int r = files_read_at(dirfd, tlog_tile_path(TLOG_ENTRIES, index, width, path),
			      TILES_ENTRIES_MAX, &data, &len, e);

	if (r < 0)
		return r == -EFBIG ? error_set(e, -EBADMSG, "'%s' is too long", path) : r;
	reader = reader_init(data, len);
	for (unsigned int i = 0; i < width; i++)
		(void)tiles_next_entry(&reader, &entry_len);
	if (!reader_done(&reader))
		return error_set(e, -EBADMSG, "'%s' does not hold %u entries", path, width);
	*ret = TAKE(data);
	*ret_len = len;
	return 0;
}

int tiles_each_entry(int dirfd, uint64_t first, uint64_t size,
		     int (*fn)(void *ctx, uint64_t index, const uint8_t *entry, size_t len,
			       struct error *e),
		     void *ctx, struct error *e)
{
	for (uint64_t tile = first / TLOG_TILE_WIDTH; tile * TLOG_TILE_WIDTH < size; tile++) {
		AUTO(free_ptr) uint8_t *data = NULL;
		unsigned int width = tlog_tile_width(TLOG_ENTRIES, tile, size);
		struct reader reader;
		size_t len;
		int r = tiles_read_entries(dirfd, tile, width, &data, &len, e);

		if (r < 0)
			return r;
		reader = reader_init(data, len);
		for (unsigned int i = 0; i < width && r == 0; i++) {
			const uint8_t *entry = tiles_next_entry(&reader, &len);

			if (tile * TLOG_TILE_WIDTH + i >= first)
				r = fn(ctx, tile * TLOG_TILE_WIDTH + i, entry, len, e);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- as a source of hashes ---- */

static int read_hash(void *ctx, unsigned int level, uint64_t index, struct seal_hash *ret,
		     struct error *e)
{
	struct tiles_reader *t = ctx;
	struct tlog_place p = tlog_place(level, index);
	struct seal_hash run[TLOG_TILE_WIDTH];
	int r;

	if (t->width == 0 || t->level != p.level || t->index != p.tile) {
		unsigned int width = tlog_tile_width(p.level, p.tile, t->size);

		t->width = 0;
		if (p.first + p.n > width)
			return error_set(e, -ERANGE, "a hash beyond the log is asked for");
		r = tiles_read_hashes(t->dirfd, p.level, p.tile, width, t->hashes, e);
		if (r < 0)
			return r;
		t->level = p.level;
		t->index = p.tile;
		t->width = width;
	}
	if (p.first + p.n > t->width)
		return error_set(e, -ERANGE, "a hash beyond the log is asked for");
	memcpy(run, t->hashes + p.first, p.n * sizeof(*run));
	r = tlog_fold(run, p.n, ret);
	return r < 0 ? error_set(e, r, "cannot hash: %m") : 0;
}

struct tlog_source tiles_source(struct tiles_reader *r)
{
	return (struct tlog_source){ read_hash, r };
}

/* ---- the edge ---- */

static int load_entries(int dirfd, struct tiles_edge *t, struct error *e)
{
	unsigned int width = (unsigned int)(t->size % TLOG_TILE_WIDTH);
	AUTO(free_ptr) uint8_t *data = NULL;
	int r;

	t->entries_len = 0;
	if (width == 0)
		return 0;
	r = tiles_read_entries(dirfd, t->size / TLOG_TILE_WIDTH, width, &data, &t->entries_len, e);
	if (r == 0 && data)
		memcpy(t->entries, data, t->entries_len);
	return r;
}

/* Each hash of the lowest edge is that of its entry. */
static int check_entries(const struct tiles_edge *t, struct error *e)
{
	struct reader r = reader_init(t->entries, t->entries_len);
	unsigned int width = (unsigned int)(t->size % TLOG_TILE_WIDTH);
	char path[TLOG_TILE_PATH_MAX];

	for (unsigned int i = 0; i < width; i++) {
		size_t len;
		const uint8_t *entry = tiles_next_entry(&r, &len);
		struct seal_hash hash;

		if (tlog_leaf_hash(entry, len, &hash) < 0)
			return error_set(e, -ENOMEM, "cannot hash a leaf: %m");
		if (memcmp(hash.b, t->hashes[0][i].b, SEAL_HASH_LEN) != 0)
			return error_set(
				e, -EBADMSG,
				"'%s' and the tile of its hashes disagree on leaf %" PRIu64,
				tlog_tile_path(TLOG_ENTRIES, t->size / TLOG_TILE_WIDTH, width,
					       path),
				t->size - width + i);
	}
	return 0;
}

/* Each hash of a higher edge is the root of the tile below it: only asked when something is wrong. */
static int find_fault(int dirfd, const struct tiles_edge *t, struct error *e)
{
	for (int level = 1; level < TLOG_TILE_LEVELS; level++) {
		uint64_t all = t->size >> (TLOG_TILE_HEIGHT * level);

		for (uint64_t i = all - all % TLOG_TILE_WIDTH; i < all; i++) {
			struct seal_hash run[TLOG_TILE_WIDTH], root;
			char path[TLOG_TILE_PATH_MAX];
			int r = tiles_read_hashes(dirfd, level - 1, i, TLOG_TILE_WIDTH, run, e);

			if (r == 0)
				r = tlog_fold(run, TLOG_TILE_WIDTH, &root);
			if (r < 0)
				return r;
			if (memcmp(root.b, t->hashes[level][i % TLOG_TILE_WIDTH].b,
				   SEAL_HASH_LEN) != 0)
				return error_set(
					e, -EBADMSG,
					"'%s' does not hash to what the tile above it says",
					tlog_tile_path(level - 1, i, TLOG_TILE_WIDTH, path));
		}
	}
	return error_set(
		e, -EBADMSG,
		"the last tiles ('tile/0/...' of leaf %llu and those above it) do not give the checkpoint's root",
		(unsigned long long)(t->size - 1));
}

int tiles_edge_load(int dirfd, uint64_t size, const struct seal_hash *root, struct tiles_edge *t,
		    struct error *e)
{
	struct seal_hash got;
	int r = 0;

	t->size = size;
	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++) {
		uint64_t all = size >> (TLOG_TILE_HEIGHT * level);
		unsigned int width = (unsigned int)(all % TLOG_TILE_WIDTH);

		if (width > 0)
			r = tiles_read_hashes(dirfd, level, all / TLOG_TILE_WIDTH, width,
					      t->hashes[level], e);
	}
	if (r == 0)
		r = load_entries(dirfd, t, e);
	if (r == 0)
		r = tiles_edge_root(t, &got, e);
	if (r == 0)
		r = check_entries(t, e);
	if (r == 0 && memcmp(got.b, root->b, SEAL_HASH_LEN) != 0)
		r = find_fault(dirfd, t, e);
	return r;
}
