/* SPDX-License-Identifier: Apache-2.0 */
/* Which batches may hold an answer. Open segments are searched in memory under the lock; of sealed ones
 * the list is copied, and their index files are read without it. */
#include "collector/store_internal.h"

#include <errno.h>
#include <string.h>

struct find {
	struct store *s;
	const struct store_question *q;
	const struct tenant *tenant;
	struct store_ref *refs;
	size_t n, max;
	struct segment_id *sealed;
	size_t n_sealed;
};

static void find_release(struct find *f)
{
	free(f->refs);
	free(f->sealed);
}

static bool overlaps(const struct store_question *q, int64_t first, int64_t last)
{
	return last >= q->since_ns && (first < q->until_ns || q->until_ns == INT64_MAX);
}

static bool host_wanted(const struct store_question *q, const struct batch_name *host_id)
{
	for (size_t i = 0; i < q->n_hosts; i++)
		if (batch_name_equal(&q->hosts[i], host_id))
			return true;
	return q->n_hosts == 0;
}

static int add(struct find *f, const struct segment *g, const struct row *row,
	       const struct stream_key *k)
{
	if (!overlaps(f->q, row->first_wall_ns, row->last_wall_ns))
		return 0;
	if (f->n >= f->q->max)
		return -E2BIG;
	if (f->n == f->max) {
		size_t max = f->max ? 2 * f->max : 256;
		struct store_ref *refs = realloc(f->refs, max * sizeof(*refs));

		if (!refs)
			return -ENOMEM;
		f->refs = refs;
		f->max = max;
	}
	store_ref_make(g, row, k, &f->refs[f->n++]);
	return 0;
}

/* ---- in memory ---- */

