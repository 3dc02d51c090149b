/* SPDX-License-Identifier: Apache-2.0 */
/* Trees out of batches that tell the story of tree_world.h. */
#include "tests/unit/tree_world.h"

static const struct row {
	const char *name;
	const char *entity, *host;
	uint32_t pid;
	uint64_t at;
	const char *error; /* NULL: a tree */
	size_t n;
	struct tree_line want[8];
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
	struct tree_world *w;
	struct error e = { 0 };
	int r;

	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	r = tree_ask_for(w, row->entity, row->host, row->pid, row->at, &e);
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
	assert_int_equal(tree_world_free(&world), 0);
}

static void a_lost_ancestor_is_told(void **state)
{
	void *world = NULL;
	struct tree_world *w;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	/* bash's only mention, on both hosts, goes. */
	w->store->batches[1].ref.host_id = fake_name("c");
	w->store->batches[1 + ARRAY_LEN(tree_story)].ref.host_id = fake_name("c");
	assert_int_equal(tree_ask_for(w, "", "a", 30, 0, NULL), 0);
	assert_int_equal(w->n, 2);
	assert_int_equal(w->missing, 1);
	assert_non_null(strstr(w->reason, "the ancestor with pid 10"));
	assert_int_equal(tree_world_free(&world), 0);
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
		struct tree_world *w;

		assert_int_equal(tree_world_new(&world), 0);
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
		assert_int_equal(tree_ask_for(w, cases[i].entity, cases[i].pid ? "a" : "",
					      cases[i].pid, cases[i].at, NULL),
				 0);
		if (w->missing != cases[i].missing)
			fail_msg("%s: %llu missing: %s", cases[i].name,
				 (unsigned long long)w->missing, w->reason);
		assert_int_equal(tree_world_free(&world), 0);
	}
}

