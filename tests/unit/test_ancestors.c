/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/ancestors.h"
#include "tests/unit/rows.h"

static struct process_table *table_with(const struct rec_image *key, enum process_source source)
{
	static const struct process_config config = { 16, KiB(64) };
	struct process_table *t = process_table_new(&config);
	struct image_facts facts = { .key = *key };

	assert_non_null(t);
	assert_non_null(process_put(t, &facts, source, 1));
	return t;
}

static const struct known_row {
	const char *name;
	enum process_source source;
	bool missing;
} known_rows[] = {
	{ "known as an actor only", PROCESS_ACTOR, true },
	{ "known from /proc only", PROCESS_PROCFS, true },
	{ "forked", PROCESS_FORK, false },
	{ "in the stock", PROCESS_STOCK, false },
	{ "executed", PROCESS_EXEC, false },
};

static void asks_for_what_is_not_told(void **state)
{
	const struct known_row *row = *state;
	struct rec_image key = { .pid = 1, .start_ns = 7, .exec_id = 2 };
	struct process_table *t = table_with(&key, row->source);
	struct ancestors a = { 0 };
	struct rec_image got;
	size_t at = 0;

	ancestors_note(&a, &key);
	assert_int_equal(ancestors_missing(&a, t, &at, &got), row->missing);
	if (row->missing)
		assert_true(image_equal(&got, &key));
	assert_false(ancestors_missing(&a, t, &at, &got));
	process_table_free(t);
}

static void notes_each_once_and_nobody_never(void **state)
{
	struct rec_image one = { .pid = 1, .start_ns = 7 }, other = { .pid = 1, .start_ns = 8 };
	struct ancestors a = { 0 };

	(void)state;
	ancestors_note(&a, &(struct rec_image){ 0 });
	ancestors_note(&a, &one);
	ancestors_note(&a, &other);
	ancestors_note(&a, &one);
	assert_int_equal(a.n, 2);
}

static void what_is_listed_is_not_missing(void **state)
{
	struct rec_image one = { .pid = 1, .start_ns = 7 }, other = { .pid = 5, .start_ns = 8 };
	struct process_table *t = table_with(&one, PROCESS_PROCFS);
	struct ancestors a = { 0 };
	struct rec_image got;
	size_t at = 0;

	(void)state;
	ancestors_note(&a, &one);
	ancestors_note(&a, &other);
	ancestors_listed(&a, &one);
	ancestors_listed(&a, &one);
	assert_true(ancestors_missing(&a, t, &at, &got));
	assert_true(image_equal(&got, &other));
	assert_false(ancestors_missing(&a, t, &at, &got));
	process_table_free(t);
}

static void is_bounded(void **state)
{
	struct ancestors a = { 0 };

	(void)state;
	for (uint32_t pid = 1; pid < 3 * ANCESTORS_MAX; pid++)
		ancestors_note(&a, &(struct rec_image){ .pid = pid });
	assert_int_equal(a.n, ANCESTORS_MAX);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, asks_for_what_is_not_told, known_rows);
	ADD_TEST(&t, notes_each_once_and_nobody_never);
	ADD_TEST(&t, what_is_listed_is_not_missing);
	ADD_TEST(&t, is_bounded);
	return tests_run(&t, "ancestors");
}
