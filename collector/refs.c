/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/refs.h"

#include <errno.h>
#include <stdio.h>

static void push(struct refs_walk *w, int64_t since_ns, int64_t until_ns)
{
	w->spans[w->n_spans].since_ns = since_ns;
	w->spans[w->n_spans].until_ns = until_ns;
	w->n_spans++;
}

void refs_begin(struct refs_walk *w, struct reading *r, const struct store_question *q,
		bool newest_first)
{
	*w = (struct refs_walk){ .reading = r, .question = *q, .newest_first = newest_first };
	w->question.max = REFS_MAX;
	push(w, q->since_ns, q->until_ns);
}

void refs_end(struct refs_walk *w)
{
	free(w->kept);
	w->kept = NULL;
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

static void tell_left_out(struct refs_walk *w, const struct batch_name *host)
{
	struct missing *m = missing_add(w->reading->missing, host, NULL);

	if (!m)
		return;
	m->from_ns = w->question.since_ns;
	m->to_ns = w->question.until_ns;
	(void)snprintf(
		m->reason, sizeof(m->reason),
		"more than %d of its batches claim the same minute; the host is left out of this answer",
		REFS_MAX);
}

/* Whether one host alone has too much for the span that the question stands at. 1, 0 or an error. */
static int claims_too_much(struct refs_walk *w, const struct batch_name *host, struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	struct store_question q = w->question;
	size_t n;
	int r;

	q.hosts = host;
	q.n_hosts = 1;
	r = store_find(w->reading->store, &q, &refs, &n, e);
	return r == -E2BIG ? 1 : r;
}

/* 1: somebody was left out; 0: nobody is to blame alone. */
static int leave_out(struct refs_walk *w, struct error *e)
{
	bool named = w->question.n_hosts > 0;
	const struct batch_name *hosts = named ? w->question.hosts : w->reading->hosts;
	size_t n = named ? w->question.n_hosts : w->reading->n_hosts, kept = 0;
	AUTO(free_ptr) struct batch_name *keep = calloc(n + 1, sizeof(*keep));

	if (!keep)
		return error_set(e, -ENOMEM, "cannot find batches: out of memory");
	for (size_t i = 0; i < n; i++) {
		int r = claims_too_much(w, &hosts[i], e);

		if (r < 0)
			return r;
		if (r)
			tell_left_out(w, &hosts[i]);
		else
			keep[kept++] = hosts[i];
	}
	if (kept == n)
		return 0;
	/* No host at all would mean every host: there is nothing more to find. */
	if (kept == 0)
		w->n_spans = 0;
	free(w->kept);
	w->kept = TAKE(keep);
	w->question.hosts = w->kept;
	w->question.n_hosts = kept;
	return 1;
}

static int make_smaller(struct refs_walk *w, int64_t since_ns, int64_t until_ns, struct error *e)
{
	int r = 0;

	if ((uint64_t)until_ns - (uint64_t)since_ns < REFS_NARROW_NS)
		r = leave_out(w, e);
	if (r < 0)
		return r;
	if (r == 0)
		return halve(w, since_ns, until_ns, e);
	if (w->question.n_hosts)
		push(w, since_ns, until_ns);
	return 0;
}

int refs_next(struct refs_walk *w, struct store_ref **ret_refs, size_t *ret_n,
	      int64_t *ret_since_ns, int64_t *ret_until_ns, struct error *e)
{
	while (w->n_spans) {
		int64_t since_ns = w->spans[w->n_spans - 1].since_ns,
			until_ns = w->spans[w->n_spans - 1].until_ns;
		int r;

		w->n_spans--;
		w->question.since_ns = since_ns;
		w->question.until_ns = until_ns;
		r = store_find(w->reading->store, &w->question, ret_refs, ret_n, e);
		if (r == 0) {
			*ret_n = without_tombstones(*ret_refs, *ret_n);
			*ret_since_ns = since_ns;
			*ret_until_ns = until_ns;
			return 1;
		}
		if (r == -E2BIG)
			r = make_smaller(w, since_ns, until_ns, e);
		if (r < 0)
			return r;
	}
	return 0;
}
