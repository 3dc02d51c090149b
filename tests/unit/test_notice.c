/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/notice.h"

#include "rows.h"

static void test_copies(void **state)
{
	uint8_t id[2] = { 1, 2 }, reason[2 * NOTICE_TEXT_MAX];
	struct event_order o = { .order_id = { id, 2 },
				 .reason = { reason, sizeof(reason) },
				 .actor = { id, 1 },
				 .certificate_sha256 = { id + 1, 1 },
				 .signed_ns = 6,
				 .kind = 3,
				 .state = 4,
				 .bytes = 5 };

	(void)state;
	memset(reason, 'x', sizeof(reason));
	struct notice *n = notice_new(&o, 74, 13, 99);

	assert_non_null(n);
	memset(id, 9, sizeof(id));
	memset(reason, 'y', sizeof(reason));
	assert_int_equal(n->action, 74);
	assert_int_equal(n->error, 13);
	assert_int_equal(n->boottime_ns, 99);
	assert_int_equal(n->order.kind, 3);
	assert_int_equal(n->order.bytes, 5);
	assert_int_equal(n->order.order_id.len, 2);
	assert_int_equal(n->order.order_id.at[1], 2);
	assert_int_equal(n->order.reason.len, NOTICE_TEXT_MAX);
	assert_int_equal(n->order.reason.at[NOTICE_TEXT_MAX - 1], 'x');
	assert_int_equal(n->order.case_id.len, 0);
	assert_int_equal(n->order.actor.at[0], 1);
	assert_int_equal(n->order.certificate_sha256.at[0], 2);
	assert_int_equal(n->order.signed_ns, 6);
	notice_free(n);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_copies);
	return tests_run(&t, "notice");
}