static bool has_token(const struct token_row *t, uint32_t hash)
{
	uint32_t low = 0, high = t->n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (t->hashes[middle] == hash)
			return true;
		if (t->hashes[middle] < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool tokens_match(const struct store_question *q, const struct token_row *t)
{
	if (t->n > 0 && t->hashes[0] == TOKEN_ANY)
		return true;
	for (size_t i = 0; i < q->n_groups; i++) {
		bool any = false;

		for (size_t k = 0; k < q->groups[i].n && !any; k++)
			any = has_token(t, token_index_hash(q->groups[i].tokens[k]));
		if (!any)
			return false;
	}
	return true;
}

static int search_table(struct find *f, const struct segment *g)
{
	const struct segment_table *t = segment_writer_table(g->writer);
	int r = 0;

	if (!overlaps(f->q, t->first_wall_ns, t->last_wall_ns))
		return 0;
	for (uint32_t i = 0; i < t->n_rows && !r; i++) {
		const struct row *row = &t->rows[i];

		if (row->stream != ROW_NO_STREAM &&
		    host_wanted(f->q, &t->streams[row->stream].key.host_id) &&
		    tokens_match(f->q, &t->tokens[i]))
			r = add(f, g, row, &t->streams[row->stream].key);
	}
	return r;
}

/* ---- in index files ---- */

static int match_group(const struct segment_index *i, const struct store_group *group,
		       struct bitmap *hits)
{
	int r = segment_index_token(i, TOKEN_ANY, hits);

	for (size_t k = 0; k < group->n && !r; k++)
		r = segment_index_token(i, token_index_hash(group->tokens[k]), hits);
	return r;
}

static int match_tokens(const struct segment_index *i, const struct store_question *q,
			struct bitmap *rows)
{
	int r = 0;

	for (size_t k = 0; k < q->n_groups && !r; k++) {
		AUTO(bitmap_release) struct bitmap hits = { 0 };

		if (!bitmap_init(&hits, rows->n, false))
			return -ENOMEM;
		r = match_group(i, &q->groups[k], &hits);
		bitmap_and(rows, &hits);
	}
	return r;
}

static int match_hosts(const struct segment_index *i, const struct store_question *q,
		       const struct index_stream *streams, size_t n, struct bitmap *rows)
{
	AUTO(bitmap_release) struct bitmap hits = { 0 };
	int r = 0;

	if (q->n_hosts == 0)
		return 0;
	if (!bitmap_init(&hits, rows->n, false))
		return -ENOMEM;
	for (size_t k = 0; k < n && !r; k++)
		if (host_wanted(q, &streams[k].key.host_id))
			r = segment_index_stream_rows(i, &streams[k], &hits);
	bitmap_and(rows, &hits);
	return r;
}

static int add_rows(struct find *f, const struct segment *g, const struct segment_index *i,
		    const struct index_stream *streams, const struct bitmap *rows)
{
	AUTO(row_cursor_release) struct row_cursor c;
	int r = 0;

	row_cursor_init(&c, i);
	for (size_t at = bitmap_next(rows, 0); at < rows->n && !r; at = bitmap_next(rows, at + 1)) {
		struct row row;

		r = row_cursor_get(&c, (uint32_t)at, &row);
		if (!r && row.stream != ROW_NO_STREAM)
			r = add(f, g, &row, &streams[row.stream].key);
	}
	return r;
}

static int search_opened(struct find *f, const struct segment *g, const struct segment_index *i)
{
	AUTO(free_ptr) struct index_stream *streams = NULL;
	AUTO(bitmap_release) struct bitmap rows = { 0 };
	size_t n;
	int r;

	if (!bitmap_init(&rows, segment_index_summary(i)->rows, true))
		return -ENOMEM;
	/* Tokens first: mostly nothing is left after them. */
	r = match_tokens(i, f->q, &rows);
	if (r || bitmap_next(&rows, 0) == rows.n)
		return r;
	r = segment_index_streams(i, &streams, &n);
	if (!r)
		r = match_hosts(i, f->q, streams, n, &rows);
	return r ? r : add_rows(f, g, i, streams, &rows);
}

/* Whether the segment is still there; then mark its index when it turned out damaged. */
static bool still_there(struct find *f, const struct segment_id *id, bool damaged)
{
	struct segment *g;

	(void)pthread_rwlock_rdlock(&f->s->lock);
	g = tenant_segment(f->tenant, id);
	if (g && damaged && atomic_load(&g->index) == INDEX_GOOD)
		atomic_store(&g->index, INDEX_DAMAGED);
	(void)pthread_rwlock_unlock(&f->s->lock);
	return g != NULL;
}

static int search_sealed(struct find *f, const struct segment_id *id, struct error *e)
{
	AUTO(segment_index_close_ptr) struct segment_index *i = NULL;
	struct segment view = { .id = *id }; /* of the segment only the id is needed */
	char name[SEGMENT_NAME_MAX];
	int r = segment_index_open(f->tenant->dirfd, segment_name_index(id, name), &i, e);

	if (!r) {
		r = search_opened(f, &view, i);
		if (r && r != -E2BIG)
			error_set(e, r, "cannot search the index '%s': %m", name);
	}
	if (r == 0 || r == -E2BIG || r == -ENOMEM)
		return r;
	if (!still_there(f, id, r == -EBADMSG || r == -ENOENT))
		return 0;
	if (r == -ENOENT || r == -EBADMSG) {
		error_hint(
			e,
			"it is built again by and by; ask again, or run 'exhibit-collector reindex'");
		return -EBADMSG;
	}
	return r;
}

/* ---- all ---- */

/* Under the lock. */
static int snapshot(struct find *f)
{
	int r = 0;

	f->tenant = store_tenant(f->s, f->q->tenant);
	if (!f->tenant)
		return 0;
	f->sealed = calloc(f->tenant->n_segments + 1, sizeof(*f->sealed));
	if (!f->sealed)
		return -ENOMEM;
	for (size_t i = 0; i < f->tenant->n_segments && !r; i++) {
		const struct segment *g = f->tenant->segments[i];

		if (g->state != SEGMENT_SEALED)
			r = search_table(f, g);
		else if (overlaps(f->q, g->summary.first_wall_ns, g->summary.last_wall_ns))
			f->sealed[f->n_sealed++] = g->id;
	}
	return r;
}

static int by_time(const void *a, const void *b)
{
	const struct store_ref *x = a, *y = b;

	if (x->first_wall_ns != y->first_wall_ns)
		return x->first_wall_ns < y->first_wall_ns ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

int store_find(struct store *s, const struct store_question *q, struct store_ref **ret_refs,
	       size_t *ret_n, struct error *e)
{
	AUTO(find_release) struct find f = { .s = s, .q = q };
	int r;

	(void)pthread_rwlock_rdlock(&s->lock);
	r = snapshot(&f);
	(void)pthread_rwlock_unlock(&s->lock);
	if (r == -ENOMEM)
		return error_set(e, r, "cannot allocate the references to batches");
	for (size_t i = 0; i < f.n_sealed && !r; i++)
		r = search_sealed(&f, &f.sealed[i], e);
	if (r == -E2BIG) {
		error_set(e, r, "more than %zu batches may hold an answer", q->max);
		error_hint(e, "ask for less time, fewer hosts, or filter by an indexed field");
	}
	if (r)
		return r;
	if (f.n > 0)
		qsort(f.refs, f.n, sizeof(*f.refs), by_time);
	*ret_n = f.n;
	*ret_refs = TAKE(f.refs);
	return 0;
}