/* Found by its id, it is of one host: what another lacks is nothing to it. */
static void other_hosts_do_not_matter(void **state)
{
	void *world = NULL;
	struct tree_world *w;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	w->hosts.items[1].connected = false;
	w->store->streams[1].watermark_wall_ns = FAKE_OFFSET + 50;
	assert_int_equal(tree_ask_for(w, BOOT_A "-30-40-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_int_equal(w->missing, 0);
	assert_int_equal(tree_ask_for(w, "", "b", 30, 0, NULL), 0);
	assert_int_equal(w->missing, 1);
	assert_int_equal(tree_world_free(&world), 0);
}

/* On a busy host a pid comes again and again: batches of other times are not read for it. */
static void others_with_the_pid_cost_nothing(void **state)
{
	void *world = NULL;
	struct tree_world *w;
	size_t reads;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	assert_int_equal(tree_ask_for(w, BOOT_A "-30-20-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 3);
	reads = w->store->reads;
	for (uint64_t i = 0; i < 40; i++) {
		uint64_t start = i < 20 ? 11 + i / 4 : 1000 + i;
		struct tree_told other = { start, ACTION_EXEC, 30, start, 9, 7, 7, 7, "other" };

		fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100 + i, 100 + i);
		tree_tell(w->builder, &other);
		fake_end(w->builder, w->store);
	}
	w->store->reads = 0;
	assert_int_equal(tree_ask_for(w, BOOT_A "-30-20-4", "", 0, 0, NULL), 0);
	assert_int_equal(w->n, 3);
	if (w->store->reads != reads)
		fail_msg("%zu batches read instead of %zu", w->store->reads, reads);
	assert_int_equal(tree_world_free(&world), 0);
}

/* Fields that stand twice count as unpacking takes them: a host cannot hide a process from its tree that way. */
static void a_key_said_twice_is_found(void **state)
{
	static const struct tree_told later = { 80, ACTION_EXEC, 50, 50, 6, 1, 1, 1, "hidden" };
	static const uint8_t false_key[] = { 1 << 3 | 2, 4, 1 << 3, 77, 2 << 3, 77 };
	void *world = NULL;
	struct tree_world *w;
	uint8_t raw[512];
	size_t len;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100, 100);
	tree_tell(w->builder, &later);
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
	assert_int_equal(tree_ask_for(w, "", "a", 50, 0, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_int_equal(w->lines[3].exec_id, 6);
	assert_int_equal(tree_world_free(&world), 0);
}

/* The agent stopped after 70 and came back at 100: init and bash are listed at 101, sleep (50) is not. 60:99 was
 * forked while the hooks were being attached, before the agent said that it started: it is not listed, as its
 * fork is told. */
static void who_ended_while_nobody_watched(void **state)
{
	static const struct tree_told again[] = {
		{ 99, ACTION_FORK, 60, 99, 3, 10, 5, 3, "bash" },
		{ 101, ACTION_PROCESS, 1, 1, 1, 0, 0, 0, "init" },
		{ 101, ACTION_PROCESS, 10, 5, 3, 1, 1, 1, "bash" },
	};
	static const struct tree_line now_lines[] = {
		{ 0, 1, 1, true, 0, false },          { 1, 10, 3, false, 0, false },
		{ 2, 30, 4, false, GONE(25), false }, { 2, 30, 4, false, GONE(60), false },
		{ 3, 50, 5, false, 0, true },         { 2, 60, 3, false, 0, false },
	};
	static const struct tree_line later_lines[] = {
		{ 0, 1, 1, true, 0, false },
		{ 1, 10, 3, false, 0, false },
		{ 2, 60, 3, false, 0, false },
	};
	Exhibit__V1__Event start = EXHIBIT__V1__EVENT__INIT, told = EXHIBIT__V1__EVENT__INIT;
	void *world = NULL;
	struct tree_world *w;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	start.action = EXHIBIT__V1__ACTION__ACTION_AGENT_START;
	start.class_ = EXHIBIT__V1__CLASS__CLASS_AGENT;
	start.boottime_ns = 100;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 20, 20);
	fake_event(w->builder, &start);
	tree_tell(w->builder, &again[0]);
	fake_end(w->builder, w->store);
	/* Before the stock is told nothing is concluded. */
	assert_int_equal(tree_ask_for(w, "", "a", 50, 100, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_false(w->lines[3].unwatched);
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 21, 21);
	tree_tell(w->builder, &again[1]);
	fake_end(w->builder, w->store);
	/* Nor while a part of it is on its way. */
	assert_int_equal(tree_ask_for(w, "", "a", 1, 0, NULL), 0);
	for (size_t i = 0; i < w->n; i++)
		assert_false(w->lines[i].unwatched);
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 22, 22);
	tree_tell(w->builder, &again[2]);
	told.action = EXHIBIT__V1__ACTION__ACTION_AGENT_STOCK;
	told.class_ = EXHIBIT__V1__CLASS__CLASS_AGENT;
	told.boottime_ns = 101;
	fake_event(w->builder, &told);
	fake_end(w->builder, w->store);
	assert_int_equal(tree_ask_for(w, "", "a", 1, 0, NULL), 0);
	assert_int_equal(w->n, ARRAY_LEN(now_lines));
	assert_memory_equal(w->lines, now_lines, sizeof(now_lines));
	assert_int_equal(tree_ask_for(w, "", "a", 1, 110, NULL), 0);
	assert_int_equal(w->n, ARRAY_LEN(later_lines));
	assert_memory_equal(w->lines, later_lines, sizeof(later_lines));
	/* Not then; before the stop it ran. */
	assert_int_equal(tree_ask_for(w, "", "a", 50, 110, NULL), 0);
	assert_int_equal(w->n, 0);
	assert_int_equal(tree_ask_for(w, "", "a", 50, 80, NULL), 0);
	assert_int_equal(w->n, 4);
	assert_false(w->lines[3].unwatched);
	assert_int_equal(tree_world_free(&world), 0);
}

/* Its own bound is not the asker's limit, and says which it is. */
static void a_tree_that_is_too_deep_is_cut(void **state)
{
	void *world = NULL;
	struct tree_world *w;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, 100, 100);
	for (uint32_t i = 0; i < 600; i++) {
		struct tree_told child = { 100 + i, ACTION_FORK, 1001 + i, 100 + i, 3,
					   10,      5,           3,        "deep" };

		if (i) {
			child.parent_pid = 1000 + i;
			child.parent_start = 99 + i;
		}

		tree_tell(w->builder, &child);
	}
	fake_end(w->builder, w->store);
	assert_int_equal(tree_ask_for(w, "", "a", 1001, 0, NULL), 0);
	assert_in_range(w->n, 250, 590);
	assert_false(w->cut);
	assert_int_equal(w->missing, 1);
	if (!strstr(w->reason, "the tree is cut, as it has too many generations"))
		fail_msg("%s", w->reason);
	assert_int_equal(tree_world_free(&world), 0);
}

/* A host that says two processes are each other's parents ends the walk, not the collector. */
static void a_circle_ends(void **state)
{
	static const struct tree_told circle[] = {
		{ 10, ACTION_FORK, 5, 5, 1, 6, 6, 1, "x" },
		{ 11, ACTION_FORK, 6, 6, 1, 5, 5, 1, "y" },
		{ 12, ACTION_FORK, 7, 7, 1, 7, 7, 1, "own parent" },
	};
	void *world = NULL;
	struct tree_world *w;

	(void)state;
	assert_int_equal(tree_world_new(&world), 0);
	w = world;
	for (size_t i = 0; i < ARRAY_LEN(circle); i++) {
		fake_begin(w->builder, "a", 9, BATCH_LANE_CRITICAL, i + 1, i + 1);
		tree_tell(w->builder, &circle[i]);
		fake_end(w->builder, w->store);
	}
	assert_int_equal(tree_ask_for(w, "", "a", 5, 0, NULL), 0);
	assert_int_equal(w->n, 2);
	assert_int_equal(tree_ask_for(w, "", "a", 7, 0, NULL), 0);
	assert_int_equal(w->n, 1);
	assert_int_equal(tree_world_free(&world), 0);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 8];

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
	return cmocka_run_group_tests_name("query_tree", tests, NULL, NULL);
}
