/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_state.h"

#include <errno.h>

#include "proto/base/files.h"
#include "rows.h"

static char path[64];

static uint8_t *save(const struct orders_state *s, size_t *ret_len)
{
	struct error e = { 0 };
	uint8_t *data = NULL;

	memcpy(path, "/tmp/test-orders-state-XXXXXX", 30);
	assert_true(mkstemp(path) >= 0);
	assert_int_equal(orders_state_save(path, s, &e), 0);
	assert_int_equal(files_read(path, ORDERS_STATE_MAX, &data, ret_len, &e), 0);
	(void)unlink(path);
	return data;
}

static const struct orders_state state = { .attempts = 3,
					   .exhibit_id = { 1, 2 },
					   .boot_id = { 3 },
					   .wall_ns = -5,
					   .monotonic_ns = 6,
					   .boottime_ns = 7,
					   .order = (const uint8_t *)"order",
					   .order_len = 5,
					   .manifest = (const uint8_t *)"manifest",
					   .manifest_len = 8 };

/* Every cut, every flipped bit, and a byte too many are refused. */
static void test_damaged(void **unused)
{
	size_t len;
	struct orders_state s;
	AUTO(free_ptr) uint8_t *data = save(&state, &len);

	(void)unused;
	for (size_t i = 0; i < len; i++)
		assert_int_equal(orders_state_parse(data, i, &s), -EBADMSG);
	assert_int_equal(orders_state_parse(data, len + 1, &s), -EBADMSG);
	for (size_t bit = 0; bit < len * 8; bit++) {
		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		assert_int_equal(orders_state_parse(data, len, &s), -EBADMSG);
		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_int_equal(orders_state_parse(data, len, &s), 0);
}

static void test_same(void **unused)
{
	size_t len;
	struct orders_state s;
	AUTO(free_ptr) uint8_t *data = save(&state, &len);

	(void)unused;
	assert_int_equal(orders_state_parse(data, len, &s), 0);
	assert_int_equal(s.attempts, 3);
	assert_memory_equal(s.exhibit_id, state.exhibit_id, sizeof(s.exhibit_id));
	assert_memory_equal(s.boot_id, state.boot_id, sizeof(s.boot_id));
	assert_int_equal(s.wall_ns, -5);
	assert_int_equal(s.monotonic_ns, 6);
	assert_int_equal(s.boottime_ns, 7);
	assert_int_equal(s.order_len, 5);
	assert_memory_equal(s.order, "order", 5);
	assert_int_equal(s.manifest_len, 8);
	assert_memory_equal(s.manifest, "manifest", 8);
}

static void test_longest(void **unused)
{
	AUTO(free_ptr) uint8_t *bytes = calloc(1, ORDERS_STATE_MANIFEST_MAX + 1);
	struct orders_state s = state, got;
	struct error e = { 0 };
	size_t len;

	(void)unused;
	s.order = s.manifest = bytes;
	s.order_len = ORDER_SIGNED_MAX;
	s.manifest_len = ORDERS_STATE_MANIFEST_MAX;
	AUTO(free_ptr) uint8_t *data = save(&s, &len);

	assert_int_equal(orders_state_parse(data, len, &got), 0);
	assert_int_equal(got.manifest_len, ORDERS_STATE_MANIFEST_MAX);
	s.manifest_len = ORDERS_STATE_MAX;
	assert_int_equal(orders_state_save("/nonexistent/x", &s, &e), -ENOMEM);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_damaged);
	ADD_TEST(&t, test_same);
	ADD_TEST(&t, test_longest);
	return tests_run(&t, "orders_state");
}
