/* SPDX-License-Identifier: Apache-2.0 */
/* Three hosts with random batches in a store in memory, and an asker who keeps what the last answer said: for
 * tests of questions. Brings the store's symbols (fake_store.h), so only one file of a program includes it. */
#ifndef TESTS_UNIT_QUERY_WORLD_H
#define TESTS_UNIT_QUERY_WORLD_H

#include "tests/unit/fake_store.h"

#include "collector/query.h"

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
	int64_t since_ns, until_ns; /* of its completeness */
	char reason[2048];
	size_t stop_after; /* messages; 0: never */
};

static inline uint32_t rnd(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(w->random >> 33) % below;
}

static inline ProtobufCBinaryData text(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

static const char *const names[] = { "ls", "cat", "sshd", "bash" };
static const char *const paths[] = { "/etc/passwd", "/tmp/x", "/usr/bin/ls", "/var/log/\xff" };

static inline void add_process(struct world *w, struct fake_builder *b)
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
	if (rnd(w, 3) == 0) {
		p.pod_name = text(rnd(w, 2) ? "web-1" : "db-0");
		p.pod_namespace = text(rnd(w, 2) ? "shop" : "bank");
		p.image_name = text(rnd(w, 2) ? "nginx" : "postgres");
	}
	(void)fake_process(b, &p);
}

static inline void add_event(struct world *w, struct fake_builder *b, uint64_t base_ns)
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
static inline void fill(struct world *w)
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

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
	struct world *w = *state;

	fake_store_free(w->store);
	live_free(w->live);
	free(w->builder);
	free(w);
	return 0;
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static inline void take_page(struct world *w, const Exhibit__V1__EventsPage *page)
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

static inline int take(void *ctx, uint8_t *data, size_t len)
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
		w->since_ns = a->completeness->since_ns;
		w->until_ns = a->completeness->until_ns;
		if (a->completeness->n_missing)
			(void)snprintf(w->reason, sizeof(w->reason), "%.*s",
				       (int)a->completeness->missing[0]->reason.len,
				       (const char *)a->completeness->missing[0]->reason.data);
	}
	exhibit__v1__events_answer__free_unpacked(a, NULL);
	free(data);
	return w->stop_after && --w->stop_after == 0 ? -ECANCELED : 0;
}

static inline bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static inline int64_t now(void)
{
	return FAKE_OFFSET + 1000000;
}

static inline int run(struct world *w, Exhibit__V1__EventsQuery *m, struct error *e)
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

/* ---- more batches ----------------------------------------------------------------------------------------- */

static inline void add_action(struct world *w, int action)
{
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;

	e.action = (Exhibit__V1__Action)action;
	e.boottime_ns = 300;
	fake_event(w->builder, &e);
}

static inline void forget_last(struct world *w)
{
	w->store->n--;
	free(w->store->batches[w->store->n].bytes);
	free(w->store->batches[w->store->n].tokens);
}

#endif
