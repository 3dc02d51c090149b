/* SPDX-License-Identifier: Apache-2.0 */
/* Trees out of batches that tell, bit by bit, this story (boottime in ns, pid:start):
 *   1:1 init exists, 10:5 bash exists; at 20 bash forks 30:20, which execs ls at 21 and exits at 25; at 40 bash
 *   forks 30:40 (the same pid again), which execs sh at 41, which forks 50:50 at 50, whose parent then ends
 *   at 60, so that its exec of sleep at 70 names init as parent; 50 never exits. */
#include "tests/unit/fake_store.h"

#include "collector/query.h"
#include "proto/entity.h"

struct line {
	uint32_t depth;
	uint32_t pid;
	uint64_t exec_id;
	bool focus;
	int64_t exited_ns;
	bool unwatched;
};

struct world {
	struct store *store;
	struct hosts hosts;
	struct fake_builder *builder;
	struct line lines[1024];
	size_t n;
	uint64_t missing;
	bool cut;
	char reason[256];
};

static ProtobufCBinaryData text(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

struct told {
	uint64_t at;
	int action;
	uint32_t pid;
	uint64_t start, exec_id;
	uint32_t parent_pid;
	uint64_t parent_start, parent_exec;
	const char *name;
};

static void tell(struct fake_builder *b, const struct told *t)
{
	Exhibit__V1__ImageKey key = EXHIBIT__V1__IMAGE_KEY__INIT,
			      parent = EXHIBIT__V1__IMAGE_KEY__INIT;
	Exhibit__V1__Process p = EXHIBIT__V1__PROCESS__INIT;
	Exhibit__V1__Event e = EXHIBIT__V1__EVENT__INIT;

	key.pid = t->pid;
	key.start_ns = t->start;
	key.exec_id = t->exec_id;
	parent.pid = t->parent_pid;
	parent.start_ns = t->parent_start;
	parent.exec_id = t->parent_exec;
	p.key = &key;
	p.parent = t->parent_pid ? &parent : NULL;
	p.name = text(t->name);
	e.action = (Exhibit__V1__Action)t->action;
	e.class_ = (Exhibit__V1__Class)action_by_number((uint32_t)t->action)->class;
	e.boottime_ns = t->at;
	e.process = fake_process(b, &p);
	fake_event(b, &e);
}

static const struct told story[] = {
	{ 10, ACTION_PROCESS, 1, 1, 1, 0, 0, 0, "init" },
	{ 10, ACTION_PROCESS, 10, 5, 3, 1, 1, 1, "bash" },
	{ 20, ACTION_FORK, 30, 20, 3, 10, 5, 3, "bash" },
	{ 21, ACTION_EXEC, 30, 20, 4, 10, 5, 3, "ls" },
	{ 25, ACTION_EXIT, 30, 20, 4, 10, 5, 3, "ls" },
	{ 40, ACTION_FORK, 30, 40, 3, 10, 5, 3, "bash" },
	{ 41, ACTION_EXEC, 30, 40, 4, 10, 5, 3, "sh" },
	{ 50, ACTION_FORK, 50, 50, 4, 30, 40, 4, "sh" },
	{ 60, ACTION_EXIT, 30, 40, 4, 10, 5, 3, "sh" },
	{ 70, ACTION_EXEC, 50, 50, 5, 1, 1, 1, "sleep" },
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->store = fake_store_new();
	w->builder = calloc(1, sizeof(*w->builder));
	/* A batch for each, on two hosts whose boots differ, so that nothing is found by luck. */
	for (unsigned int host = 0; host < 2; host++) {
		const char name[] = { (char)('a' + host), '\0' };

		for (size_t i = 0; i < ARRAY_LEN(story); i++) {
			fake_begin(w->builder, name, (uint8_t)(host + 1), BATCH_LANE_CRITICAL,
				   i + 1, i + 1);
			tell(w->builder, &story[i]);
			fake_end(w->builder, w->store);
		}
		w->hosts.items[w->hosts.n++] = (struct host_info){ .host_id = fake_name(name),
								   .host_name = fake_name(name),
								   .registered = true,
								   .connected = true };
		w->store->streams[w->store->n_streams++] =
			(struct store_stream){ .host_id = fake_name(name),
					       .lane = BATCH_LANE_CRITICAL,
					       .contiguous = 9,
					       .newest = 9,
					       .first_wall_ns = FAKE_OFFSET,
					       .watermark_wall_ns = FAKE_OFFSET + 1000,
					       .received_ns = 1 };
	}
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fake_store_free(w->store);
	free(w->builder);
	free(w);
	return 0;
}

static int take(void *ctx, uint8_t *data, size_t len)
{
	struct world *w = ctx;
	Exhibit__V1__EventsAnswer *a = exhibit__v1__events_answer__unpack(NULL, len, data);

	for (size_t i = 0; i < a->n_pages; i++) {
		for (size_t k = 0; k < a->pages[i]->n_rows; k++) {
			const Exhibit__V1__Row *row = a->pages[i]->rows[k];
			Exhibit__V1__Process *p = exhibit__v1__process__unpack(
				NULL, row->process.len, row->process.data);

			assert_true(w->n < ARRAY_LEN(w->lines));
			w->lines[w->n++] = (struct line){ row->depth,      p->key->pid,
							  p->key->exec_id, row->focus,
							  row->exited_ns,  row->ended_unwatched };
			exhibit__v1__process__free_unpacked(p, NULL);
		}
	}
	if (a->completeness) {
		w->missing = a->completeness->missing_total;
		w->cut = a->completeness->cut;
		if (a->completeness->n_missing)
			(void)snprintf(w->reason, sizeof(w->reason), "%.*s",
				       (int)a->completeness->missing[0]->reason.len,
				       (const char *)a->completeness->missing[0]->reason.data);
	}
	exhibit__v1__events_answer__free_unpacked(a, NULL);
	free(data);
	return 0;
}

static int64_t now(void)
{
	return FAKE_OFFSET + 1000;
}

static int ask(struct world *w, const char *entity, const char *host, uint32_t pid, uint64_t at,
	       struct error *e)
{
	struct query_env env = { .store = w->store, .hosts = &w->hosts, .now = now };
	struct query q = { .env = &env, .tenant = fake_name("t"), .sink = { take, NULL, w } };
	Exhibit__V1__TreeQuery m = EXHIBIT__V1__TREE_QUERY__INIT;

	w->n = 0;
	w->missing = 0;
	m.entity_id = text(entity);
	m.host = text(host);
	m.pid = pid;
	m.at_ns = at ? (int64_t)at + FAKE_OFFSET : 0;
	return query_tree(&q, &m, e);
}

#define BOOT_A "01010101010101010101010101010101"
#define GONE(at) ((at) + FAKE_OFFSET)

static const struct row {
	const char *name;
	const char *entity, *host;
	uint32_t pid;
	uint64_t at;
	const char *error; /* NULL: a tree */
	size_t n;
	struct line want[8];
} rows[] = {
	{ "nothing asked", "", "", 0, 0, .error = "needs an entity id, or a host and a pid" },
	{ "pid without host", "", "", 30, 0, .error = "needs an entity id, or a host and a pid" },
	{ "no entity id", "xyz", "", 0, 0, .error = "'xyz' is not an entity id" },
	{ "unknown host", "", "zz", 30, 0, .error = "no host is called 'zz'" },
	{ "nobody with this pid", "", "a", 99, 0, .n = 0 },
	{ "not running then", "", "a", 30, 30, .n = 0 },
	{ "nobody with this id", BOOT_A "-99-1-1", "", 0, 0, .n = 0 },
	{ "the newest with the pid, all its life", "", "a", 30, 0, .n = 4,
	  .want = { { 0, 1, 1, false, 0 },
		    { 1, 10, 3, false, 0 },
		    { 2, 30, 4, true, GONE(60) },
		    { 3, 50, 5, false, 0 } } },
	{ "the earlier one with the pid", "", "a", 30, 22, .n = 3,
	  .want = { { 0, 1, 1, false, 0 }, { 1, 10, 3, false, 0 }, { 2, 30, 4, true, 0 } } },
	{ "before its exec", "", "a", 30, 20, .n = 3,
	  .want = { { 0, 1, 1, false, 0 }, { 1, 10, 3, false, 0 }, { 2, 30, 3, true, 0 } } },
	{ "one image by its id", BOOT_A "-30-20-3", "", 0, 0, .n = 3,
	  .want = { { 0, 1, 1, false, 0 }, { 1, 10, 3, false, 0 }, { 2, 30, 3, true, GONE(25) } } },
	{ "with child, at a time", "", "a", 30, 55, .n = 4,
	  .want = { { 0, 1, 1, false, 0 },
		    { 1, 10, 3, false, 0 },
		    { 2, 30, 4, true, 0 },
		    { 3, 50, 4, false, 0 } } },
	{ "who made the orphan", "", "a", 50, 0, .n = 4,
	  .want = { { 0, 1, 1, false, 0 },
		    { 1, 10, 3, false, 0 },
		    { 2, 30, 4, false, GONE(60) },
		    { 3, 50, 5, true, 0 } } },
	{ "from the top", "", "a", 1, 0, .n = 5,
	  .want = { { 0, 1, 1, true, 0 },
		    { 1, 10, 3, false, 0 },
		    { 2, 30, 4, false, GONE(25) },
		    { 2, 30, 4, false, GONE(60) },
		    { 3, 50, 5, false, 0 } } },
	{ "on the other host", BOOT_A "-30-40-4", "b", 0, 0, .n = 0 },
};

static void run_row(void **state)
{
	const struct row *row = *state;
	void *world = NULL;
	struct world *w;
	struct error e = { 0 };
	int r;

	assert_int_equal(setup(&world), 0);
	w = world;
	r = ask(w, row->entity, row->host, row->pid, row->at, &e);
	if (row->error) {
		assert_true(r < 0);
		if (!strstr(e.text, row->error))
			fail_msg("%s", e.text);
	} else {
		if (r < 0)
			fail_msg("%s", e.text);
		for (size_t i = 0; i < w->n && i < 8; i++)
			if (memcmp(&w->lines[i], &row->want[i], sizeof(row->want[i])) != 0)
				fail_msg("line %zu: depth %u pid %u exec %lu focus %d exited %ld",
					 i, w->lines[i].depth, w->lines[i].pid,
					 (unsigned long)w->lines[i].exec_id, w->lines[i].focus,
					 (long)w->lines[i].exited_ns);
		assert_int_equal(w->n, row->n);
		assert_int_equal(w->missing, 0);
	}
	assert_int_equal(teardown(&world), 0);
}

static void a_lost_ancestor_is_told(void **state)
{
	void *world = NULL;
	struct world *w;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	/* bash's only mention, on both hosts, goes. */
	w->store->batches[1].ref.host_id = fake_name("c");
	w->store->batches[1 + ARRAY_LEN(story)].ref.host_id = fake_name("c");
	assert_int_equal(ask(w, "", "a", 30, 0, NULL), 0);
	assert_int_equal(w->n, 2);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "the ancestor with pid 10"));
	assert_int_equal(teardown(&world), 0);
}

