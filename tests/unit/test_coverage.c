/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/coverage.h"

#include <string.h>

#include "proto/actions.h"
#include "tests/unit/rows.h"

static void a_full_table_loses_rows_not_memory(void **state)
{
	(void)state;
	static const char *const what[] = { "a", "b", "c" };
	struct coverage c = { 0 };

	for (uint32_t class = 0; class < 20; class ++)
		for (size_t i = 0; i < ARRAY_LEN(what); i++)
			coverage_attached(&c, class, what[i], 1, "hook", NULL);
	assert_int_equal(c.n, COVERAGE_ROWS_MAX);
	assert_null(coverage_row(&c, 100, "a"));
	coverage_failed(&c, 100, "a", "no");
}

static void a_long_reason_is_cut(void **state)
{
	(void)state;
	struct coverage c = { 0 };
	char text[2 * COVERAGE_REASON_MAX];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	coverage_failed(&c, CLASS_EXEC, "exec", "%s", text);
	assert_int_equal(strlen(c.row[0].reason), COVERAGE_REASON_MAX - 1);
}

static void the_last_word_counts(void **state)
{
	(void)state;
	struct coverage c = { 0 };

	coverage_failed(&c, CLASS_TCP, "connect", "the kernel says %s", "no");
	assert_int_equal(c.row[0].state, COVERAGE_FAILED);
	assert_string_equal(c.row[0].hook, "none");
	assert_string_equal(c.row[0].reason, "the kernel says no");
	assert_false(coverage_has(&c, CLASS_TCP));
	coverage_attached(&c, CLASS_TCP, "connect", 1, "tp_btf/x", NULL);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.row[0].state, COVERAGE_ATTACHED);
	assert_string_equal(c.row[0].reason, "");
	coverage_attached(&c, CLASS_TCP, "connect", 1, "tp_btf/x", "not all");
	assert_int_equal(c.row[0].state, COVERAGE_PARTIAL);
	assert_true(coverage_has(&c, CLASS_TCP));
	assert_false(coverage_has(&c, CLASS_UDP));
}

static void print_is_one_line_per_row(void **state)
{
	(void)state;
	struct coverage c = { 0 };
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	coverage_attached(&c, CLASS_EXEC, "exec", 1, "tp_btf/sched_process_exec", NULL);
	coverage_failed(&c, CLASS_UDP, "udp_flow", "cgroup v2 is not mounted");
	coverage_print(&c, f);
	assert_int_equal(fclose(f), 0);
	const char *exec = strstr(text, "\nexec"), *udp = strstr(text, "\nudp");

	assert_non_null(exec);
	assert_non_null(udp);
	assert_non_null(strstr(exec, "T1   tp_btf/sched_process_exec"));
	assert_non_null(strstr(udp, "-    none"));
	assert_non_null(strstr(udp, "failed    cgroup v2 is not mounted\n"));
	free(text);
}

static void states_have_names(void **state)
{
	(void)state;
	assert_string_equal(coverage_state_name(COVERAGE_PARTIAL), "partial");
	assert_string_equal(coverage_state_name((enum coverage_state)99), "unknown");
}

int main(void)
{
	struct tests t = { 0 };

	ADD_TEST(&t, a_full_table_loses_rows_not_memory);
	ADD_TEST(&t, a_long_reason_is_cut);
	ADD_TEST(&t, the_last_word_counts);
	ADD_TEST(&t, print_is_one_line_per_row);
	ADD_TEST(&t, states_have_names);
	return tests_run(&t, "coverage");
}
