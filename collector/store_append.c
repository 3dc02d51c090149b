/* SPDX-License-Identifier: Apache-2.0 */
/* The end of each tenant's log: begin, fill, abandon and seal the open segment. */
#include "collector/store_internal.h"

#include "proto/base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>

#define ROWS_SOFT 131072u
#define STREAMS_SOFT (SEGMENT_STREAMS_MAX - SEGMENT_GROUP_MAX)
#define TOKEN_BYTES_SOFT MiB(64) /* memory of an open segment's tokens */
#define END_BYTES_SOFT (SEGMENT_BODY_MAX - KiB(256))

int store_room(const struct store *s, uint64_t bytes, struct error *e)
{
	struct statvfs v;
	uint64_t free_bytes;

	if (fstatvfs(s->dirfd, &v) < 0)
		return error_set(e, -EIO, "cannot ask for the free space of '%s': %m", s->dir);
	free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	if (free_bytes >= s->c.reserve_bytes && free_bytes - s->c.reserve_bytes >= bytes)
		return 0;
	error_set(e, -ENOSPC, "the disk below '%s' has %llu bytes left, the reserve is %llu",
		  s->dir, (unsigned long long)free_bytes, (unsigned long long)s->c.reserve_bytes);
	error_hint(e, "free space, or let retention remove more");
	return -ENOSPC;
}

static bool due(const struct store *s, const struct tenant *t)
{
	const struct segment_table *table = segment_writer_table(t->open->writer);

	return t->seal_now || segment_writer_bytes(t->open->writer) >= s->c.segment_bytes ||
	       table->n_rows >= ROWS_SOFT || table->n_streams >= STREAMS_SOFT ||
	       table->token_bytes >= TOKEN_BYTES_SOFT || table->end_bytes >= END_BYTES_SOFT;
}

/* Past twice what is due nothing more is taken while sealing fails. */
static bool overdue(const struct store *s, const struct tenant *t)
{
	const struct segment_table *table = segment_writer_table(t->open->writer);

	return segment_writer_bytes(t->open->writer) / 2 >= s->c.segment_bytes + MiB(64) ||
	       table->n_rows >= 2 * ROWS_SOFT || table->n_streams >= STREAMS_SOFT ||
	       table->token_bytes >= 2 * TOKEN_BYTES_SOFT || table->end_bytes >= END_BYTES_SOFT;
}

static void abandon(struct store *s, struct tenant *t)
{
	struct segment *g = t->open;
	char text[SEGMENT_ID_TEXT];

	(void)pthread_rwlock_wrlock(&s->lock);
	g->state = SEGMENT_FROZEN;
	t->open = NULL;
	t->seal_now = false;
	t->last_root = (struct seal_hash){ 0 };
	t->last_length = segment_writer_bytes(g->writer);
	s->frozen++;
	(void)pthread_rwlock_unlock(&s->lock);
	log_error("segment abandoned", KV_STR("segment", segment_id_text(&g->id, text)));
	/* Its rows are in the streams, it is not in the catalog: what the catalog says would count twice. */
	store_drop_catalog(s, NULL);
}

static int begin(struct store *s, struct tenant *t, int64_t now_ns, struct error *e)
{
	struct segment_begin b = { .previous = t->last_id,
				   .previous_root = t->last_root,
				   .previous_length = t->last_length,
				   .created_ns = now_ns,
				   .retention_class = STORE_RETENTION_CLASS,
				   .tenant = t->name };
	struct segment *g;
	uint8_t random[8];
	int r;

	if (s->frozen >= STORE_FROZEN_MAX)
		return error_set(
			e, -EIO,
			"%u segments below '%s' failed: the disk is taken for dead until a restart",
			s->frozen, s->dir);
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return error_set(e, -EIO, "cannot get random bytes: %m");
	segment_id_make(&b.id, segment_id_sequence(&t->last_id) + 1, random);
	r = tenant_reserve(s, t);
	g = calloc(1, sizeof(*g));
	if (r || !g) {
		free(g);
		return error_set(e, -ENOMEM, "cannot allocate a segment");
	}
	*g = (struct segment){ .tenant = t,
			       .id = b.id,
			       .sequence = segment_id_sequence(&b.id),
			       .created_ns = now_ns };
	r = segment_writer_create(t->dirfd, &b, &g->writer, e);
	if (r) {
		if (r == -EIO)
			s->frozen++;
		free(g);
		return r;
	}
	tenant_add(s, t, g);
	t->open = g;
	t->last_id = g->id;
	t->last_root = (struct seal_hash){ 0 };
	t->last_length = 0;
	return 0;
}

