/* SPDX-License-Identifier: Apache-2.0 */
/* Start: what is in the folder becomes what is in memory. Sealed segments are known by their index
 * files, streams by the catalog when it fits; open segments are read whole and cut behind the last frame
 * that can have been acknowledged. */
#include "collector/retention_record.h"
#include "collector/store_internal.h"

#include "proto/base/log.h"
#include "proto/merkle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define HASH_CHUNK KiB(256)

/* ---- indexes ---- */

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

static int write_index(struct segment *g, struct segment_load *l, uint64_t size, struct index_summary *ret,
		       struct error *e)
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
	if (!r && (renameat(g->tenant->dirfd, tmp, g->tenant->dirfd, name) < 0 || fsync(g->tenant->dirfd) < 0))
		r = error_set(e, -errno, "cannot rename the index '%s': %m", name);
	if (r)
		(void)unlinkat(g->tenant->dirfd, tmp, 0);
	return r;
}

int store_rebuild_index(struct store *s, struct segment *g, struct error *e)
{
	AUTO(segment_load_release) struct segment_load l = {
		.c = &s->c, .tenant = &g->tenant->name, .id = g->id, .writer_dirfd = -1
	};
	char name[SEGMENT_NAME_MAX];
	AUTO(close_fd) int fd = openat(g->tenant->dirfd, segment_name_sealed(&g->id, name),
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

/* ---- sealed segments ---- */

static bool index_fits(const struct segment *g, const struct index_summary *i, uint64_t size)
{
	return memcmp(i->id.b, g->id.b, SEGMENT_ID_LEN) == 0 && i->segment_bytes == size;
}

static int load_sealed(struct store *s, struct tenant *t, const struct segment_id *id, struct error *e)
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
	*g = (struct segment){ .tenant = t, .id = *id, .sequence = segment_id_sequence(id), .state = SEGMENT_SEALED };
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
	tenant_add(s, t, g);
	return 0;
}

/* ---- what a segment says of streams ---- */

static int replay_record(struct store *s, const struct segment *g, const struct row *row, struct error *e)
{
	AUTO(free_ptr) uint8_t *body = NULL;
	struct host_record_info info;
	struct stream_host *h;
	size_t len;
	bool known;
	int r = segment_body(g, row->offset, (enum frame_kind)row->kind, &body, &len, e);

	if (r == -EBADMSG)
		return 0; /* damaged: check names it */
	if (r)
		return r;
	if (row->kind == FRAME_RETENTION)
		return retention_apply(s, g->tenant, body, len, g->sequence, e);
	/* Twice: protobuf-c does not tell short memory from bad bytes, and what is stored was good. */
	if ((host_record_open(body, len, &info) && host_record_open(body, len, &info)) ||
	    !batch_name_equal(&info.tenant, &g->tenant->name))
		return 0;
	r = streams_host_get(s->streams, &info.tenant, &info.host_id, &h);
	if (!r)
		r = host_record_plan(h, body, len, 0, &known);
	if (r)
		return r == -EDQUOT ? 0 : error_set(e, r, "cannot keep a host record: %m");
	host_record_add(h, TAKE(body), len, row->received_ns, g->sequence);
	return 0;
}

static int replay_row(struct store *s, const struct segment *g, const struct row *row, const struct stream_key *key,
		      struct error *e)
{
	struct stream *stream;
	int r;

	if (row->stream == ROW_NO_STREAM)
		return replay_record(s, g, row, e);
	r = streams_get(s->streams, key, &stream);
	if (!r)
		r = stream_reserve(stream, row->number > stream->contiguous + 1);
	if (r)
		return r == -EDQUOT ? 0 : error_set(e, r, "cannot keep a stream: %m");
	stream_add(stream, row, g->sequence);
	return 0;
}

static int replay_index(struct store *s, const struct segment *g, const struct segment_index *i, struct error *e)
{
	AUTO(row_cursor_release) struct row_cursor c;
	AUTO(free_ptr) struct index_stream *streams = NULL;
	uint32_t n = segment_index_summary(i)->rows;
	struct row row;
	size_t n_streams;
	int r = segment_index_streams(i, &streams, &n_streams);

	row_cursor_init(&c, i);
	/* All must be readable before the first is applied: nothing can be taken back. */
	for (uint32_t k = 0; k < n && !r; k++)
		r = row_cursor_get(&c, k, &row);
	if (r)
		return error_set(e, r, "the index is damaged");
	for (uint32_t k = 0; k < n && !r; k++) {
		r = row_cursor_get(&c, k, &row);
		if (!r)
			r = replay_row(s, g, &row,
				       row.stream == ROW_NO_STREAM ? NULL : &streams[row.stream].key, e);
	}
	return r;
}

static int replay_sealed(struct store *s, struct segment *g, struct error *e)
{
	for (int attempt = 0;; attempt++) {
		AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
		char name[SEGMENT_NAME_MAX];
		int r = segment_index_open(g->tenant->dirfd, segment_name_index(&g->id, name), &i, e);

		if (!r)
			r = replay_index(s, g, i, e);
		if (r != -EBADMSG || attempt > 0)
			return r;
		r = store_rebuild_index(s, g, e);
		if (r)
			return r;
	}
}

static int replay_table(struct store *s, struct segment *g, struct error *e)
{
	const struct segment_table *t = segment_writer_table(g->writer);
	int r = 0;

	for (uint32_t i = 0; i < t->n_rows && !r; i++) {
		const struct row *row = &t->rows[i];

		r = replay_row(s, g, row, row->stream == ROW_NO_STREAM ? NULL : &t->streams[row->stream].key, e);
	}
	return r;
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

/* Cut what cannot have been acknowledged; what stays may rest in the page cache only and is synced
 * before anything is answered from it. */
static int settle(int fd, uint64_t length, const char *name, struct error *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size > length && ftruncate(fd, (off_t)length) < 0) || fsync(fd) < 0)
		return error_set(e, -errno, "cannot recover segment '%s': %m", name);
	if ((uint64_t)st.st_size > length)
		log_warn("torn end of a segment cut off", KV_STR("segment", name), KV_U64("at", length),
			 KV_U64("bytes", (uint64_t)st.st_size - length));
	return 0;
}

