/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_tiles.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"

#define FOLDERS_MAX 16 /* that one checkpoint makes names in, each synced once */

/* ---- the edge ---- */

int tiles_edge_init(struct tiles_edge *t)
{
	*t = (struct tiles_edge){ 0 };
	t->entries = malloc(TILES_ENTRIES_MAX);
	return t->entries ? 0 : -ENOMEM;
}

void tiles_edge_release(struct tiles_edge *t)
{
	free(t->entries);
	t->entries = NULL;
}

void tiles_edge_copy(struct tiles_edge *to, const struct tiles_edge *from)
{
	uint8_t *entries = to->entries;

	*to = *from;
	to->entries = entries;
	memcpy(entries, from->entries, from->entries_len);
}

static unsigned int edge_width(const struct tiles_edge *t, int level)
{
	return (unsigned int)(t->size >> (TLOG_TILE_HEIGHT * level)) % TLOG_TILE_WIDTH;
}

/* Subtrees of the edge as a source: what lies left of it is not asked for by a root. */
static int edge_hash(void *ctx, unsigned int level, uint64_t index, struct seal_hash *ret,
		     struct error *e)
{
	const struct tiles_edge *t = ctx;
	struct tlog_place p = tlog_place(level, index);
	struct seal_hash run[TLOG_TILE_WIDTH];
	int r;

	memcpy(run, t->hashes[p.level] + p.first, p.n * sizeof(*run));
	r = tlog_fold(run, p.n, ret);
	return r < 0 ? error_set(e, r, "cannot hash: %m") : 0;
}

int tiles_edge_root(const struct tiles_edge *t, struct seal_hash *ret, struct error *e)
{
	struct tlog_source s = { edge_hash, (void *)(uintptr_t)t };

	return tlog_root(&s, t->size, ret, e);
}

/* ---- writing ---- */

/* Folders in which names were made. */
struct folders {
	int dirfd;
	size_t n;
	char path[FOLDERS_MAX][TLOG_TILE_PATH_MAX];
};

static int sync_folders(struct folders *f, struct error *e)
{
	for (size_t i = 0; i < f->n; i++) {
		AUTO(close_fd)
		int fd = openat(f->dirfd, f->path[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0 || fsync(fd) < 0)
			return error_set(e, -errno, "cannot sync the ledger's folder '%s': %m",
					 f->path[i]);
	}
	f->n = 0;
	return 0;
}

static int remember_folder(struct folders *f, const char *path, struct error *e)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->path[i], path) == 0)
			return 0;
	if (f->n == FOLDERS_MAX) {
		int r = sync_folders(f, e);

		if (r < 0)
			return r;
	}
	memcpy(f->path[f->n++], path, strlen(path) + 1);
	return 0;
}

/* The folders that path lies in. One that is there already may be of a try that failed: all are synced. */
static int make_folders(struct folders *f, const char *path, struct error *e)
{
	char part[TLOG_TILE_PATH_MAX];
	int r = remember_folder(f, ".", e);

	for (const char *slash = strchr(path, '/'); slash && r == 0;
	     slash = strchr(slash + 1, '/')) {
		memcpy(part, path, (size_t)(slash - path));
		part[slash - path] = '\0';
		if (mkdirat(f->dirfd, part, 0755) < 0 && errno != EEXIST)
			return error_set(e, -errno, "cannot make the folder '%s': %m", part);
		r = remember_folder(f, part, e);
	}
	return r;
}

