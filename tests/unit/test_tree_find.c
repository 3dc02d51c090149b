/* SPDX-License-Identifier: Apache-2.0 */
/* How many batches a tree reads. */
#include "tests/unit/tree_world.h"

#define LIVES 120 /* batches, in each of which a service's worker begins and ends */
#define BUSY 200 /* batches in which init and the service merely do something */

/* init exists; one service that it has; its workers' children; both busy all the time. */
static void tell_busy_host(struct tree_world *w)
{
	uint64_t at = 2000, number = 100;

	for (uint64_t i = 0; i < LIVES; i++, at += 10) {
		const uint32_t worker = (uint32_t)(1000 + 2 * i);
		const struct tree_told lives[] = {
			{ at, ACTION_FORK, worker, at, 3, 10, 5, 3, "bash" },
			{ at + 1, ACTION_FORK, worker + 1, at + 1, 3, worker, at, 3, "bash" },
			{ at + 2, ACTION_EXIT, worker + 1, at + 1, 3, worker, at, 3, "bash" },
			{ at + 3, ACTION_EXIT, worker, at, 3, 10, 5, 3, "bash" },
		};

		fake_begin(w->builder, "a", 1, BATCH_LANE_CRITICAL, number, number);
		for (size_t k = 0; k < ARRAY_LEN(lives); k++)
			tree_tell(w->builder, &lives[k]);
		fake_end(w->builder, w->store);
		number++;
	}
	for (uint64_t i = 0; i < BUSY; i++, at += 10, number++) {
		fake_begin(w->builder, "a", 1, BATCH_LANE_BULK, number, number);
		tree_tell(w->builder,
			  &(struct tree_told){ at, ACTION_CREATE, 1, 1, 1, 0, 0, 0, "init" });
		tree_tell(w->builder,
			  &(struct tree_told){ at + 1, ACTION_CREATE, 10, 5, 3, 1, 1, 1, "bash" });
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
		struct tree_world *w;

		assert_int_equal(tree_world_new(&world), 0);
		w = world;
		tell_busy_host(w);
		for (uint64_t k = 0; k < 100; k++) {
			fake_begin(w->builder, "a", 1, BATCH_LANE_BULK, 1000 + k, 1000 + k);
			tree_tell(w->builder, &(struct tree_told){ 3000 + k, ACTION_CREATE, 7, 7, 7,
								   0, 0, 0, "lost" });
			fake_end(w->builder, w->store);
		}
		w->store->reads = 0;
		assert_int_equal(tree_ask_for(w, cases[i].entity, "a", cases[i].pid, 0, NULL), 0);
		if (w->n != cases[i].lines || w->store->reads > cases[i].reads)
			fail_msg("%s: %zu lines, %zu batches read", cases[i].name, w->n,
				 w->store->reads);
		assert_false(w->cut);
		assert_int_equal(tree_world_free(&world), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_more_is_read_than_tells_of_lives),
	};

	return cmocka_run_group_tests_name("tree_find", tests, NULL, NULL);
}