static int finish_seal(struct store *s, struct tenant *t, const struct segment_id *id, int fd, struct error *e)
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
	*g = (struct segment){ .tenant = t, .id = l->id, .sequence = segment_id_sequence(&l->id),
			       .created_ns = l->begin.created_ns, .writer = TAKE(l->writer) };
	tenant_add(s, t, g);
	t->open = g;
	t->seal_now = l->damaged > 0;
	return 0;
}

/* How much of an open segment counts, when its successor knows that it was abandoned. */
static uint64_t length_that_counts(struct tenant *t, const struct segment_id *id, const struct listing *opens,
				   uint64_t size)
{
	uint64_t length = 0, next = segment_id_sequence(id) + 1;
	char name[SEGMENT_NAME_MAX];

	for (size_t i = 0; i < opens->n && !length; i++)
		if (segment_id_sequence(&opens->ids[i]) == next)
			length = segment_previous_length(t->dirfd, segment_name_open(&opens->ids[i], name),
							 &opens->ids[i], id);
	for (size_t i = 0; i < t->n_segments && !length; i++)
		if (t->segments[i]->sequence == next)
			length = segment_previous_length(t->dirfd, segment_name_sealed(&t->segments[i]->id, name),
							 &t->segments[i]->id, id);
	return length > 0 && length < size ? length : size;
}

