/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "collector/live.h"

static const struct batch_name ours = { .len = 1, .b = "t" }, theirs = { .len = 1, .b = "u" };

static void feed(struct live *l, const struct batch_name *tenant, uint64_t number)
{
	struct store_ref ref = { .tenant = *tenant, .number = number };

	live_feed(l, &ref);
}

static void slow_followers_are_told_how_much_they_missed(void **state)
{
	struct live *l;
	struct live_follower *f;

	(void)state;
	assert_int_equal(live_new(&l, NULL), 0);
	assert_int_equal(live_follow(l, &ours, &f, NULL), 0);
	for (uint64_t i = 0; i < LIVE_QUEUE_MAX + 3; i++)
		feed(l, &ours, i);
	assert_int_equal(live_missed(f), 3);
	assert_int_equal(live_missed(f), 0);
	for (uint64_t i = 0; i < LIVE_QUEUE_MAX; i++) {
		struct store_ref *ref = live_pop(f, 0);

		assert_non_null(ref);
		assert_int_equal(ref->number, i);
		free(ref);
	}
	assert_null(live_pop(f, 0));
	live_leave(l, f);
	live_free(l);
}

static void tenants_are_apart(void **state)
{
	struct live *l;
	struct live_follower *f;

	(void)state;
	assert_int_equal(live_new(&l, NULL), 0);
	assert_int_equal(live_follow(l, &ours, &f, NULL), 0);
	feed(l, &theirs, 1);
	assert_null(live_pop(f, 0));
	assert_int_equal(live_missed(f), 0);
	live_leave(l, f);
	feed(l, &ours, 1); /* nobody is there */
	live_free(l);
}

static void places_are_bounded_and_given_back(void **state)
{
	struct live *l;
	struct live_follower *f[LIVE_FOLLOWERS_MAX], *more;

	(void)state;
	assert_int_equal(live_new(&l, NULL), 0);
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX; i++)
		assert_int_equal(live_follow(l, &ours, &f[i], NULL), 0);
	assert_int_equal(live_follow(l, &ours, &more, NULL), -ENOSPC);
	live_leave(l, f[3]);
	assert_int_equal(live_follow(l, &ours, &f[3], NULL), 0);
	live_close(l);
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX; i++) {
		assert_true(live_closed(f[i]));
		assert_null(live_pop(f[i], -1)); /* wakes at once */
		live_leave(l, f[i]);
	}
	assert_int_equal(live_follow(l, &ours, &more, NULL), -ENOSPC);
	live_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_followers_are_told_how_much_they_missed),
		cmocka_unit_test(tenants_are_apart),
		cmocka_unit_test(places_are_bounded_and_given_back),
	};

	return cmocka_run_group_tests_name("live", tests, NULL, NULL);
}
