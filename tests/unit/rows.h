/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of rows as tests: each row is a CMUnitTest of its own, called "function: row's name", whose
 * initial state (*state) is the row. A row's first member is its name (const char *). */
#ifndef TESTS_UNIT_ROWS_H
#define TESTS_UNIT_ROWS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define TESTS_MAX 512

struct tests {
	struct CMUnitTest test[TESTS_MAX];
	char name[TESTS_MAX][120];
	size_t n;
};

void tests_add(struct tests *t, const char *name, CMUnitTestFunction fn, const void *state);
void tests_add_rows(struct tests *t, const char *name, CMUnitTestFunction fn, const void *rows,
		    size_t n, size_t row_size);
#define ADD_TEST(t, fn) tests_add((t), #fn, (fn), NULL)
#define ADD_ROWS(t, fn, rows)                                                                      \
	tests_add_rows((t), #fn, (fn), (rows), sizeof(rows) / sizeof((rows)[0]), sizeof((rows)[0]))
/* Run them all; what main returns. */
int tests_run(struct tests *t, const char *group);

#endif
