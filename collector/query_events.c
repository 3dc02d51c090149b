/* SPDX-License-Identifier: Apache-2.0 */
/* Events: the newest so many, or all in order from a time or a cursor, and then what arrives. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/filter.h"
#include "collector/merge.h"
#include "collector/newest.h"
#include "collector/query_scope.h"
#include "collector/refs.h"

#define FOLLOW_BUDGET MiB(4) /* a tail's own thread reads its history with less */
#define FOLLOW_WAIT_MS 100 /* between looks at whether the asker is still there */
#define SEEN_MAX 4096 /* batches of the history that may also come live */

struct place {
	uint8_t segment[16];
	uint64_t offset;
};

struct events {
	struct query_scope scope;
	struct filter *filter;
	struct answer *answer;
	struct live_follower *follower; /* NULL: not live */
	int64_t since_ns, until_ns;
	struct row_key from;
	bool cut;
	size_t budget;
	/* Live only: the newest batches that the history covers. */
	struct place seen[SEEN_MAX];
	size_t n_seen;
};

static int check_question(const Exhibit__V1__EventsQuery *m, struct error *e)
{
	if (m->follow && m->until_ns)
		return error_set(e, -EINVAL,
				 "a live tail has no end time; leave out 'until' or 'follow'");
	if (m->follow && m->no_rows)
		return error_set(e, -EINVAL, "a live tail without rows makes no sense");
	if (m->cursor.len && m->cursor.len != ROW_KEY_LEN)
		return error_set(e, -EINVAL, "the cursor is not one of ours");
	if (m->cursor.len && m->limit)
		return error_set(e, -EINVAL, "a cursor goes with limit 0");
	if (m->limit > NEWEST_MAX) {
		(void)error_set(e, -EINVAL, "a limit of %" PRIu64 " is too large, at most %d",
				m->limit, NEWEST_MAX);
		error_hint(e, "ask without a limit for everything, in order");
		return -EINVAL;
	}
	if (m->until_ns && m->since_ns >= m->until_ns)
		return error_set(e, -EINVAL, "the time asked for ends before it begins");
	return 0;
}

static int emit(void *ctx, const struct kept_row *row)
{
	struct events *q = ctx;
	struct answer_row out = {
		.context = &row->context->message,
		.event = row->event,
		.event_len = row->event_len,
		.process = row->process ? row->process->bytes : NULL,
		.process_len = row->process ? row->process->len : 0,
		.key = &row->key,
	};

	return answer_row(q->answer, &out);
}

/* ---- history ------------------------------------------------------------------------------------------ */

/* Both may come: a batch that became durable between following and searching. */
static void remember(struct events *q, const struct store_ref *refs, size_t n)
{
	for (size_t i = 0; q->follower && i < n; i++) {
		struct place *p = &q->seen[q->n_seen++ % SEEN_MAX];

		memcpy(p->segment, refs[i].segment, sizeof(p->segment));
		p->offset = refs[i].offset;
	}
}

static struct store_question question_of(struct events *q)
{
	struct store_question s = scope_question(&q->scope, q->since_ns, q->until_ns);

	s.groups = filter_groups(q->filter, &s.n_groups);
	return s;
}

static int run_newest(struct events *q, size_t limit, struct error *e)
{
	AUTO(newest_release) struct newest newest = { 0 };
	struct store_question question = question_of(q);
	struct merge_question merge = { .until_ns = q->until_ns,
					.budget = q->budget,
					.again = true };
	int r = newest_find(&q->scope.reading, &question, limit, &newest, e);

	if (r < 0)
		return r;
	remember(q, newest.refs, newest.n);
	q->cut = newest.cut;
	if (newest.cut)
		q->scope.shown_since_ns = row_key_time(&newest.from);
	merge.refs = newest.refs;
	merge.n = newest.n;
	merge.from = newest.from;
	return merge_run(&q->scope.reading, &merge, emit, q, e);
}

static int run_all(struct events *q, struct error *e)
{
	struct store_question question = question_of(q);
	AUTO(refs_end) struct refs_walk walk;

	refs_begin(&walk, &q->scope.reading, &question, false);
	for (;;) {
		AUTO(free_ptr) struct store_ref *refs = NULL;
		struct merge_question merge = { .budget = q->budget };
		int64_t since_ns;
		int r = refs_next(&walk, &refs, &merge.n, &since_ns, &merge.until_ns, e);

		if (r <= 0)
			return r;
		remember(q, refs, merge.n);
		merge.refs = refs;
		merge.from = row_key_from(since_ns);
		if (row_key_compare(&merge.from, &q->from) < 0)
			merge.from = q->from;
		r = merge_run(&q->scope.reading, &merge, emit, q, e);
		if (r < 0)
			return r;
	}
}

/* ---- live ---------------------------------------------------------------------------------------------- */

