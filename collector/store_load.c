/* SPDX-License-Identifier: Apache-2.0 */
/* Start: what is in the folder becomes what is in memory. Sealed segments are known by their index
 * files, streams by the catalog when it fits; open segments are read whole and cut behind the last frame
 * that can have been acknowledged. */
#include "collector/store_internal.h"
#include "collector/token_log.h"

#include "proto/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* ---- sealed segments ---- */

static bool index_fits(const struct segment *g, const struct index_summary *i, uint64_t size)
{
	return memcmp(i->id.b, g->id.b, SEGMENT_ID_LEN) == 0 && i->segment_bytes == size;
}

static int load_sealed(struct store *s, struct tenant *t, const struct segment_id *id,
		       struct error *e)
{
	AUTO(segment_index_close_ptr) struct segment_index *index = NULL;
	char name[SEGMENT_NAME_MAX];
	struct segment *g;
	struct stat st;
	int r = tenant_reserve(s, t);

	if (fstatat(t->dirfd, segment_name_sealed(id, name), &st, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set(e, -errno, "cannot look at segment '%s': %m", name);
	g = r ? NULL : calloc(1, sizeof(*g));
	if (!g)
		return error_set(e, -ENOMEM, "cannot allocate a segment");
	*g = (struct segment){
		.tenant = t, .id = *id, .sequence = segment_id_sequence(id), .state = SEGMENT_SEALED
	};
	if (segment_index_open(t->dirfd, segment_name_index(id, name), &index, NULL) == 0 &&
	    index_fits(g, segment_index_summary(index), (uint64_t)st.st_size)) {
		g->summary = *segment_index_summary(index);
		r = 0;
	} else {
		r = store_rebuild_index(s, g, e);
	}
	if (r) {
		segment_free(g);
		return r;
	}
	/* Left over when the machine died while sealing. */
	token_log_remove(t->dirfd, id);
	durable_mark_remove(t->dirfd, id);
	tenant_add(s, t, g);
	return 0;
}

/* ---- open segments ---- */

struct listing {
	struct segment_id *ids;
	size_t n, max;
};

static void listing_release(struct listing *l)
{
	free(l->ids);
}

static int listing_add(struct listing *l, const struct segment_id *id)
{
	if (l->n == l->max) {
		size_t max = l->max ? l->max * 2 : 64;
		struct segment_id *ids = realloc(l->ids, max * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		l->ids = ids;
		l->max = max;
	}
	l->ids[l->n++] = *id;
	return 0;
}

/* Nothing of it was acknowledged: that it cannot be kept must not keep the collector from starting. */
static void keep_aside(struct store *s, struct tenant *t, const struct segment_load *l,
		       uint64_t size, const char *name)
{
	struct error why = { 0 };
	uint64_t kept = 0;

	log_warn("torn end of a segment cut off", KV_STR("segment", name), KV_U64("at", l->length),
		 KV_U64("bytes", size - l->length));
	if (cut_off_keep(t->dirfd, &l->id, l->fd, l->length, size, &kept, &why))
		log_failure(LOG_LEVEL_WARN, "torn end of a segment not kept", &why);
	if (!kept)
		return;
	(void)pthread_rwlock_wrlock(&s->lock);
	t->cut_off.files++;
	t->cut_off.bytes += kept;
	(void)pthread_rwlock_unlock(&s->lock);
}

/* Cut what cannot have been acknowledged; what stays may rest in the page cache only and is synced
 * before anything is answered from it. */
static int settle(struct store *s, struct tenant *t, const struct segment_load *l, const char *name,
		  struct error *e)
{
	struct stat st;

	if (fstat(l->fd, &st) < 0)
		return error_set(e, -errno, "cannot recover segment '%s': %m", name);
	if ((uint64_t)st.st_size > l->length)
		keep_aside(s, t, l, (uint64_t)st.st_size, name);
	if (((uint64_t)st.st_size > l->length && ftruncate(l->fd, (off_t)l->length) < 0) ||
	    fsync(l->fd) < 0)
		return error_set(e, -errno, "cannot recover segment '%s': %m", name);
	return 0;
}

/* Made, but its first frame never became durable: nothing was acknowledged from it. */
static int discard(struct store *s, struct tenant *t, const struct segment_load *l, uint64_t size,
		   const char *name, struct error *e)
{
	if (size > 0)
		keep_aside(s, t, l, size, name);
	durable_mark_remove(t->dirfd, &l->id);
	token_log_remove(t->dirfd, &l->id);
	return unlinkat(t->dirfd, name, 0) < 0 ?
		       error_set(e, -errno, "cannot remove '%s': %m", name) :
		       0;
}

static int finish_seal(struct store *s, struct tenant *t, const struct segment_id *id, int fd,
		       struct error *e)
{
	char from[SEGMENT_NAME_MAX], to[SEGMENT_NAME_MAX];

	segment_name_open(id, from);
	segment_name_sealed(id, to);
	if (fchmod(fd, 0444) < 0 || fsync(fd) < 0 || renameat(t->dirfd, from, t->dirfd, to) < 0 ||
	    fsync(t->dirfd) < 0)
		return error_set(e, -errno, "cannot seal segment '%s': %m", from);
	return load_sealed(s, t, id, e);
}

static int adopt(struct store *s, struct tenant *t, struct segment_load *l, struct error *e)
{
	struct segment *g;
	int r = tenant_reserve(s, t);

	g = r ? NULL : calloc(1, sizeof(*g));
	if (!g)
		return error_set(e, -ENOMEM, "cannot allocate a segment");
	r = segment_writer_resumed(l->writer, l->length, l->ordinal, &l->table, e);
	if (r) {
		free(g);
		return r;
	}
	*g = (struct segment){ .tenant = t,
			       .id = l->id,
			       .sequence = segment_id_sequence(&l->id),
			       .created_ns = l->begin.created_ns,
			       .writer = TAKE(l->writer) };
	tenant_add(s, t, g);
	t->open = g;
	t->seal_now = l->damaged > 0;
	return 0;
}

/* How much of an open segment counts, when its successor knows that it was abandoned. */
static uint64_t length_that_counts(struct tenant *t, const struct segment_id *id,
				   const struct listing *opens, uint64_t size)
{
	uint64_t length = 0, next = segment_id_sequence(id) + 1;
	char name[SEGMENT_NAME_MAX];

	for (size_t i = 0; i < opens->n && !length; i++)
		if (segment_id_sequence(&opens->ids[i]) == next)
			length = segment_previous_length(t->dirfd,
							 segment_name_open(&opens->ids[i], name),
							 &opens->ids[i], id);
	for (size_t i = 0; i < t->n_segments && !length; i++)
		if (t->segments[i]->sequence == next)
			length = segment_previous_length(
				t->dirfd, segment_name_sealed(&t->segments[i]->id, name),
				&t->segments[i]->id, id);
	return length > 0 && length < size ? length : size;
}

static int load_open(struct store *s, struct tenant *t, const struct segment_id *id,
		     const struct listing *opens, struct error *e)
{
	AUTO(segment_load_release)
	struct segment_load l = {
		.c = &s->c, .tenant = &t->name, .id = *id, .open = true, .writer_dirfd = t->dirfd
	};
	char name[SEGMENT_NAME_MAX];
	int fd = openat(t->dirfd, segment_name_open(id, name), O_RDWR | O_CLOEXEC | O_NOFOLLOW), r;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open segment '%s': %m", name);
	l.fd = fd;
	r = segment_load(&l, length_that_counts(t, id, opens, (uint64_t)st.st_size), e);
	if (!r && l.complete)
		r = finish_seal(s, t, id, fd, e);
	else if (!r && !l.writer)
		r = discard(s, t, &l, (uint64_t)st.st_size, name, e);
	else if (!r)
		r = settle(s, t, &l, name, e);
	if (!r)
		t->damaged += l.damaged;
	if (!r && !l.complete && l.writer)
		return adopt(s, t, &l, e);
	if (!l.writer)
		(void)close(fd);
	return r;
}

/* ---- a folder ---- */

static int by_id(const void *a, const void *b)
{
	return memcmp(a, b, SEGMENT_ID_LEN);
}

/* PREFIX ID ".seg", sorted by id. Leftovers of index building are removed on the way. */
static int list_segments(int dirfd, const char *prefix, struct listing *l, struct error *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t skip = strlen(prefix);
	struct dirent *entry;
	int r = 0;

	if (!d) {
		r = error_set(e, -errno, "cannot list a tenant's folder: %m");
		close_fd(&fd);
		return r;
	}
	while (!r && (errno = 0, entry = readdir(d))) {
		struct segment_id id;
		size_t len = strlen(entry->d_name);

		if (len > 4 && strcmp(entry->d_name + len - 4, ".tmp") == 0)
			(void)unlinkat(dirfd, entry->d_name, 0);
		else if (len == skip + 2 * SEGMENT_ID_LEN + 4 &&
			 memcmp(entry->d_name, prefix, skip) == 0 &&
			 strcmp(entry->d_name + len - 4, ".seg") == 0 &&
			 segment_id_parse(entry->d_name + skip, 2 * SEGMENT_ID_LEN, &id))
			r = listing_add(l, &id);
	}
	if (!r && errno)
		r = -errno;
	(void)closedir(d);
	if (r)
		return error_set(e, r, "cannot list a tenant's folder: %m");
	if (l->n > 0)
		qsort(l->ids, l->n, sizeof(*l->ids), by_id);
	return 0;
}

/* Only of segments that are there: an index alone is a witness that its segment was removed. */
static int unlink_indexes(struct tenant *t, struct error *e)
{
	AUTO(listing_release) struct listing l = { 0 };
	char name[SEGMENT_NAME_MAX];
	int r = list_segments(t->dirfd, "open-", &l, e);

	for (size_t i = 0; i < l.n && !r; i++)
		token_log_remove(t->dirfd, &l.ids[i]);
	l.n = 0;
	if (!r)
		r = list_segments(t->dirfd, "", &l, e);

	for (size_t i = 0; i < l.n && !r; i++)
		if (unlinkat(t->dirfd, segment_name_index(&l.ids[i], name), 0) < 0 &&
		    errno != ENOENT)
			r = error_set(e, -errno, "cannot remove the index '%s': %m", name);
	return r;
}

static int load_all_sealed(void *s, struct tenant *t, struct error *e)
{
	AUTO(listing_release) struct listing l = { 0 };
	int r = list_segments(t->dirfd, "", &l, e);

	if (!r)
		cut_off_count(t->dirfd, &t->cut_off);
	for (size_t i = 0; i < l.n && !r; i++)
		r = load_sealed(s, t, &l.ids[i], e);
	return r;
}

static void continue_from(struct tenant *t)
{
	const struct segment *last = t->n_segments ? t->segments[t->n_segments - 1] : NULL;

	if (!last)
		return;
	t->last_id = last->id;
	t->last_root = last->state == SEGMENT_SEALED ? last->summary.root : (struct seal_hash){ 0 };
	t->last_length = last->state == SEGMENT_FROZEN ? segment_writer_bytes(last->writer) : 0;
}

/* All but the newest, and damaged ones, are sealed; where that fails they are read from memory. */
static int load_all_open(struct store *s, struct tenant *t, struct error *e)
{
	AUTO(listing_release) struct listing l = { 0 };
	int r = list_segments(t->dirfd, "open-", &l, e);

	for (size_t i = 0; i < l.n && !r; i++) {
		struct segment *g;

		r = load_open(s, t, &l.ids[i], &l, e);
		g = r ? NULL : tenant_segment(t, &l.ids[i]);
		if (!g)
			continue;
		r = g->state == SEGMENT_SEALED ? store_replay_sealed(s, g, e) :
						 store_replay_table(s, g, e);
		if (!r && t->open && (t->seal_now || i + 1 < l.n)) {
			struct error why = { 0 };

			if (tenant_seal(s, t, &why)) {
				log_failure(LOG_LEVEL_WARN, "recovered segment not sealed", &why);
				if (t->open)
					t->open->state = SEGMENT_FROZEN;
				t->open = NULL;
				t->seal_now = false;
			}
		}
		continue_from(t);
	}
	return r;
}

/* ---- all ---- */

int store_each_tenant(struct store *s, int (*fn)(void *ctx, struct tenant *t, struct error *e),
		      void *ctx, struct error *e)
{
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int r = 0;

	if (!d) {
		r = error_set(e, -errno, "cannot list '%s': %m", s->dir);
		close_fd(&fd);
		return r;
	}
	while (!r && (errno = 0, entry = readdir(d))) {
		struct batch_name name = { 0 };
		struct tenant *t;
		struct stat st;
		size_t len = strlen(entry->d_name);

		if (len == 0 || len > BATCH_NAME_MAX)
			continue;
		batch_name_set(&name, entry->d_name, len);
		if (!store_tenant_valid(&name))
			continue;
		if (fstatat(s->dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			if (errno == ENOENT)
				continue;
			r = error_set(e, -errno, "cannot read '%s/%s': %m", s->dir, entry->d_name);
			break;
		}
		if (!S_ISDIR(st.st_mode))
			continue;
		r = store_tenant_get(s, &name, &t, e);
		if (!r)
			r = fn(ctx, t, e);
	}
	if (!r && errno)
		r = error_set(e, -errno, "cannot list '%s': %m", s->dir);
	(void)closedir(d);
	return r;
}

static int forget_tenant(void *ctx, struct tenant *t, struct error *e)
{
	(void)ctx;
	return unlink_indexes(t, e);
}

int store_forget_derived(struct store *s, struct error *e)
{
	catalog_remove(s->dirfd);
	return store_each_tenant(s, forget_tenant, NULL, e);
}

int store_load(struct store *s, struct error *e)
{
	int r = store_each_tenant(s, load_all_sealed, s, e);

	if (!r)
		r = store_load_catalog(s, e);
	for (size_t i = 0; i < s->n_tenants && !r; i++) {
		continue_from(s->tenants[i]);
		r = load_all_open(s, s->tenants[i], e);
	}
	return r ? r : retention_finish(s, e);
}
