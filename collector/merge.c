/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/merge.h"

#include <errno.h>
#include <string.h>

struct merge {
	struct reading *reading;
	const struct merge_question *q;
	struct row_key low, high; /* keys of this pass: low <= key < high */
	struct row_set **heap; /* open batches, the one with the smallest next key first */
	size_t n_heap, cap_heap;
	size_t bytes;
	uint8_t *opened; /* bit per batch: read before */
};

/* ---- heap ---------------------------------------------------------------------------------------- */

static const struct row_key *next_key(const struct row_set *s)
{
	return &s->rows[s->next]->key;
}

static bool before(const struct merge *m, size_t a, size_t b)
{
	return row_key_compare(next_key(m->heap[a]), next_key(m->heap[b])) < 0;
}

static void swap(struct merge *m, size_t a, size_t b)
{
	struct row_set *t = m->heap[a];

	m->heap[a] = m->heap[b];
	m->heap[b] = t;
}

static void sift_down(struct merge *m, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;

		if (left < m->n_heap && before(m, left, least))
			least = left;
		if (right < m->n_heap && before(m, right, least))
			least = right;
		if (least == i)
			return;
		swap(m, i, least);
		i = least;
	}
}

static void sift_up(struct merge *m, size_t i)
{
	for (; i && before(m, i, (i - 1) / 2); i = (i - 1) / 2)
		swap(m, i, (i - 1) / 2);
}

static void set_free(struct row_set *s)
{
	row_set_release(s);
	free(s);
}

