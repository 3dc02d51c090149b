/* SPDX-License-Identifier: Apache-2.0 */
/* Questions over random batches: what the index, the merge and the newest-first search give must be what
 * looking at every event gives. */
#include "tests/unit/query_world.h"

#include "collector/filter.h"
#include "collector/merge.h"
#include "collector/newest.h"

/* ---- what looking at everything gives --------------------------------------------------------------------- */

struct found {
	struct seen event;
	struct row_key key;
};

static int collect(void *ctx, const struct scan_row *row)
{
	struct world *w = ((void **)ctx)[0];
	struct found *all = ((void **)ctx)[1];
	size_t *n = ((void **)ctx)[2];
	const struct store_ref *ref = ((void **)ctx)[3];

	(void)w;
	all[*n].event = (struct seen){ (char)ref->host_id.b[0], (unsigned int)ref->lane,
				       row->subject.event->sequence,
				       row->subject.event->boottime_ns };
	all[(*n)++].key = row_key_of(row->time_ns, row->subject.event->sequence, row->index, ref);
	return 0;
}

static int by_key(const void *a, const void *b)
{
	return row_key_compare(&((const struct found *)a)->key, &((const struct found *)b)->key);
}

static size_t brute_force(struct world *w, Exhibit__V1__EventsQuery *m, struct found *all)
{
	struct filter *f;
	struct scan *scan;
	struct scan_counts counts = { 0 };
	size_t n = 0, kept = 0;

	assert_int_equal(filter_compile(m->terms, m->n_terms, &f, NULL), 0);
	assert_int_equal(scan_new(&scan, NULL), 0);
	for (size_t i = 0; i < w->store->n; i++) {
		const struct fake_batch *b = &w->store->batches[i];
		const void *ctx[] = { w, all, &n, &b->ref };

		assert_int_equal(scan_bytes(scan, &b->ref, b->bytes, b->len, f, collect, ctx,
					    &counts, NULL),
				 0);
	}
	for (size_t i = 0; i < n; i++) {
		int64_t at = row_key_time(&all[i].key);

		if (at >= (m->since_ns ? m->since_ns : INT64_MIN) &&
		    at < (m->until_ns ? m->until_ns : INT64_MAX))
			all[kept++] = all[i];
	}
	qsort(all, kept, sizeof(*all), by_key);
	scan_free(scan);
	filter_free(f);
	return kept;
}

static void compare(struct world *w, const struct found *all, size_t n)
{
	assert_int_equal(w->n_out, n);
	for (size_t i = 0; i < n; i++)
		assert_memory_equal(&w->out[i], &all[i].event, sizeof(w->out[i]));
}

/* ---- random questions -------------------------------------------------------------------------------------- */

struct question {
	Exhibit__V1__EventsQuery m;
	Exhibit__V1__FilterTerm terms[4], *pointers[4];
	char values[4][64];
};

static const struct {
	const char *field;
	Exhibit__V1__FilterOp op;
	const char *value;
} choices[] = {
	{ "process.name", 0, "ls" },
	{ "process.name", 0, "sshd" },
	{ "any.path", 0, "/tmp/x" },
	{ "any.path", 1, "/etc" },
	{ "any.path", 0, "/var/log/\xff" },
	{ "file.path", 0, "/etc/passwd" },
	{ "any.ip", 0, "10.0.0.1" },
	{ "any.ip", 3, "192.168.0.2/31" },
	{ "any.ip", 3, "10.0.0.3/32" },
	{ "destination.port", 0, "443" },
	{ "any.port", 0, "40001" },
	{ "event.action", 0, "exec" },
	{ "event.action", 0, "accept" },
	{ "event.action", 0, "connect" },
	{ "process.user.id", 0, "1" },
	{ "process.pid", 0, "3" },
	{ "any.text", 2, "passwd" },
	{ "process.command_line", 2, "cat /tmp" },
	{ "exhibit.existing", 0, "true" },
	{ "exhibit.existing", 0, "false" },
	{ "process.parent.pid", 0, "1" },
	{ "event.id", 1, "a/" },
	{ "host.name", 0, "b" },
	{ "process.args", 0, "bash" },
	{ "process.entity_id", 0, "01010101010101010101010101010101-3-3-1" },
	{ "container.id", 0, "none" },
	{ "orchestrator.resource.name", 0, "web-1" },
	{ "orchestrator.resource.name", 1, "web-" },
	{ "orchestrator.namespace", 0, "shop" },
	{ "container.image.name", 0, "nginx" },
	{ "container.image.name", 2, "ngi" },
};

static void make_question(struct world *w, struct question *q)
{
	exhibit__v1__events_query__init(&q->m);
	q->m.n_terms = rnd(w, 4);
	q->m.terms = q->pointers;
	for (size_t i = 0; i < q->m.n_terms; i++) {
		uint32_t c = rnd(w, ARRAY_LEN(choices));

		exhibit__v1__filter_term__init(&q->terms[i]);
		q->terms[i].field = text(choices[c].field);
		q->terms[i].op = choices[c].op;
		q->terms[i].value = text(choices[c].value);
		q->terms[i].group = rnd(w, 2);
		q->pointers[i] = &q->terms[i];
	}
	if (rnd(w, 3) == 0)
		q->m.since_ns = FAKE_OFFSET + rnd(w, 200);
	if (rnd(w, 3) == 0)
		q->m.until_ns = (q->m.since_ns ? q->m.since_ns : FAKE_OFFSET) + 1 + rnd(w, 200);
}