/* A tile is written once; one that a crash left behind was of no checkpoint. */
static int write_tile(struct folders *f, int level, uint64_t index, unsigned int width,
		      const void *data, size_t len, struct error *e)
{
	char path[TLOG_TILE_PATH_MAX];
	int r = make_folders(f, tlog_tile_path(level, index, width, path), e);

	if (r < 0)
		return r;
	if (unlinkat(f->dirfd, path, 0) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot replace '%s': %m", path);
	AUTO(close_fd)
	int fd = openat(f->dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

	if (fd < 0)
		return error_set(e, -errno, "cannot make '%s': %m", path);
	r = files_write_all(fd, data, len, e);
	if (r < 0)
		return error_wrap(e, r, "cannot write '%s'", path);
	return fdatasync(fd) < 0 ? error_set(e, -errno, "cannot sync '%s': %m", path) : 0;
}

static int write_hashes(struct folders *f, const struct tiles_edge *t, int level, uint64_t index,
			unsigned int width, struct error *e)
{
	return write_tile(f, level, index, width, t->hashes[level], width * SEAL_HASH_LEN, e);
}

/* One more hash on a level; a full tile is written and its root goes one level up. */
static int push_hash(struct folders *f, struct tiles_edge *t, int level,
		     const struct seal_hash *hash, struct error *e)
{
	uint64_t at = t->size >> (TLOG_TILE_HEIGHT * level); /* before this leaf */
	unsigned int slot = (unsigned int)(at % TLOG_TILE_WIDTH);
	struct seal_hash run[TLOG_TILE_WIDTH], root;
	int r;

	if (level >= TLOG_TILE_LEVELS)
		return error_set(e, -ERANGE, "the ledger is full");
	t->hashes[level][slot] = *hash;
	if (slot + 1 < TLOG_TILE_WIDTH)
		return 0;
	r = write_hashes(f, t, level, at / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH, e);
	if (r < 0)
		return r;
	memcpy(run, t->hashes[level], sizeof(run));
	r = tlog_fold(run, TLOG_TILE_WIDTH, &root);
	if (r < 0)
		return error_set(e, r, "cannot hash: %m");
	return push_hash(f, t, level + 1, &root, e);
}

static int push_leaf(struct folders *f, struct tiles_edge *t, const struct leaf *leaf,
		     struct error *e)
{
	struct seal_hash hash;
	int r;

	if (t->size % TLOG_TILE_WIDTH == 0)
		t->entries_len = 0;
	if (leaf->len > TILES_ENTRY_MAX || t->entries_len + 2 + leaf->len > TILES_ENTRIES_MAX)
		return error_set(e, -EMSGSIZE, "a leaf of %u bytes is too long", leaf->len);
	t->entries[t->entries_len++] = (uint8_t)(leaf->len >> 8);
	t->entries[t->entries_len++] = (uint8_t)leaf->len;
	memcpy(t->entries + t->entries_len, leaf->bytes, leaf->len);
	t->entries_len += leaf->len;
	r = tlog_leaf_hash(leaf->bytes, leaf->len, &hash);
	if (r < 0)
		return error_set(e, r, "cannot hash a leaf: %m");
	if (t->size % TLOG_TILE_WIDTH == TLOG_TILE_WIDTH - 1) {
		r = write_tile(f, TLOG_ENTRIES, t->size / TLOG_TILE_WIDTH, TLOG_TILE_WIDTH,
			       t->entries, t->entries_len, e);
		if (r < 0)
			return r;
	}
	r = push_hash(f, t, 0, &hash, e);
	t->size++;
	return r;
}

static int write_partial(struct folders *f, const struct tiles_edge *t, uint64_t old,
			 struct error *e)
{
	int r = 0;

	if (t->size % TLOG_TILE_WIDTH > 0)
		r = write_tile(f, TLOG_ENTRIES, t->size / TLOG_TILE_WIDTH,
			       (unsigned int)(t->size % TLOG_TILE_WIDTH), t->entries,
			       t->entries_len, e);
	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++) {
		uint64_t at = t->size >> (TLOG_TILE_HEIGHT * level);

		/* Higher levels have not changed either. */
		if (at == old >> (TLOG_TILE_HEIGHT * level))
			break;
		if (edge_width(t, level) > 0)
			r = write_hashes(f, t, level, at / TLOG_TILE_WIDTH, edge_width(t, level),
					 e);
	}
	return r;
}

int tiles_write(int dirfd, struct tiles_edge *t, struct leaf *const *leaves, size_t n,
		struct error *e)
{
	struct folders *f = calloc(1, sizeof(*f));
	uint64_t old = t->size;
	int r = 0;

	if (!f)
		return error_set(e, -ENOMEM, "cannot write tiles: %m");
	f->dirfd = dirfd;
	for (size_t i = 0; i < n && r == 0; i++)
		r = push_leaf(f, t, leaves[i], e);
	if (r == 0)
		r = write_partial(f, t, old, e);
	if (r == 0)
		r = sync_folders(f, e);
	free(f);
	return r;
}

static void tidy_one(int dirfd, int level, uint64_t old, uint64_t size)
{
	int shift = TLOG_TILE_HEIGHT * (level == TLOG_ENTRIES ? 0 : level);
	uint64_t index = (old >> shift) / TLOG_TILE_WIDTH;
	unsigned int width = tlog_tile_width(level, index, old);
	char path[TLOG_TILE_PATH_MAX];

	if (width == 0 || width == tlog_tile_width(level, index, size))
		return;
	(void)unlinkat(dirfd, tlog_tile_path(level, index, width, path), 0);
	if (tlog_tile_width(level, index, size) == TLOG_TILE_WIDTH) {
		*strrchr(path, '/') = '\0';
		(void)unlinkat(dirfd, path, AT_REMOVEDIR);
	}
}

void tiles_tidy(int dirfd, uint64_t old, uint64_t size)
{
	tidy_one(dirfd, TLOG_ENTRIES, old, size);
	for (int level = 0; level < TLOG_TILE_LEVELS; level++)
		tidy_one(dirfd, level, old, size);
}