static int heap_push(struct merge *m, struct row_set *s)
{
	if (m->n_heap == m->cap_heap) {
		size_t cap = m->cap_heap ? m->cap_heap * 2 : 64;
		struct row_set **heap = reallocarray(m->heap, cap, sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		m->heap = heap;
		m->cap_heap = cap;
	}
	m->heap[m->n_heap++] = s;
	m->bytes += s->bytes;
	sift_up(m, m->n_heap - 1);
	return 0;
}

/* ---- pulling the end in ---------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
	return row_key_compare(a, b);
}

/* A key that about half of the rows lie behind: the median of the batches' medians, but never the very
 * first, or nothing would be left. false: there is only one row. */
static bool middle_key(const struct merge *m, struct row_key *ret)
{
	AUTO(free_ptr) struct row_key *keys = calloc(m->n_heap, sizeof(*keys));
	const struct row_key *first = next_key(m->heap[0]);
	size_t pick = m->n_heap / 2;

	if (!keys)
		return false;
	for (size_t i = 0; i < m->n_heap; i++) {
		const struct row_set *s = m->heap[i];

		keys[i] = s->rows[s->next + row_set_left(s) / 2]->key;
	}
	qsort(keys, m->n_heap, sizeof(*keys), compare_keys);
	while (pick < m->n_heap && row_key_compare(&keys[pick], first) <= 0)
		pick++;
	if (pick == m->n_heap)
		return false;
	*ret = keys[pick];
	return true;
}

static void shrink(struct merge *m)
{
	while (m->bytes > m->q->budget / 2 && middle_key(m, &m->high)) {
		size_t kept = 0;

		m->bytes = 0;
		for (size_t i = 0; i < m->n_heap; i++) {
			row_set_cut(m->heap[i], &m->high);
			if (row_set_left(m->heap[i]) == 0) {
				set_free(m->heap[i]);
				continue;
			}
			m->bytes += m->heap[i]->bytes;
			m->heap[kept++] = m->heap[i];
		}
		m->n_heap = kept;
		for (size_t i = kept / 2; i-- > 0;)
			sift_down(m, i);
	}
}

/* ---- one batch --------------------------------------------------------------------------------------- */

struct filling {
	struct merge *m;
	struct row_set *set;
};

static int keep_row(void *ctx, const struct scan_row *row)
{
	struct filling *f = ctx;
	struct row_key key =
		row_key_of(row->time_ns, row->subject.event->sequence, row->index, f->set->ref);

	if (row_key_compare(&key, &f->m->low) < 0 || row_key_compare(&key, &f->m->high) >= 0)
		return 0;
	return row_set_add(f->set, row, &key);
}

static void set_free_ptr(struct row_set **s)
{
	if (*s)
		set_free(*s);
}

static int open_batch(struct merge *m, size_t i, struct error *e)
{
	AUTO(set_free_ptr) struct row_set *set = calloc(1, sizeof(*set));
	struct filling f = { m, set };
	bool again = m->q->again || m->opened[i / 8] >> i % 8 & 1;
	int r;

	if (!set)
		return error_set(e, -ENOMEM, "cannot merge batches: out of memory");
	set->ref = &m->q->refs[i];
	m->opened[i / 8] |= (uint8_t)(1u << i % 8);
	r = reading_batch(m->reading, set->ref, again, keep_row, &f, e);
	if (r < 0)
		return r;
	row_set_sort(set);
	if (row_set_left(set) == 0)
		return 0;
	r = heap_push(m, set);
	if (r < 0)
		return error_set(e, r, "cannot merge batches: out of memory");
	set = NULL; /* the heap's now */
	if (m->bytes > m->q->budget)
		shrink(m);
	return 0;
}

/* ---- passes -------------------------------------------------------------------------------------------- */

/* Open every batch whose time has come. */
static int open_due(struct merge *m, size_t *at, struct error *e)
{
	for (; *at < m->q->n; (*at)++) {
		const struct store_ref *ref = &m->q->refs[*at];
		struct row_key first = row_key_from(ref->first_wall_ns);
		int r;

		if (m->n_heap && ref->first_wall_ns > row_key_time(next_key(m->heap[0])))
			return 0;
		if (row_key_compare(&first, &m->high) >= 0) {
			*at = m->q->n;
			return 0;
		}
		if (ref->last_wall_ns < row_key_time(&m->low))
			continue;
		r = open_batch(m, *at, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int emit_first(struct merge *m, merge_emit_fn *emit, void *ctx)
{
	struct row_set *s = m->heap[0];
	size_t before_bytes = s->bytes;
	struct kept_row *row = row_set_take(s);
	int r = emit(ctx, row);

	kept_row_free(row);
	m->bytes -= before_bytes - s->bytes;
	if (row_set_left(s) == 0) {
		m->bytes -= s->bytes < m->bytes ? s->bytes : m->bytes;
		m->heap[0] = m->heap[--m->n_heap];
		set_free(s);
	}
	sift_down(m, 0);
	return r;
}

static int run_pass(struct merge *m, merge_emit_fn *emit, void *ctx, struct error *e)
{
	size_t at = 0;
	int r = open_due(m, &at, e);

	while (r == 0 && m->n_heap) {
		r = emit_first(m, emit, ctx);
		if (r == 0)
			r = open_due(m, &at, e);
	}
	return r;
}

static void merge_release(struct merge *m)
{
	for (size_t i = 0; i < m->n_heap; i++)
		set_free(m->heap[i]);
	free(m->heap);
	free(m->opened);
}

int merge_run(struct reading *r, const struct merge_question *q, merge_emit_fn *emit, void *ctx,
	      struct error *e)
{
	AUTO(merge_release) struct merge m = { .reading = r, .q = q, .low = q->from };
	struct row_key end = row_key_from(q->until_ns);

	if (q->until_ns == INT64_MAX)
		memset(end.b, 0xff, sizeof(end.b));
	m.opened = calloc(q->n / 8 + 1, 1);
	if (!m.opened)
		return error_set(e, -ENOMEM, "cannot merge batches: out of memory");
	while (row_key_compare(&m.low, &end) < 0) {
		int result;

		m.high = end;
		result = run_pass(&m, emit, ctx, e);
		if (result != 0)
			return result;
		m.low = m.high;
	}
	return 0;
}