/* What retention took matters to a tree only where something of the tree may have been. */
static void removal_matters_since_the_process_began(void **state)
{
	static const struct {
		const char *name;
		const char *entity;
		uint32_t pid;
		uint64_t at, removed_until;
		bool ancestor_lost;
		uint64_t missing;
	} cases[] = {
		{ "began later", "", 30, 0, 39, false, 0 },
		{ "began later, by its id", BOOT_A "-30-40-4", 0, 0, 39, false, 0 },
		{ "lived then", "", 30, 0, 45, false, 1 },
		{ "as of a time before", "", 10, 18, 15, false, 1 },
		{ "init lived always", "", 1, 0, 15, false, 1 },
		{ "an ancestor may have been in it", "", 30, 0, 39, true, 2 },
		{ "nobody found: anywhere", "", 99, 0, 15, false, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		void *world = NULL;
		struct world *w;

		assert_int_equal(setup(&world), 0);
		w = world;
		w->store->removed =
			(struct store_removed){ .segments = 1,
						.events = 12,
						.first_wall_ns = FAKE_OFFSET,
						.last_wall_ns =
							GONE((int64_t)cases[i].removed_until),
						.reason = "age" };
		/* init is not in the record, so that the oldest that is shown is bash, of 5. */
		if (cases[i].ancestor_lost)
			w->store->batches[0].ref.host_id = fake_name("c");
		assert_int_equal(ask(w, cases[i].entity, cases[i].pid ? "a" : "", cases[i].pid,
				     cases[i].at, NULL),
				 0);
		if (w->missing != cases[i].missing)
			fail_msg("%s: %llu missing: %s", cases[i].name,
				 (unsigned long long)w->missing, w->reason);
		assert_int_equal(teardown(&world), 0);
	}
}

/* Found by its id, it is of one host: what another lacks is nothing to it. */
static void other_hosts_do_not_matter(void **state)
{
	void *world = NULL;
	struct world *w;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	w->hosts.items[1].connected = false;
	w->store->streams[1].watermark_wall_ns = FAKE_OFFSET + 50;
	assert_int_equal(ask(w, BOOT_A "-30-40-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_int_equal(w->missing, 0);
	assert_int_equal(ask(w, "", "b", 30, 0, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_int_equal(teardown(&world), 0);
}

/* On a busy host a pid comes again and again: batches of other times are not read for it. */
static void others_with_the_pid_cost_nothing(void **state)
{
	void *world = NULL;
	struct world *w;
	size_t reads;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	assert_int_equal(ask(w, BOOT_A "-30-20-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 3);
	reads = w->store->reads;
	for (uint64_t i = 0; i < 40; i++) {
		uint64_t start = i < 20 ? 11 + i / 4 : 1000 + i;
		struct told other = { start, ACTION_EXEC, 30, start, 9, 7, 7, 7, "other" };

		fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100 + i, 100 + i);
		tell(w->builder, &other);
		fake_end(w->builder, w->store);
	}
	w->store->reads = 0;
	assert_int_equal(ask(w, BOOT_A "-30-20-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 3);
	if (w->store->reads != reads)
		fail_msg("%zu batches read instead of %zu", w->store->reads, reads);
	assert_int_equal(teardown(&world), 0);
}

/* Fields that stand twice count as unpacking takes them: a host cannot hide a process from its tree that way. */
static void a_key_said_twice_is_found(void **state)
{
	static const struct told later = { 80, ACTION_EXEC, 50, 50, 6, 1, 1, 1, "hidden" };
	static const uint8_t false_key[] = { 1 << 3 | 2, 4, 1 << 3, 77, 2 << 3, 77 };
	void *world = NULL;
	struct world *w;
	uint8_t raw[512];
	size_t len;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100, 100);
	tell(w->builder, &later);
	/* The process entry: length, kind, length, its bytes; a false key goes before the true one. */
	len = w->builder->w.done;
	assert_true(len < sizeof(raw) && w->builder->raw[0] < 100);
	memcpy(raw, w->builder->raw, len);
	w->builder->w = writer_init(w->builder->raw, sizeof(w->builder->raw));
	writer_u8(&w->builder->w, (uint8_t)(raw[0] + sizeof(false_key)));
	writer_u8(&w->builder->w, raw[1]);
	writer_u8(&w->builder->w, (uint8_t)(raw[2] + sizeof(false_key)));
	writer_bytes(&w->builder->w, false_key, sizeof(false_key));
	writer_bytes(&w->builder->w, raw + 3, len - 3);
	fake_end(w->builder, w->store);
	assert_int_equal(ask(w, "", "a", 50, 0, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_int_equal(w->lines[3].exec_id, 6);
	assert_int_equal(teardown(&world), 0);
}

/* The agent stopped after 70 and came back at 100: init and bash are listed at 101, sleep (50) is not. 60:99 was
 * forked while the hooks were being attached, before the agent said that it started: it is not listed, as its
 * fork is told. */
static void who_ended_while_nobody_watched(void **state)
{
	static const struct told again[] = {
		{ 99, ACTION_FORK, 60, 99, 3, 10, 5, 3, "bash" },
		{ 101, ACTION_PROCESS, 1, 1, 1, 0, 0, 0, "init" },
		{ 101, ACTION_PROCESS, 10, 5, 3, 1, 1, 1, "bash" },
	};
	static const struct line now_lines[] = {
		{ 0, 1, 1, true, 0, false },          { 1, 10, 3, false, 0, false },
		{ 2, 30, 4, false, GONE(25), false }, { 2, 30, 4, false, GONE(60), false },
		{ 3, 50, 5, false, 0, true },         { 2, 60, 3, false, 0, false },
	};
	static const struct line later_lines[] = {
		{ 0, 1, 1, true, 0, false },
		{ 1, 10, 3, false, 0, false },
		{ 2, 60, 3, false, 0, false },
	};
	Exhibit__V1__Event start = EXHIBIT__V1__EVENT__INIT;
	void *world = NULL;
	struct world *w;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	start.action = EXHIBIT__V1__ACTION__ACTION_AGENT_START;
	start.class_ = EXHIBIT__V1__CLASS__CLASS_AGENT;
	start.boottime_ns = 100;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 20, 20);
	fake_event(w->builder, &start);
	tell(w->builder, &again[0]);
	fake_end(w->builder, w->store);
	/* Before the stock is told nothing is concluded. */
	assert_int_equal(ask(w, "", "a", 50, 100, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_false(w->lines[3].unwatched);
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 21, 22);
	tell(w->builder, &again[1]);
	tell(w->builder, &again[2]);
	fake_end(w->builder, w->store);
	assert_int_equal(ask(w, "", "a", 1, 0, NULL), 0);
	assert_int_equal(w->n, ARRAY_LEN(now_lines));
	assert_memory_equal(w->lines, now_lines, sizeof(now_lines));
	assert_int_equal(ask(w, "", "a", 1, 110, NULL), 0);
	assert_int_equal(w->n, ARRAY_LEN(later_lines));
	assert_memory_equal(w->lines, later_lines, sizeof(later_lines));
	/* Not then; before the stop it ran. */
	assert_int_equal(ask(w, "", "a", 50, 110, NULL), 0);
	assert_int_equal(w->n, 0);
	assert_int_equal(ask(w, "", "a", 50, 80, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_false(w->lines[3].unwatched);
	assert_int_equal(teardown(&world), 0);
}

/* ---- how much is read --------------------------------------------------------------------------------------- */

#define LIVES 120 /* batches, in each of which a service's worker begins and ends */
#define BUSY 200 /* batches in which init and the service merely do something */

/* init exists; one service that it has; its workers' children; both busy all the time. */
static void tell_busy_host(struct world *w)
{
	uint64_t at = 2000, number = 100;

	for (uint64_t i = 0; i < LIVES; i++, at += 10) {
		const uint32_t worker = (uint32_t)(1000 + 2 * i);
		const struct told lives[] = {
			{ at, ACTION_FORK, worker, at, 3, 10, 5, 3, "bash" },
			{ at + 1, ACTION_FORK, worker + 1, at + 1, 3, worker, at, 3, "bash" },
			{ at + 2, ACTION_EXIT, worker + 1, at + 1, 3, worker, at, 3, "bash" },
			{ at + 3, ACTION_EXIT, worker, at, 3, 10, 5, 3, "bash" },
		};

		fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, number, number);
		for (size_t k = 0; k < ARRAY_LEN(lives); k++)
			tell(w->builder, &lives[k]);
		fake_end(w->builder, w->store);
		number++;
	}
	for (uint64_t i = 0; i < BUSY; i++, at += 10, number++) {
		fake_begin(w->builder, "a", 1, BATCH_LANE_BULK, number, number);
		tell(w->builder, &(struct told){ at, ACTION_CREATE, 1, 1, 1, 0, 0, 0, "init" });
		tell(w->builder,
		     &(struct told){ at + 1, ACTION_CREATE, 10, 5, 3, 1, 1, 1, "bash" });
		fake_end(w->builder, w->store);
	}
}

static void no_more_is_read_than_tells_of_lives(void **state)
{
	static const struct {
		const char *name, *entity;
		uint32_t pid;
		size_t lines, reads;
	} cases[] = {
		/* Once for the story's ten batches and the lives, and a few to find init. */
		{ "all below init", "", 1, 5 + 2 * LIVES, LIVES + 10 + 5 },
		{ "the same by its id", BOOT_A "-1-1-1", 0, 5 + 2 * LIVES, LIVES + 10 + 5 },
		/* A leaf: its own batch, its ancestors', nothing of what they do beside. */
		{ "one worker", "", 1000, 4, 20 },
		/* Nothing tells of its beginning: the first that names it will do. */
		{ "whose beginning is lost", BOOT_A "-7-7-7", 0, 1, 20 },
		{ "the same by its pid", "", 7, 1, 20 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		void *world = NULL;
		struct world *w;

		assert_int_equal(setup(&world), 0);
		w = world;
		tell_busy_host(w);
		for (uint64_t k = 0; k < 100; k++) {
			fake_begin(w->builder, "a", 1, BATCH_LANE_BULK, 1000 + k, 1000 + k);
			tell(w->builder,
			     &(struct told){ 3000 + k, ACTION_CREATE, 7, 7, 7, 0, 0, 0, "lost" });
			fake_end(w->builder, w->store);
		}
		w->store->reads = 0;
		assert_int_equal(ask(w, cases[i].entity, "a", cases[i].pid, 0, NULL), 0);
		if (w->n != cases[i].lines || w->store->reads > cases[i].reads)
			fail_msg("%s: %zu lines, %zu batches read", cases[i].name, w->n,
				 w->store->reads);
		assert_false(w->cut);
		assert_int_equal(teardown(&world), 0);
	}
}

/* Its own bound is not the asker's limit, and says which it is. */
static void a_tree_that_is_too_deep_is_cut(void **state)
{
	void *world = NULL;
	struct world *w;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100, 100);
	for (uint32_t i = 0; i < 600; i++) {
		struct told child = { 100 + i, ACTION_FORK, 1001 + i, 100 + i, 3, 10, 5, 3, "deep" };

		if (i) {
			child.parent_pid = 1000 + i;
			child.parent_start = 99 + i;
		}

		tell(w->builder, &child);
	}
	fake_end(w->builder, w->store);
	assert_int_equal(ask(w, "", "a", 1001, 0, NULL), 0);
	assert_in_range(w->n, 250, 590);
	assert_false(w->cut);
	assert_int_equal(w->missing, 1);
	if (!strstr(w->reason, "the tree is cut, as it has too many generations"))
		fail_msg("%s", w->reason);
	assert_int_equal(teardown(&world), 0);
}

/* A host that says two processes are each other's parents ends the walk, not the collector. */
static void a_circle_ends(void **state)
{
	static const struct told circle[] = {
		{ 10, ACTION_FORK, 5, 5, 1, 6, 6, 1, "x" },
		{ 11, ACTION_FORK, 6, 6, 1, 5, 5, 1, "y" },
		{ 12, ACTION_FORK, 7, 7, 1, 7, 7, 1, "own parent" },
	};
	void *world = NULL;
	struct world *w;

	(void)state;
	assert_int_equal(setup(&world), 0);
	w = world;
	for (size_t i = 0; i < ARRAY_LEN(circle); i++) {
		fake_begin(w->builder, "a", 9, BATCH_LANE_CRITICAL, i + 1, i + 1);
		tell(w->builder, &circle[i]);
		fake_end(w->builder, w->store);
	}
	assert_int_equal(ask(w, "", "a", 5, 0, NULL), 0);
	assert_int_equal(w->n, 2);
	assert_int_equal(ask(w, "", "a", 7, 0, NULL), 0);
	assert_int_equal(w->n, 1);
	assert_int_equal(teardown(&world), 0);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 9];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(a_lost_ancestor_is_told);
	tests[ARRAY_LEN(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(a_circle_ends);
	tests[ARRAY_LEN(rows) + 2] =
		(struct CMUnitTest)cmocka_unit_test(removal_matters_since_the_process_began);
	tests[ARRAY_LEN(rows) + 3] = (struct CMUnitTest)cmocka_unit_test(other_hosts_do_not_matter);
	tests[ARRAY_LEN(rows) + 4] =
		(struct CMUnitTest)cmocka_unit_test(others_with_the_pid_cost_nothing);
	tests[ARRAY_LEN(rows) + 5] = (struct CMUnitTest)cmocka_unit_test(a_key_said_twice_is_found);
	tests[ARRAY_LEN(rows) + 6] =
		(struct CMUnitTest)cmocka_unit_test(who_ended_while_nobody_watched);
	tests[ARRAY_LEN(rows) + 7] =
		(struct CMUnitTest)cmocka_unit_test(a_tree_that_is_too_deep_is_cut);
	tests[ARRAY_LEN(rows) + 8] =
		(struct CMUnitTest)cmocka_unit_test(no_more_is_read_than_tells_of_lives);
	return cmocka_run_group_tests_name("query_tree", tests, NULL, NULL);
}