static int load_open(struct store *s, struct tenant *t, const struct segment_id *id, const struct listing *opens,
		     struct error *e)
{
	AUTO(segment_load_release) struct segment_load l = {
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
	else if (!r && l.frames == 0)
		/* Made, but its first frame never became durable: nothing was acknowledged from it. */
		r = unlinkat(t->dirfd, name, 0) < 0 ? error_set(e, -errno, "cannot remove '%s': %m", name) : 0;
	else if (!r)
		r = settle(fd, l.length, name, e);
	if (!r && !l.complete && l.frames > 0)
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
		else if (len == skip + 2 * SEGMENT_ID_LEN + 4 && memcmp(entry->d_name, prefix, skip) == 0 &&
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
	int r = list_segments(t->dirfd, "", &l, e);

	for (size_t i = 0; i < l.n && !r; i++)
		if (unlinkat(t->dirfd, segment_name_index(&l.ids[i], name), 0) < 0 && errno != ENOENT)
			r = error_set(e, -errno, "cannot remove the index '%s': %m", name);
	return r;
}

static int load_all_sealed(void *s, struct tenant *t, struct error *e)
{
	AUTO(listing_release) struct listing l = { 0 };
	int r = list_segments(t->dirfd, "", &l, e);

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
		r = g->state == SEGMENT_SEALED ? replay_sealed(s, g, e) : replay_table(s, g, e);
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

/* ---- the catalog ---- */

struct fit {
	const struct store *s;
	size_t matched;
};

static int fits_segment(void *ctx, const struct catalog_segment *c)
{
	struct fit *f = ctx;
	const struct tenant *t = store_tenant(f->s, &c->tenant);
	const struct segment *g = t ? tenant_segment(t, &c->id) : NULL;

	if (!g || g->summary.segment_bytes != c->bytes)
		return -EBADMSG;
	f->matched++;
	return 0;
}

/* The catalog lists exactly the sealed segments that are there. */
static bool catalog_fits(struct store *s)
{
	struct fit f = { .s = s };
	size_t total = 0;

	for (size_t i = 0; i < s->n_tenants; i++)
		total += s->tenants[i]->n_segments;
	return catalog_each_segment(s->catalog, fits_segment, &f, NULL) == 0 && f.matched == total;
}

struct save {
	struct catalog *catalog;
	struct error *e;
	int r;
};

static bool save_host(void *ctx, struct stream_host *h)
{
	struct save *v = ctx;

	for (const struct stream *s = h->streams; s && !v->r; s = s->next)
		if (s->stored)
			v->r = catalog_put_stream(v->catalog, s, v->e);
	for (uint32_t i = 0; i < h->n_records && !v->r; i++)
		v->r = catalog_put_record(v->catalog, h, &h->records[i], v->e);
	return !v->r;
}

static int save_all(struct store *s, struct error *e)
{
	struct save v = { .catalog = s->catalog, .e = e };

	v.r = catalog_begin(s->catalog, e);
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments && !v.r; k++) {
			const struct segment *g = s->tenants[i]->segments[k];

			v.r = catalog_put_segment(s->catalog, &g->tenant->name, &g->id, g->summary.segment_bytes, e);
		}
	if (!v.r)
		streams_each_host(s->streams, save_host, &v);
	return v.r ? v.r : catalog_commit(s->catalog, e);
}

static int rebuild_catalog(struct store *s, struct error *e)
{
	struct error why = { 0 };
	struct streams *fresh = streams_new();
	int r = 0;

	if (!fresh)
		return error_set(e, -ENOMEM, "cannot allocate the table of streams");
	streams_free(s->streams);
	s->streams = fresh;
	catalog_close(TAKE(s->catalog));
	catalog_remove(s->dirfd);
	for (size_t i = 0; i < s->n_tenants; i++)
		for (size_t k = 0; k < s->tenants[i]->n_segments && !r; k++)
			r = replay_sealed(s, s->tenants[i]->segments[k], e);
	if (r)
		return r;
	if (catalog_open(s->dir, &s->catalog, &why) || save_all(s, &why))
		store_drop_catalog(s, &why);
	return 0;
}

static int load_catalog(struct store *s, struct error *e)
{
	struct error why = { 0 };
	int r = catalog_open(s->dir, &s->catalog, &why);

	if (r == -ENOMEM) {
		if (e)
			*e = why;
		return r;
	}
	if (!r && catalog_fits(s)) {
		r = catalog_load(s->catalog, s->streams, &why);
		if (!r)
			return 0;
	}
	log_info("catalog is built anew", KV_STR("reason", r ? why.text : "it does not list the segments that are there"));
	return rebuild_catalog(s, e);
}

int store_each_tenant(struct store *s, int (*fn)(void *ctx, struct tenant *t, struct error *e), void *ctx,
		      struct error *e)
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
		if (!store_tenant_valid(&name) || fstatat(s->dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		r = store_tenant_get(s, &name, &t, e);
		if (!r)
			r = fn(ctx, t, e);
	}
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
		r = load_catalog(s, e);
	for (size_t i = 0; i < s->n_tenants && !r; i++) {
		continue_from(s->tenants[i]);
		r = load_all_open(s, s->tenants[i], e);
	}
	return r ? r : retention_finish(s, e);
}
