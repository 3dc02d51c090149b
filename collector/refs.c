/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/refs.h"

#include <errno.h>

static void push(struct refs_walk *w, int64_t since_ns, int64_t until_ns)
{
	w->spans[w->n_spans].since_ns = since_ns;
	w->spans[w->n_spans].until_ns = until_ns;
	w->n_spans++;
}

void refs_begin(struct refs_walk *w, struct store *store, const struct store_question *q, bool newest_first)
{
	*w = (struct refs_walk){ .store = store, .question = *q, .newest_first = newest_first };
	w->question.max = REFS_MAX;
	push(w, q->since_ns, q->until_ns);
}

static size_t without_tombstones(struct store_ref *refs, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (refs[i].kind == STORE_BATCH)
			refs[kept++] = refs[i];
	return kept;
}

/* Split into two spans that share no instant. */
static int halve(struct refs_walk *w, int64_t since_ns, int64_t until_ns, struct error *e)
{
	/* Unsigned: the span of all time is wider than an int64_t. */
	uint64_t width = (uint64_t)until_ns - (uint64_t)since_ns;
	int64_t middle = (int64_t)((uint64_t)since_ns + width / 2);

	if (width < 2 || w->n_spans + 2 > REFS_SPANS_MAX) {
		(void)error_set(e, -E2BIG, "more than %d batches claim one instant", REFS_MAX);
		error_hint(e, "ask for one host");
		return -E2BIG;
	}
	push(w, w->newest_first ? since_ns : middle, w->newest_first ? middle : until_ns);
	push(w, w->newest_first ? middle : since_ns, w->newest_first ? until_ns : middle);
	return 0;
}

int refs_next(struct refs_walk *w, struct store_ref **ret_refs, size_t *ret_n, int64_t *ret_since_ns,
	      int64_t *ret_until_ns, struct error *e)
{
	while (w->n_spans) {
		int64_t since_ns = w->spans[w->n_spans - 1].since_ns, until_ns = w->spans[w->n_spans - 1].until_ns;
		int r;

		w->n_spans--;
		w->question.since_ns = since_ns;
		w->question.until_ns = until_ns;
		r = store_find(w->store, &w->question, ret_refs, ret_n, e);
		if (r == -E2BIG)
			r = halve(w, since_ns, until_ns, e);
		else if (r == 0) {
			*ret_n = without_tombstones(*ret_refs, *ret_n);
			*ret_since_ns = since_ns;
			*ret_until_ns = until_ns;
			return 1;
		}
		if (r < 0)
			return r;
	}
	return 0;
}
