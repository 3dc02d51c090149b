/* SPDX-License-Identifier: Apache-2.0 */
/* Questions over random batches: what the index, the merge and the newest-first search give must be what
 * looking at every event gives. */
#include "tests/unit/fake_store.h"

#include "collector/filter.h"
#include "collector/merge.h"
#include "collector/newest.h"
#include "collector/query.h"
#include "proto/entity.h"

#define EVENTS_MAX 8192
#define HOSTS 3

struct seen {
	char host;
	unsigned int lane;
	uint64_t sequence, boottime_ns;
};

struct world {
	struct store *store;
	struct hosts hosts;
	struct live *live;
	struct fake_builder *builder;
	uint64_t random;
	/* What came out of the last question. */
	struct seen out[EVENTS_MAX];
	size_t n_out;
	uint8_t cursor[128];
	size_t cursor_len;
	bool cut, complete;
	uint64_t missing;
	char reason[256];
	size_t stop_after; /* messages; 0: never */
};

static uint32_t rnd(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(w->random >> 33) % below;
}

static ProtobufCBinaryData text(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

static const char *const names[] = { "ls", "cat", "sshd", "bash" };
static const char *const paths[] = { "/etc/passwd", "/tmp/x", "/usr/bin/ls", "/var/log/\xff" };

static void add_process(struct world *w, struct fake_builder *b)
{
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT,
			      parent = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process p = EXHIBIT__V1__PROCESS__INIT;
	ProtobufCBinaryData args[2] = { text(names[rnd(w, 4)]), text(paths[rnd(w, 4)]) };

	key.pid = 1 + rnd(w, 6);
	key.start_ns = key.pid;
	key.exec_id = rnd(w, 2);
	parent.pid = 1;
	p.key = &key;
	p.parent = &parent;
	p.name = text(names[rnd(w, 4)]);
	p.executable = text(paths[rnd(w, 4)]);
	p.n_args = 2;
	p.args = args;
	p.uid = rnd(w, 3);
	(void)fake_process(b, &p);
}

static void add_event(struct world *w, struct fake_builder *b, uint64_t base_ns)
{
	static const int actions[] = { ACTION_EXEC,    ACTION_EXIT,    ACTION_MODIFY,
				       ACTION_CONNECT, ACTION_PROCESS, ACTION_SOCKET };
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
	Exhibit__V1__File file = EXHIBIT__V1__FILE__INIT;
	Exhibit__V1__Exec exec = EXHIBIT__V1__EXEC__INIT;
	Exhibit__V1__Net net = EXHIBIT__V1__NET__INIT;
	uint8_t ip[2][4] = { { 10, 0, 0, (uint8_t)rnd(w, 4) },
			     { 192, 168, 0, (uint8_t)rnd(w, 4) } };

	e.boottime_ns = base_ns + rnd(w, 50);
	e.action = (Exhibit__V1__Action)actions[rnd(w, ARRAY_LEN(actions))];
	e.class_ = (Exhibit__V1__Class)action_by_number((uint32_t)e.action)->class;
	e.process = rnd(w, b->processes + 1);
	if (e.action == (int)ACTION_EXEC) {
		exec.filename = text(paths[rnd(w, 4)]);
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_EXEC;
		e.exec = &exec;
	}
	if (e.action == (int)ACTION_MODIFY) {
		file.path = text(paths[rnd(w, 4)]);
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_FILE;
		e.file = &file;
	}
	if (e.action == (int)ACTION_CONNECT || e.action == (int)ACTION_SOCKET) {
		net.transport = 6;
		net.source_ip = (ProtobufCBinaryData){ 4, ip[0] };
		net.destination_ip = (ProtobufCBinaryData){ 4, ip[1] };
		net.source_port = 40000 + rnd(w, 3);
		net.destination_port = rnd(w, 2) ? 443 : 22;
		net.inbound = rnd(w, 2) != 0;
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_NET;
		e.net = &net;
	}
	fake_event(b, &e);
}

/* Each host and lane a stream of batches that overlap the others' in time. */
static void fill(struct world *w)
{
	for (unsigned int host = 0; host < HOSTS; host++) {
		const char name[] = { (char)('a' + host), '\0' };

		w->hosts.items[w->hosts.n++] = (struct host_info){ .host_id = fake_name(name),
								   .host_name = fake_name(name),
								   .registered = true,
								   .connected = true };
		for (unsigned int lane = 1; lane <= 2; lane++) {
			uint64_t sequence = 1;

			for (uint64_t number = 1; number <= 8; number++) {
				unsigned int n = 1 + rnd(w, 30);

				fake_begin(w->builder, name, (uint8_t)host, (enum batch_lane)lane,
					   number, sequence);
				for (unsigned int i = 0; i < 3; i++)
					add_process(w, w->builder);
				for (unsigned int i = 0; i < n; i++)
					add_event(w, w->builder, number * 20);
				sequence += n;
				fake_end(w->builder, w->store);
			}
			w->store->streams[w->store->n_streams] = (struct store_stream){
				.host_id = fake_name(name),
				.lane = (enum batch_lane)lane,
				.contiguous = 8,
				.newest = 8,
				.first_wall_ns = FAKE_OFFSET,
				.watermark_wall_ns = FAKE_OFFSET + 1000000,
				.received_ns = 1,
			};
			w->store->n_streams++;
		}
	}
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->store = fake_store_new();
	w->builder = calloc(1, sizeof(*w->builder));
	w->random = 42;
	assert_int_equal(live_new(&w->live, NULL), 0);
	fill(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fake_store_free(w->store);
	live_free(w->live);
	free(w->builder);
	free(w);
	return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static void take_page(struct world *w, const Exhibit__V1__EventsPage *page)
{
	for (size_t i = 0; i < page->n_rows; i++) {
		Exhibit__V1__Event *e = exhibit__v1__event__unpack(NULL, page->rows[i]->event.len,
								   page->rows[i]->event.data);

		assert_non_null(e);
		assert_true(w->n_out < EVENTS_MAX);
		w->out[w->n_out++] = (struct seen){ (char)page->context->host_id.data[0],
						    (unsigned int)page->context->lane, e->sequence,
						    e->boottime_ns };
		exhibit__v1__event__free_unpacked(e, NULL);
	}
	assert_true(page->cursor.len <= sizeof(w->cursor));
	memcpy(w->cursor, page->cursor.data, page->cursor.len);
	w->cursor_len = page->cursor.len;
}

static int take(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__EventsAnswer *a = exhibit__v1__events_answer__unpack(NULL, len, data);

	assert_non_null(a);
	for (size_t i = 0; i < a->n_pages; i++)
		take_page(w, a->pages[i]);
	if (a->completeness) {
		assert_int_equal(a->completeness->rows, w->n_out);
		w->complete = true;
		w->cut = a->completeness->cut;
		w->missing = a->completeness->missing_total;
		if (a->completeness->n_missing)
			(void)snprintf(w->reason, sizeof(w->reason), "%.*s",
				       (int)a->completeness->missing[0]->reason.len,
				       (const char *)a->completeness->missing[0]->reason.data);
	}
	exhibit__v1__events_answer__free_unpacked(a, NULL);
	free(data);
	return w->stop_after && --w->stop_after == 0 ? -ECANCELED : 0;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static int64_t now(void)
{
	return FAKE_OFFSET + 1000000;
}

static int run(struct world *w, Exhibit__V1__EventsQuery *m, struct error *e)
{
	struct query_env env = {
		.store = w->store, .hosts = &w->hosts, .live = w->live, .now = now
	};
	struct query q = { .env = &env, .tenant = fake_name("t"), .sink = { take, never, w } };

	w->n_out = 0;
	w->complete = w->cut = false;
	w->missing = 0;
	return query_events(&q, m, e);
}

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

/* A host whose batches all claim the same time must not make the others unreachable. */
static void a_flood_of_claims_is_left_out(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	size_t before = w->store->n;

	for (uint64_t i = 0; i < 60; i++) {
		fake_begin(w->builder, "c", 99, BATCH_LANE_BULK, i + 1, i * 2 + 1);
		add_process(w, w->builder);
		add_event(w, w->builder, 0);
		add_event(w, w->builder, 900);
		fake_end(w->builder, w->store);
	}
	w->store->max = 59;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "claim the same minute; the host is left out"));
	assert_true(w->n_out > 100);
	for (size_t i = 0; i < w->n_out; i++)
		assert_int_not_equal(w->out[i].host, 'c');
	m.limit = 10;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_int_equal(w->n_out, 10);
	w->store->max = 0;
	while (w->store->n > before) {
		w->store->n--;
		free(w->store->batches[w->store->n].bytes);
		free(w->store->batches[w->store->n].tokens);
	}
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

static void a_damaged_batch_is_told_and_the_rest_shown(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	uint8_t *bytes = w->store->batches[3].bytes;

	w->store->batches[3].bytes = NULL;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "segment x is damaged at byte 7"));
	w->store->batches[3].bytes = bytes;
	assert_true(w->n_out > 100);
}

/* Two gaps of one place and class are one row; what the question's classes exclude is not missing. */
static void gaps_are_summed_and_told(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[] = { &term };
	size_t before = w->store->n;

	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	for (uint64_t i = 0; i < 2; i++) {
		Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;
		Exhibit__V1__Gap gap = EXHIBIT__V1__GAP__INIT;

		gap.where = EXHIBIT__V1__GAP_WHERE__GAP_RING;
		gap.class_ = EXHIBIT__V1__CLASS__CLASS_EXEC;
		gap.has_count_case = EXHIBIT__V1__GAP__HAS_COUNT_COUNT;
		gap.count = 5 + i;
		gap.from_ns = 100 + i;
		gap.to_ns = 110 + i;
		e.action = EXHIBIT__V1__ACTION__ACTION_GAP;
		e.boottime_ns = 300;
		e.detail_case = EXHIBIT__V1__EVENT__DETAIL_GAP;
		e.gap = &gap;
		fake_event(w->builder, &e);
	}
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(
		strstr(w->reason,
		       "11 exec events lost in the kernel's ring, 1970-01-01T00:00:01.000Z to"));
	m.since_ns = FAKE_OFFSET + 200; /* told later than they were: both ended before */
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	m.since_ns = 0;
	m.until_ns = FAKE_OFFSET + 105; /* told after the time asked for */
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	term.field = text("event.action");
	term.value = text("connect");
	m.terms = terms;
	m.n_terms = 1;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	free(w->store->batches[before].bytes);
	free(w->store->batches[before].tokens);
	w->store->n = before;
}

static void add_action(struct world *w, int action)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;

	e.action = (Exhibit__V1__Action)action;
	e.boottime_ns = 300;
	fake_event(w->builder, &e);
}