static void index_merge_and_scan_agree(void **state)
{
	struct world *w = *state;
	struct found *all = calloc(EVENTS_MAX, sizeof(*all));
	size_t matched = 0, saved = 0;

	for (int i = 0; i < 300; i++) {
		struct question q;
		size_t n;

		make_question(w, &q);
		n = brute_force(w, &q.m, all);
		/* Sometimes so few references fit that the time must be halved. */
		w->store->max = rnd(w, 2) ? 24 + rnd(w, 20) : 0;
		w->store->reads = 0;
		assert_int_equal(run(w, &q.m, NULL), 0);
		assert_true(w->complete && !w->cut);
		saved += w->store->reads < w->store->n;
		compare(w, all, n);
		matched += n > 0;
		/* The newest so many. */
		q.m.limit = 1 + rnd(w, 40);
		assert_int_equal(run(w, &q.m, NULL), 0);
		assert_int_equal(w->cut, n > q.m.limit);
		compare(w, n > q.m.limit ? all + (n - q.m.limit) : all,
			n > q.m.limit ? (size_t)q.m.limit : n);
	}
	/* The test would prove little if nothing matched, or the index saved no reading. */
	assert_true(matched > 100);
	assert_true(saved > 100);
	w->store->max = 0;
	free(all);
}

struct merged {
	struct found *all;
	size_t n;
	bool wrong;
};

static int check_next(void *ctx, const struct kept_row *row)
{
	struct merged *m = ctx;

	m->wrong |= row_key_compare(&row->key, &m->all[m->n++].key) != 0;
	return 0;
}

/* With room for a handful of rows the end of the span is pulled in again and again. */
static void a_small_budget_gives_the_same(void **state)
{
	struct world *w = *state;
	struct found *all = calloc(EVENTS_MAX, sizeof(*all));
	struct missing_list missing = { 0 };
	struct reading reading = { .store = w->store, .missing = &missing };
	struct store_ref refs[FAKE_BATCHES_MAX];
	struct question q;
	size_t n;

	exhibit__v1__events_query__init(&q.m);
	n = brute_force(w, &q.m, all);
	for (size_t i = 0; i < w->store->n; i++)
		refs[i] = w->store->batches[i].ref;
	qsort(refs, w->store->n, sizeof(refs[0]), fake_by_time);
	assert_int_equal(scan_new(&reading.scan, NULL), 0);
	for (size_t budget = 500; budget < 50000; budget *= 3) {
		struct merge_question m = { .refs = refs,
					    .n = w->store->n,
					    .from = row_key_from(INT64_MIN),
					    .until_ns = INT64_MAX,
					    .budget = budget };
		struct merged out = { .all = all };

		w->store->reads = 0;
		assert_int_equal(merge_run(&reading, &m, check_next, &out, NULL), 0);
		assert_int_equal(out.n, n);
		assert_false(out.wrong);
		if (budget == 500)
			assert_true(w->store->reads > 2 * w->store->n);
	}
	scan_free(reading.scan);
	free(all);
}

static void a_cursor_goes_on_where_it_was(void **state)
{
	struct world *w = *state;
	struct found *all = calloc(EVENTS_MAX, sizeof(*all));
	struct question q;
	size_t n, first;

	exhibit__v1__events_query__init(&q.m);
	n = brute_force(w, &q.m, all);
	w->stop_after = 2;
	assert_int_equal(run(w, &q.m, NULL), -ECANCELED);
	w->stop_after = 0;
	first = w->n_out;
	assert_true(first > 0 && first < n);
	q.m.cursor = (ProtobufCBinaryData){ w->cursor_len, w->cursor };
	assert_int_equal(run(w, &q.m, NULL), 0);
	assert_int_equal(first + w->n_out, n);
	assert_memory_equal(&w->out[0], &all[first].event, sizeof(w->out[0]));
	free(all);
}

static void hosts_are_chosen_by_name(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	ProtobufCBinaryData host = text("b");
	struct error e = { 0 };

	m.hosts = &host;
	m.n_hosts = 1;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_true(w->n_out > 0);
	for (size_t i = 0; i < w->n_out; i++)
		assert_int_equal(w->out[i].host, 'b');
	host = text("nobody");
	assert_int_equal(run(w, &m, &e), -ENOENT);
	assert_string_equal(e.text, "no host is called 'nobody'");
}

static const struct refused {
	const char *name;
	Exhibit__V1__EventsQuery m;
	const char *want;
} refused[] = {
	{ "until with follow", { .follow = true, .until_ns = 5 }, "no end time" },
	{ "no rows with follow", { .follow = true, .no_rows = true }, "makes no sense" },
	{ "foreign cursor", { .cursor = { 3, (uint8_t *)(uintptr_t) "abc" } }, "not one of ours" },
	{ "limit too large", { .limit = NEWEST_MAX + 1 }, "too large" },
	{ "ends before it begins", { .since_ns = 9, .until_ns = 9 }, "ends before it begins" },
};

static void refuses(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		Exhibit__V1__EventsQuery m = refused[i].m, init = EXHIBIT__V1__EVENTS_QUERY__INIT;
		struct error e = { 0 };

		m.base = init.base;
		assert_int_equal(run(w, &m, &e), -EINVAL);
		if (!strstr(e.text, refused[i].want))
			fail_msg("%s: %s", refused[i].name, e.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses),
		cmocka_unit_test(index_merge_and_scan_agree),
		cmocka_unit_test(a_small_budget_gives_the_same),
		cmocka_unit_test(a_cursor_goes_on_where_it_was),
		cmocka_unit_test(hosts_are_chosen_by_name),
	};

	return cmocka_run_group_tests_name("query_events", tests, setup, teardown);
}
