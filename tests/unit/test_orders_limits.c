/* SPDX-License-Identifier: Apache-2.0 */
/* How many orders there may be. */
#include "tests/unit/orders_site.h"
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void a_caller_has_so_many_a_minute(void **state)
{
	struct identity ann = { .kind = IDENTITY_RESPONDER, .name = "ann" }, many = ann;
	struct error e = { 0 };
	struct site s;

	(void)state;
	site_begin(&s);
	for (int i = 0; i < 60; i++)
		assert_int_equal(orders_limit_caller(&s.o, &ann, &e), 0);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	assert_non_null(strstr(e.text, "more than 60 orders within a minute"));
	assert_non_null(strstr(e.hint, "wait "));
	site_clock_add(SECOND);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), 0);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	/* A clock that goes back and forth refills nothing that had not been refilled. */
	site_clock_add(-3600 * SECOND);
	assert_int_equal(orders_limit_caller(&s.o, &ann, &e), -EDQUOT);
	/* Others have their own, however many they are. */
	for (int i = 0; i < ORDERS_CALLERS + 10; i++) {
		site_clock_add(1);
		(void)snprintf(many.name, sizeof(many.name), "m%d", i);
		assert_int_equal(orders_limit_caller(&s.o, &many, &e), 0);
	}
	site_end(&s);
}

static void a_host_has_so_many_open(void **state)
{
	const struct batch_name tenant = site_name(FIXTURE_TENANT), other = site_name("other");
	struct error e = { 0 };
	struct order_kit t;
	struct site s;

	(void)state;
	site_begin(&s);
	orders_init(&t);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), 0);
	assert_int_equal(site_order(&s, 1, NULL), 0);
	assert_int_equal(site_order(&s, 2, NULL), 0);
	orders_init(&t);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), -EDQUOT);
	assert_non_null(strstr(e.text, "2 orders for host 'h-1' are open already"));
	assert_int_equal(orders_limit_hosts(&s.o, &other, &t.o, &e), 0);
	s.o.open->targets[0].state = S(DONE);
	assert_int_equal(orders_limit_hosts(&s.o, &tenant, &t.o, &e), 0);
	site_end(&s);
}

int main(void)
{
	static struct tests t;
	int failed;

	site_people();
	ADD_TEST(&t, a_caller_has_so_many_a_minute);
	ADD_TEST(&t, a_host_has_so_many_open);
	failed = tests_run(&t, "orders_limits");
	site_people_end();
	return failed;
}