static bool in_history(const struct events *q, const struct store_ref *ref)
{
	size_t n = q->n_seen < SEEN_MAX ? q->n_seen : SEEN_MAX;

	for (size_t i = 0; i < n; i++)
		if (q->seen[i].offset == ref->offset &&
		    memcmp(q->seen[i].segment, ref->segment, 16) == 0)
			return true;
	return false;
}

static bool in_scope(const struct events *q, const struct store_ref *ref)
{
	for (size_t i = 0; i < q->scope.n_ids; i++)
		if (q->scope.ids[i].len == ref->host_id.len &&
		    memcmp(q->scope.ids[i].b, ref->host_id.b, ref->host_id.len) == 0)
			return true;
	return q->scope.n_ids == 0;
}

static int show_live(struct events *q, const struct store_ref *ref, struct error *e)
{
	struct merge_question merge = { .refs = ref,
					.n = 1,
					.from = row_key_from(INT64_MIN),
					.until_ns = INT64_MAX,
					.budget = q->budget };
	int r = 0;

	if (in_scope(q, ref) && !in_history(q, ref) && ref->count)
		r = merge_run(&q->scope.reading, &merge, emit, q, e);
	return r < 0 ? r : answer_flush(q->answer);
}

/* A tail that reads too slowly is told what it missed, at once; so are faults of batches. */
static int tell_missed(struct events *q)
{
	uint64_t missed = live_missed(q->follower);
	struct completeness c = { .hosts = q->scope.n_hosts,
				  .since_ns = q->since_ns,
				  .until_ns = q->scope.now_ns };
	struct missing_list *list = &q->scope.missing;
	struct missing *m = missed ? missing_add(list, NULL, NULL) : NULL;
	int r;

	reading_end(&q->scope.reading);
	if (m) {
		m->has_count = true;
		m->count = missed;
		(void)snprintf(m->reason, sizeof(m->reason),
			       "this tail read too slowly and was not shown %" PRIu64
			       " batches; they are stored, ask for them with 'exhibit events'",
			       missed);
	}
	if (!list->total)
		return 0;
	r = answer_complete(q->answer, &c, list, false);
	missing_release(list);
	return r;
}

static int run_live(struct events *q, struct error *e)
{
	const struct answer_sink *sink = &q->scope.query->sink;
	int r = answer_flush(q->answer);

	while (r == 0 && !live_closed(q->follower)) {
		AUTO(free_ptr) struct store_ref *ref = live_pop(q->follower, FOLLOW_WAIT_MS);

		if (sink->cancelled && sink->cancelled(sink->ctx))
			return -ECANCELED;
		if (ref)
			r = show_live(q, ref, e);
		if (r == 0)
			r = tell_missed(q);
	}
	return r;
}

/* ---- the question ---------------------------------------------------------------------------------------- */

static int begin(struct events *q, const struct query *query, const Exhibit__V1__EventsQuery *m,
		 struct error *e)
{
	int r = check_question(m, e);

	if (r < 0)
		return r;
	r = filter_compile(m->terms, m->n_terms, &q->filter, e);
	if (r < 0)
		return r;
	r = scope_init(&q->scope, query, m->hosts, m->n_hosts, e);
	if (r < 0)
		return r;
	r = answer_new(&query->sink, &q->answer, e);
	if (r < 0)
		return r;
	q->scope.reading.filter = q->filter;
	q->since_ns = m->since_ns ? m->since_ns : INT64_MIN;
	q->until_ns = m->until_ns ? m->until_ns : INT64_MAX;
	q->from = row_key_from(q->since_ns);
	q->budget = m->follow ? FOLLOW_BUDGET : MERGE_BUDGET;
	if (m->cursor.len) {
		memcpy(q->from.b, m->cursor.data, ROW_KEY_LEN);
		q->since_ns = row_key_time(&q->from);
		/* The next key after it: keys are unique, so only the cursor's own row is passed over. */
		for (size_t i = ROW_KEY_LEN; i-- > 0 && ++q->from.b[i] == 0;)
			;
	}
	return m->follow ? live_follow(query->env->live, &query->tenant, &q->follower, e) : 0;
}

static int run(struct events *q, const struct query *query, const Exhibit__V1__EventsQuery *m,
	       struct error *e)
{
	struct completeness c;
	int r = begin(q, query, m, e);

	if (r < 0)
		return r;
	if (!m->no_rows)
		r = m->limit ? run_newest(q, m->limit, e) : run_all(q, e);
	if (r < 0)
		return r;
	if (m->follow)
		return run_live(q, e);
	r = scope_complete(&q->scope, m->since_ns, q->until_ns, filter_classes(q->filter), &c, e);
	return r < 0 ? r : answer_complete(q->answer, &c, &q->scope.missing, q->cut);
}

int query_events(const struct query *query, const Exhibit__V1__EventsQuery *m, struct error *e)
{
	struct events *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	r = run(q, query, m, e);
	live_leave(query->env->live, q->follower);
	answer_free(q->answer);
	scope_release(&q->scope);
	filter_free(q->filter);
	free(q);
	return r;
}
