/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>

void tests_add(struct tests *t, const char *name, CMUnitTestFunction fn, const void *state)
{
	if (t->n == TESTS_MAX) {
		fprintf(stderr, "more than %d tests in one file\n", TESTS_MAX);
		exit(1);
	}
	(void)snprintf(t->name[t->n], sizeof(t->name[t->n]), "%s", name);
	t->test[t->n] = (struct CMUnitTest){
		.name = t->name[t->n],
		.test_func = fn,
		.initial_state = (void *)(uintptr_t)state,
	};
	t->n++;
}

void tests_add_rows(struct tests *t, const char *name, CMUnitTestFunction fn, const void *rows,
		    size_t n, size_t row_size)
{
	for (size_t i = 0; i < n; i++) {
		const char *row = (const char *)rows + i * row_size;
		char full[120];

		(void)snprintf(full, sizeof(full), "%s: %s", name,
			       *(const char *const *)(const void *)row);
		tests_add(t, full, fn, row);
	}
}

int tests_run(struct tests *t, const char *group)
{
	return _cmocka_run_group_tests(group, t->test, t->n, NULL, NULL);
}
