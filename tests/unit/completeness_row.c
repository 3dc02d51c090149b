/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/completeness_row.h"

#include <string.h>

void completeness_run_row(void **state)
{
	const struct completeness_row *row = *state;
	struct completeness_question q = {
		.hosts = row->hosts,
		.n_hosts = row->n_hosts,
		.streams = row->streams,
		.n_streams = row->n_streams,
		.since_ns = row->since,
		.until_ns = row->until,
		.now_ns = NOW,
		.lanes = row->lanes,
		.removed = row->removed.segments ? &row->removed : NULL,
		.shown_since_ns = row->shown_since,
	};
	struct missing_list missing = { 0 };
	struct completeness c;

	completeness_compute(&q, &c, &missing);
	assert_int_equal(c.hosts, row->counted);
	assert_int_equal(missing.total, row->missing);
	assert_true(c.until_ns == row->complete_until);
	assert_true(c.since_ns == (row->complete_since ? row->complete_since : row->since));
	assert_int_equal(c.later_total, row->later);
	assert_int_equal(c.n_later, row->later);
	if (row->later) {
		assert_memory_equal(c.later[0].host_id.b, row->later_host ? row->later_host : "a",
				    1);
		assert_true(c.later[0].since_ns ==
			    (row->later_since ? row->later_since : SEC(600)));
	}
	if (!row->missing)
		assert_true(c.since_ns <= c.until_ns);
	if (row->reason && !strstr(missing.items[0].reason, row->reason))
		fail_msg("%s", missing.items[0].reason);
	for (size_t i = 0; i < missing.n; i++)
		if (missing.items[i].to_ns)
			assert_true(missing.items[i].from_ns < missing.items[i].to_ns);
	missing_release(&missing);
}
