/* SPDX-License-Identifier: Apache-2.0 */
/* A sealed segment's index file built again from the segment. */
#include "collector/store_internal.h"

#include "proto/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>

#define HASH_CHUNK KiB(256)

static int sha256_of_file(int fd, struct seal_hash *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *chunk = malloc(HASH_CHUNK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = chunk && md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	uint64_t at = 0;
	ssize_t n = ok ? 1 : 0;

	while (ok && n > 0) {
		n = segment_pread(&fd, at, chunk, HASH_CHUNK);
		ok = n >= 0 && EVP_DigestUpdate(md, chunk, (size_t)n) == 1;
		at += n > 0 ? (uint64_t)n : 0;
	}
	ok = ok && EVP_DigestFinal_ex(md, ret->b, NULL) == 1;
	EVP_MD_CTX_free(md);
	if (!ok)
		return error_set(e, n < 0 ? (int)n : -ENOMEM, "cannot hash a segment: %m");
	return 0;
}

static void summarise(const struct segment_load *l, uint64_t size, struct index_summary *s)
{
	const struct segment_table *t = &l->table;

	*s = (struct index_summary){
		.id = l->id,
		.segment_bytes = size,
		.segment_sha256 = l->sha256,
		.root = l->end.root,
		.frames = l->frames,
		.batches = t->batches,
		.events = t->events,
		.first_wall_ns = t->first_wall_ns,
		.last_wall_ns = t->last_wall_ns,
		.first_received_ns = t->first_received_ns,
		.last_received_ns = t->last_received_ns,
	};
}

static int write_index(struct segment *g, struct segment_load *l, uint64_t size,
		       struct index_summary *ret, struct error *e)
{
	char name[SEGMENT_NAME_MAX], tmp[SEGMENT_NAME_MAX + 4];
	struct index_source source = {
		.rows = l->table.rows,
		.tokens = l->table.tokens,
		.n_rows = l->table.n_rows,
		.streams = l->table.streams,
		.n_streams = l->table.n_streams,
	};
	int r;

	summarise(l, size, &source.summary);
	segment_name_index(&g->id, name);
	(void)snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	r = segment_index_write(&source, g->tenant->dirfd, tmp, ret, e);
	if (!r && (renameat(g->tenant->dirfd, tmp, g->tenant->dirfd, name) < 0 ||
		   fsync(g->tenant->dirfd) < 0))
		r = error_set(e, -errno, "cannot rename the index '%s': %m", name);
	if (r)
		(void)unlinkat(g->tenant->dirfd, tmp, 0);
	return r;
}

int store_rebuild_index(struct store *s, struct segment *g, struct error *e)
{
	AUTO(segment_load_release)
	struct segment_load l = {
		.c = &s->c, .tenant = &g->tenant->name, .id = g->id, .writer_dirfd = -1
	};
	char name[SEGMENT_NAME_MAX];
	AUTO(close_fd)
	int fd = openat(g->tenant->dirfd, segment_name_sealed(&g->id, name),
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct index_summary summary;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	l.fd = fd;
	r = segment_load(&l, (uint64_t)st.st_size, e);
	if (!r)
		r = sha256_of_file(fd, &l.sha256, e);
	if (!r && !l.complete)
		log_error("sealed segment without its end", KV_STR("segment", name));
	if (!r)
		r = write_index(g, &l, (uint64_t)st.st_size, &summary, e);
	if (r)
		return error_wrap(e, r, "cannot build the index of segment '%s' again", name);
	(void)pthread_rwlock_wrlock(&s->lock);
	g->summary = summary;
	(void)pthread_rwlock_unlock(&s->lock);
	atomic_store(&g->index, INDEX_GOOD);
	log_info("index built", KV_STR("segment", name), KV_U64("batches", l.table.batches));
	return 0;
}
