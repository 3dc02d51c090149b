/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/flows.h"

#include "tests/unit/rows.h"

static const struct due_row {
	const char *name;
	uint64_t first_ns, last_ns, now_ns;
	bool want;
} due_rows[] = {
	{ "fresh", 1000, 1000, 1000, false },
	{ "a clock that another CPU is ahead of", 1000, 1005, 1000, false },
	{ "not idle long enough", 1000, 1000, 1009, false },
	{ "idle", 1000, 1000, 1010, true },
	{ "busy for not long enough", 1000, 1098, 1099, false },
	{ "busy for long", 1000, 1099, 1100, true },
};

static void due(void **state)
{
	const struct due_row *row = *state;
	const struct flows_policy policy = { .idle_ns = 10, .active_ns = 100 };
	const struct rec_udp_flow flow = { .first_ns = row->first_ns, .last_ns = row->last_ns };

	assert_int_equal(flows_due(&flow, &policy, row->now_ns), row->want);
}

static void at_exit_all_are_due(void **state)
{
	(void)state;
	const struct flows_policy all = { 0, 0 };
	const struct rec_udp_flow flow = { .first_ns = 5, .last_ns = 5 };

	assert_true(flows_due(&flow, &all, 5));
}

/* What README.md promises of a flow that goes on and on, and of one that ended. */
static void no_flow_waits_longer_than_promised(void **state)
{
	const struct flows_policy policy = { .idle_ns = FLOWS_IDLE_NS,
					     .active_ns = FLOWS_ACTIVE_NS };
	const uint64_t first = 5, now = first + 30 * NSEC_PER_SEC;
	const struct rec_udp_flow on = { .first_ns = first, .last_ns = now };
	const struct rec_udp_flow over = { .first_ns = now - 15 * NSEC_PER_SEC,
					   .last_ns = now - 15 * NSEC_PER_SEC };

	(void)state;
	assert_true(flows_due(&on, &policy, now));
	assert_true(flows_due(&over, &policy, now));
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, due, due_rows);
	ADD_TEST(&t, at_exit_all_are_due);
	ADD_TEST(&t, no_flow_waits_longer_than_promised);
	return tests_run(&t, "flows");
}
