/* SPDX-License-Identifier: Apache-2.0 */
/* Two hosts that tell, bit by bit, this story (boottime in ns, pid:start), and trees asked for:
 *   1:1 init exists, 10:5 bash exists; at 20 bash forks 30:20, which execs ls at 21 and exits at 25; at 40 bash
 *   forks 30:40 (the same pid again), which execs sh at 41, which forks 50:50 at 50, whose parent then ends
 *   at 60, so that its exec of sleep at 70 names init as parent; 50 never exits.
 * As fake_store.h, in one file of a program only. */
#ifndef TESTS_UNIT_TREE_WORLD_H
#define TESTS_UNIT_TREE_WORLD_H

#include "tests/unit/fake_store.h"

#include "collector/query.h"
#include "proto/entity.h"

struct tree_line {
	uint32_t depth;
	uint32_t pid;
	uint64_t exec_id;
	bool focus;
	int64_t exited_ns;
	bool unwatched;
};

struct tree_world {
	struct store *store;
	struct hosts hosts;
	struct fake_builder *builder;
	struct tree_line lines[1024];
	size_t n;
	uint64_t missing;
	bool cut;
	char reason[256];
};

static inline ProtobufCBinaryData tree_text(const char *s)
{
	return (ProtobufCBinaryData){ strlen(s), (uint8_t *)(uintptr_t)s };
}

struct tree_told {
	uint64_t at;
	int action;
	uint32_t pid;
	uint64_t start, exec_id;
	uint32_t parent_pid;
	uint64_t parent_start, parent_exec;
	const char *name;
};

static inline void tree_tell(struct fake_builder *b, const struct tree_told *t)
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
	p.name = tree_text(t->name);
	e.action = (Exhibit__V1__Action)t->action;
	e.class_ = (Exhibit__V1__Class)action_by_number((uint32_t)t->action)->class;
	e.boottime_ns = t->at;
	e.process = fake_process(b, &p);
	fake_event(b, &e);
}

static const struct tree_told tree_story[] = {
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

static inline int tree_world_new(void **state)
{
	struct tree_world *w = calloc(1, sizeof(*w));

	w->store = fake_store_new();
	w->builder = calloc(1, sizeof(*w->builder));
	/* A batch for each, on two hosts whose boots differ, so that nothing is found by luck. */
	for (unsigned int host = 0; host < 2; host++) {
		const char name[] = { (char)('a' + host), '\0' };

		for (size_t i = 0; i < ARRAY_LEN(tree_story); i++) {
			fake_begin(w->builder, name, (uint8_t)(host + 1), BATCH_LANE_CRITICAL,
				   i + 1, i + 1);
			tree_tell(w->builder, &tree_story[i]);
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

static inline int tree_world_free(void **state)
{
	struct tree_world *w = *state;

	fake_store_free(w->store);
	free(w->builder);
	free(w);
	return 0;
}

static inline int tree_take(void *ctx, uint8_t *data, size_t len)
{
	struct tree_world *w = ctx;
	Exhibit__V1__EventsAnswer *a = exhibit__v1__events_answer__unpack(NULL, len, data);

	for (size_t i = 0; i < a->n_pages; i++) {
		for (size_t k = 0; k < a->pages[i]->n_rows; k++) {
			const Exhibit__V1__Row *row = a->pages[i]->rows[k];
			Exhibit__V1__Process *p = exhibit__v1__process__unpack(
				NULL, row->process.len, row->process.data);

			assert_true(w->n < ARRAY_LEN(w->lines));
			w->lines[w->n++] = (struct tree_line){
				row->depth, p->key->pid,    p->key->exec_id,
				row->focus, row->exited_ns, row->ended_unwatched
			};
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

static inline int64_t tree_now(void)
{
	return FAKE_OFFSET + 1000;
}

static inline int tree_ask_for(struct tree_world *w, const char *entity, const char *host,
			       uint32_t pid, uint64_t at, struct error *e)
{
	struct query_env env = { .store = w->store, .hosts = &w->hosts, .now = tree_now };
	struct query q = { .env = &env, .tenant = fake_name("t"), .sink = { tree_take, NULL, w } };
	Exhibit__V1__TreeQuery m = EXHIBIT__V1__TREE_QUERY__INIT;

	w->n = 0;
	w->missing = 0;
	m.entity_id = tree_text(entity);
	m.host = tree_text(host);
	m.pid = pid;
	m.at_ns = at ? (int64_t)at + FAKE_OFFSET : 0;
	return query_tree(&q, &m, e);
}

#define BOOT_A "01010101010101010101010101010101"

#define GONE(at) ((at) + FAKE_OFFSET)

#endif
