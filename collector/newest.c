/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/newest.h"

#include <errno.h>
#include <string.h>

#include "collector/refs.h"

struct search {
	struct reading *reading;
	struct row_key *keys; /* the newest so far: a heap, the oldest first */
	size_t n, max, cap;
	const struct store_ref *ref; /* being read */
	int64_t since_ns, until_ns; /* of the span */
	bool hit; /* the batch being read gave a key */
	struct newest *out;
	size_t cap_refs;
};

/* ---- the heap of keys -------------------------------------------------------------------------------- */

static void swap(struct row_key *a, struct row_key *b)
{
	struct row_key t = *a;

	*a = *b;
	*b = t;
}

static void sift_down(struct search *s, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;

		if (left < s->n && row_key_compare(&s->keys[left], &s->keys[least]) < 0)
			least = left;
		if (right < s->n && row_key_compare(&s->keys[right], &s->keys[least]) < 0)
			least = right;
		if (least == i)
			return;
		swap(&s->keys[i], &s->keys[least]);
		i = least;
	}
}

static int push(struct search *s, const struct row_key *key)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 256;
		struct row_key *keys = reallocarray(s->keys, cap, sizeof(*keys));

		if (!keys)
			return -ENOMEM;
		s->keys = keys;
		s->cap = cap;
	}
	s->keys[s->n++] = *key;
	for (size_t i = s->n - 1; i && row_key_compare(&s->keys[i], &s->keys[(i - 1) / 2]) < 0;
	     i = (i - 1) / 2)
		swap(&s->keys[i], &s->keys[(i - 1) / 2]);
	return 0;
}

static bool full(const struct search *s)
{
	return s->n == s->max;
}

static int offer(void *ctx, const struct scan_row *row)
{
	struct search *s = ctx;
	struct row_key key;

	if (row->time_ns < s->since_ns || row->time_ns >= s->until_ns)
		return 0;
	key = row_key_of(row->time_ns, row->subject.event->sequence, row->index, s->ref);
	if (full(s)) {
		if (row_key_compare(&key, &s->keys[0]) <= 0)
			return 0;
		s->keys[0] = key;
		sift_down(s, 0);
		s->hit = true;
		return 0;
	}
	s->hit = true;
	return push(s, &key);
}

/* ---- the batches that hold them ------------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
	const struct store_ref *x = a, *y = b;
	int segment = memcmp(x->segment, y->segment, sizeof(x->segment));

	if (x->first_wall_ns != y->first_wall_ns)
		return x->first_wall_ns < y->first_wall_ns ? -1 : 1;
	if (segment != 0)
		return segment;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Each batch once, and only those that reach up to the oldest key. */
static void tidy(struct search *s)
{
	struct newest *out = s->out;
	size_t kept = 0;

	if (out->n > 1)
		qsort(out->refs, out->n, sizeof(*out->refs), by_place);
	for (size_t i = 0; i < out->n; i++) {
		if (full(s) && out->refs[i].last_wall_ns < row_key_time(&s->keys[0]))
			continue;
		if (kept && by_place(&out->refs[kept - 1], &out->refs[i]) == 0)
			continue;
		out->refs[kept++] = out->refs[i];
	}
	out->n = kept;
}

static int keep_ref(struct search *s, struct error *e)
{
	struct newest *out = s->out;

	if (out->n == REFS_MAX)
		tidy(s);
	if (out->n == REFS_MAX) {
		(void)error_set(e, -E2BIG, "the newest %zu rows lie in more than %d batches",
				s->max - 1, REFS_MAX);
		error_hint(e, "ask for fewer rows, one host or a shorter time");
		return -E2BIG;
	}
	if (out->n == s->cap_refs) {
		size_t cap = s->cap_refs ? s->cap_refs * 2 : 64;
		struct store_ref *refs = reallocarray(out->refs, cap, sizeof(*refs));

		if (!refs)
			return error_set(e, -ENOMEM, "cannot find the newest rows: out of memory");
		out->refs = refs;
		s->cap_refs = cap;
	}
	out->refs[out->n++] = *s->ref;
	return 0;
}

static int newest_first(const void *a, const void *b)
{
	int64_t x = (*(const struct store_ref *const *)a)->last_wall_ns;
	int64_t y = (*(const struct store_ref *const *)b)->last_wall_ns;

	return x > y ? -1 : x < y;
}

static int search_span(struct search *s, const struct store_ref *refs, size_t n, struct error *e)
{
	AUTO(free_ptr) const struct store_ref **order = calloc(n + 1, sizeof(*order));

	if (!order)
		return error_set(e, -ENOMEM, "cannot find the newest rows: out of memory");
	for (size_t i = 0; i < n; i++)
		order[i] = &refs[i];
	if (n > 1)
		qsort(order, n, sizeof(*order), newest_first);
	for (size_t i = 0; i < n; i++) {
		int r;

		if (full(s) && order[i]->last_wall_ns < row_key_time(&s->keys[0]))
			return 0;
		s->ref = order[i];
		s->hit = false;
		r = reading_batch(s->reading, s->ref, false, offer, s, e);
		if (r == 0 && s->hit)
			r = keep_ref(s, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int search_all(struct search *s, const struct store_question *q, struct error *e)
{
	AUTO(refs_end) struct refs_walk walk;
	size_t n;
	int r;

	refs_begin(&walk, s->reading, q, true);
	for (;;) {
		AUTO(free_ptr) struct store_ref *refs = NULL;

		r = refs_next(&walk, &refs, &n, &s->since_ns, &s->until_ns, e);
		if (r <= 0)
			return r;
		if (full(s) && s->until_ns <= row_key_time(&s->keys[0]))
			return 0;
		r = search_span(s, refs, n, e);
		if (r < 0)
			return r;
	}
}

static void search_release(struct search *s)
{
	free(s->keys);
}

int newest_find(struct reading *r, const struct store_question *q, size_t limit, struct newest *ret,
		struct error *e)
{
	/* One more than asked for tells whether the answer is cut. */
	AUTO(search_release) struct search s = { .reading = r, .max = limit + 1, .out = ret };
	int result;

	*ret = (struct newest){ 0 };
	result = search_all(&s, q, e);
	if (result < 0) {
		newest_release(ret);
		return result;
	}
	tidy(&s);
	ret->cut = full(&s);
	if (ret->cut) {
		swap(&s.keys[0], &s.keys[s.n - 1]);
		s.n--;
		sift_down(&s, 0);
	}
	if (s.n)
		ret->from = s.keys[0];
	return 0;
}

void newest_release(struct newest *n)
{
	free(n->refs);
	*n = (struct newest){ 0 };
}