static void forget_last(struct world *w)
{
	w->store->n--;
	free(w->store->batches[w->store->n].bytes);
	free(w->store->batches[w->store->n].tokens);
}

/* Shown as unknown, told once with their number; entries of an unknown kind likewise. */
static void what_is_unknown_is_counted(void **state)
{
	static const uint8_t later_kind[] = { 4, 9 << 3 | 2, 2, 1, 2 };
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;
	size_t without;

	m.limit = 1000;
	assert_int_equal(run(w, &m, NULL), 0);
	without = w->n_out;
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	add_action(w, 9999);
	add_action(w, ACTION_EXEC);
	add_action(w, 9998);
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->n_out, without + 3);
	assert_int_equal(w->missing, 1);
	assert_non_null(
		strstr(w->reason, "2 stored events have an action that this collector does not"));
	forget_last(w);
	fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9, 1000);
	add_action(w, ACTION_EXEC);
	writer_bytes(&w->builder->w, later_kind, sizeof(later_kind));
	w->builder->h.entries++;
	fake_end(w->builder, w->store);
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->n_out, without + 1);
	assert_int_equal(w->missing, 1);
	assert_string_equal(w->reason, "1 stored entries cannot be read by this collector");
	forget_last(w);
}

/* An answer cut to its newest rows is about those alone. */
static void removal_is_told_where_it_matters(void **state)
{
	struct world *w = *state;
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT;

	w->store->removed = (struct store_removed){ .segments = 1,
						    .events = 12,
						    .first_wall_ns = 5,
						    .last_wall_ns = FAKE_OFFSET,
						    .reason = "size" };
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "removed by retention (size), 12 events between"));
	m.limit = 5;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_true(w->cut);
	assert_int_equal(w->missing, 0);
	m.limit = 0;
	m.since_ns = FAKE_OFFSET + 1;
	assert_int_equal(run(w, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	w->store->removed = (struct store_removed){ 0 };
}

/* The sum of lost events is not silently too small. */
static int take_hosts(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__HostsReply *m = exhibit__v1__hosts_reply__unpack(NULL, len, data);

	assert_non_null(m);
	if (m->kind_case == EXHIBIT__V1__HOSTS_REPLY__KIND_COMPLETENESS) {
		w->missing = m->completeness->missing_total;
		if (w->missing)
			(void)snprintf(w->reason, sizeof(w->reason), "%.*s",
				       (int)m->completeness->missing[0]->reason.len,
				       (const char *)m->completeness->missing[0]->reason.data);
	}
	exhibit__v1__hosts_reply__free_unpacked(m, NULL);
	free(data);
	return 0;
}

static void more_gaps_than_are_read_are_told(void **state)
{
	struct world *w = *state;
	Exhibit__V1__HostsRequest m = EXHIBIT__V1__HOSTS_REQUEST__INIT;
	struct query_env env = {
		.store = w->store, .hosts = &w->hosts, .live = w->live, .now = now
	};
	struct query q = { .env = &env,
			   .tenant = fake_name("t"),
			   .sink = { take_hosts, never, w } };

	w->store->streams[0].gaps = 2;
	for (uint64_t i = 0; i < 2; i++) {
		fake_begin(w->builder, "a", 0, BATCH_LANE_CRITICAL, 9 + i, 1000 + i);
		add_action(w, ACTION_GAP);
		fake_end(w->builder, w->store);
	}
	assert_int_equal(query_hosts(&q, &m, NULL), 0);
	assert_int_equal(w->missing, 0);
	w->store->max = 1;
	assert_int_equal(query_hosts(&q, &m, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "is not in the sum of lost events"));
	w->store->max = 0;
	w->store->streams[0].gaps = 0;
	forget_last(w);
	forget_last(w);
}

static const struct refused {
	const char *name;
	Exhibit__V1__EventsQuery m;
	const char *want;
} refused[] = {
	{ "until with follow", { .follow = true, .until_ns = 5 }, "no end time" },
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
		cmocka_unit_test(a_flood_of_claims_is_left_out),
		cmocka_unit_test(hosts_are_chosen_by_name),
		cmocka_unit_test(gaps_are_summed_and_told),
		cmocka_unit_test(what_is_unknown_is_counted),
		cmocka_unit_test(removal_is_told_where_it_matters),
		cmocka_unit_test(more_gaps_than_are_read_are_told),
		cmocka_unit_test(a_damaged_batch_is_told_and_the_rest_shown),
	};

	return cmocka_run_group_tests_name("query_events", tests, setup, teardown);
}