struct note {
	struct catalog *catalog;
	const struct segment *segment;
	int r;
	struct error *e;
};

static bool note_host(void *ctx, struct stream_host *h)
{
	struct note *n = ctx;

	if (!batch_name_equal(&h->tenant, &n->segment->tenant->name))
		return true;
	for (uint32_t i = 0; i < h->n_records && !n->r; i++)
		if (h->records[i].segment == n->segment->sequence)
			n->r = catalog_put_record(n->catalog, h, &h->records[i], n->e);
	for (const struct stream *s = h->streams; s && !n->r; s = s->next)
		if (s->removed_segment == n->segment->sequence)
			n->r = catalog_put_stream(n->catalog, s, n->e);
	return !n->r;
}

static int catalog_note(struct store *s, const struct segment *g,
			const struct index_stream *streams, uint32_t n, struct error *e)
{
	struct note note = { .catalog = s->catalog, .segment = g, .e = e };
	int r = catalog_begin(s->catalog, e);

	if (!r)
		r = catalog_put_segment(s->catalog, &g->tenant->name, &g->id,
					g->summary.segment_bytes, e);
	for (uint32_t i = 0; i < n && !r; i++) {
		const struct stream *stream = streams_find(s->streams, &streams[i].key);

		if (stream)
			r = catalog_put_stream(s->catalog, stream, e);
	}
	if (!r) {
		streams_each_host(s->streams, note_host, &note);
		r = note.r;
	}
	if (!r)
		r = catalog_put_removed(s->catalog, &g->tenant->name, &g->tenant->removed, e);
	return r ? r : catalog_commit(s->catalog, e);
}

int tenant_seal(struct store *s, struct tenant *t, struct error *e)
{
	struct segment *g = t->open;
	struct index_summary summary;
	struct segment_writer *w = g->writer;
	struct error catalog_error = { 0 };
	int r = segment_writer_seal(w, &summary, e);

	if (r) {
		t->seal_now = true;
		if (segment_writer_frozen(w))
			abandon(s, t);
		return r;
	}
	(void)pthread_rwlock_wrlock(&s->lock);
	g->summary = summary;
	g->state = SEGMENT_SEALED;
	g->writer = NULL;
	t->open = NULL;
	t->seal_now = false;
	(void)pthread_rwlock_unlock(&s->lock);
	t->last_root = summary.root;
	if (s->catalog) {
		const struct segment_table *table = segment_writer_table(w);

		if (catalog_note(s, g, table->streams, table->n_streams, &catalog_error))
			store_drop_catalog(s, &catalog_error);
	}
	segment_writer_free(w);
	return 0;
}

int tenant_open_segment(struct store *s, struct tenant *t, int64_t now_ns, struct segment **ret,
			struct error *e)
{
	int r = 0;

	if (t->open && segment_writer_frozen(t->open->writer))
		abandon(s, t);
	if (t->open && due(s, t)) {
		struct error why = { 0 };

		if (tenant_seal(s, t, &why)) {
			if (t->open && overdue(s, t)) {
				if (e)
					*e = why;
				return why.code;
			}
			log_failure(LOG_LEVEL_WARN, "segment not sealed, will be tried again",
				    &why);
		}
	}
	if (!t->open)
		r = begin(s, t, now_ns, e);
	*ret = t->open;
	return r;
}

int tenant_write(struct store *s, struct tenant *t, struct frame *frames, size_t n, struct error *e)
{
	struct segment_writer *w = t->open->writer;
	int r = segment_writer_put(w, frames, n, e);

	if (r && segment_writer_frozen(w))
		abandon(s, t);
	return r;
}
