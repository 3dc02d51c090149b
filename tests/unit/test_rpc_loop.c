/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rows.h"
#include "tests/unit/rpc_world.h"

#include "proto/base/clock.h"
#include "proto/rpc_timers.h"

#include <errno.h>

static void count(void *arg)
{
	atomic_fetch_add((atomic_uint *)arg, 1);
}

static struct rpc_loop *started(unsigned int threads)
{
	struct rpc_loop *l = NULL;
	struct error e = { 0 };

	if (rpc_loop_new(threads, &l, &e) < 0 || rpc_loop_start(l, &e) < 0)
		fail_msg("%s", e.text);
	return l;
}

static void thread_counts_are_bounded(void **state)
{
	struct rpc_loop *l = NULL;

	(void)state;
	assert_int_equal(rpc_loop_new(0, &l, NULL), -EINVAL);
	assert_int_equal(rpc_loop_new(RPC_LOOP_THREADS_MAX + 1, &l, NULL), -EINVAL);
}

static void loop_that_never_started_can_be_freed(void **state)
{
	struct rpc_loop *l = NULL;
	atomic_uint n = 0;

	(void)state;
	assert_int_equal(rpc_loop_new(2, &l, NULL), 0);
	assert_int_equal(rpc_loop_post(l, count, &n), 0);
	rpc_loop_free(l);
	assert_int_equal(n, 1);
	rpc_loop_free(NULL);
}

struct poster {
	struct rpc_loop *loop;
	atomic_uint *n;
};

static void *post_many(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < 2000; i++) {
		while (rpc_loop_post(p->loop, count, p->n) == -EAGAIN)
			(void)usleep(1000);
	}
	return NULL;
}

static void every_post_runs_once(void **state)
{
	struct rpc_loop *l = started(3);
	atomic_uint n = 0;
	struct poster p = { l, &n };
	pthread_t t[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, post_many, &p), 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		(void)pthread_join(t[i], NULL);
	rpc_loop_free(l);
	assert_int_equal(n, 8000);
}

struct order {
	struct rpc_loop *loop;
	unsigned int next;
	atomic_uint wrong, seen;
};

static struct order order;

static void in_order(void *arg)
{
	if ((uintptr_t)arg != order.next++)
		atomic_fetch_add(&order.wrong, 1);
	atomic_fetch_add(&order.seen, 1);
}

static void one_thread_keeps_the_order_of_posts(void **state)
{
	struct rpc_loop *l = started(1);

	(void)state;
	for (uintptr_t i = 0; i < 1000; i++)
		assert_int_equal(rpc_loop_post(l, in_order, (void *)i), 0);
	rpc_loop_free(l);
	assert_int_equal(order.seen, 1000);
	assert_int_equal(order.wrong, 0);
}

static void post_again(void *arg)
{
	struct order *o = arg;

	if (atomic_fetch_add(&o->seen, 1) < 99 && rpc_loop_post(o->loop, post_again, o) < 0)
		atomic_fetch_add(&o->wrong, 1);
}

static void callbacks_may_post(void **state)
{
	struct order o = { .loop = started(2) };

	(void)state;
	assert_int_equal(rpc_loop_post(o.loop, post_again, &o), 0);
	wait_for(&o.seen, 100);
	rpc_loop_free(o.loop);
	assert_int_equal(o.wrong, 0);
}

static void timers_run_when_due_and_not_when_cancelled(void **state)
{
	struct rpc_loop *l = started(2);
	atomic_uint late = 0, soon = 0, never = 0;
	uint64_t start = clock_monotonic_ns(), id;

	(void)state;
	assert_int_equal(rpc_loop_after(l, 3600000, count, &late, NULL), 0);
	assert_int_equal(rpc_loop_after(l, 100, count, &never, &id), 0);
	assert_int_equal(rpc_loop_after(l, 200, count, &soon, NULL), 0);
	assert_true(rpc_loop_cancel(l, id));
	assert_false(rpc_loop_cancel(l, id));
	wait_for(&soon, 1);
	assert_true(clock_monotonic_ns() - start >= 200 * NSEC_PER_MSEC);
	rpc_loop_free(l);
	assert_int_equal(never, 0);
	assert_int_equal(late, 0);
	assert_int_equal(soon, 1);
}

static void table_of_timers_is_bounded(void **state)
{
	struct rpc_loop *l = started(1);
	atomic_uint n = 0;

	(void)state;
	for (int i = 0; i < RPC_LOOP_TIMERS_MAX; i++)
		assert_int_equal(rpc_loop_after(l, 3600000, count, &n, NULL), 0);
	assert_int_equal(rpc_loop_after(l, 1, count, &n, NULL), -ENOSPC);
	rpc_loop_free(l);
	assert_int_equal(n, 0);
}

/* ---- the heap alone ---------------------------------------------------------------------------- */

static void heap_gives_back_in_order(void **state)
{
	struct rpc_timers t;
	struct rpc_timer got;
	uint64_t id[64], last = 0;
	unsigned int n = 0;

	(void)state;
	assert_int_equal(rpc_timers_init(&t, ARRAY_LEN(id)), 0);
	for (size_t i = 0; i < ARRAY_LEN(id); i++)
		assert_int_equal(rpc_timers_add(&t, (i * 37) % 64, NULL, NULL, &id[i]), 0);
	assert_int_equal(rpc_timers_add(&t, 1, NULL, NULL, NULL), -ENOSPC);
	for (size_t i = 0; i < ARRAY_LEN(id); i += 3)
		assert_true(rpc_timers_cancel(&t, id[i]));
	assert_false(rpc_timers_pop(&t, rpc_timers_next(&t) - 1, &got));
	while (rpc_timers_pop(&t, 64, &got)) {
		assert_true(got.due_ns >= last);
		assert_true((got.id - id[0]) % 3 != 0);
		last = got.due_ns;
		n++;
	}
	assert_int_equal(n, 42);
	assert_true(rpc_timers_next(&t) == UINT64_MAX);
	rpc_timers_release(&t);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, thread_counts_are_bounded);
	ADD_TEST(&t, loop_that_never_started_can_be_freed);
	ADD_TEST(&t, every_post_runs_once);
	ADD_TEST(&t, one_thread_keeps_the_order_of_posts);
	ADD_TEST(&t, callbacks_may_post);
	ADD_TEST(&t, timers_run_when_due_and_not_when_cancelled);
	ADD_TEST(&t, table_of_timers_is_bounded);
	ADD_TEST(&t, heap_gives_back_in_order);
	return tests_run(&t, "rpc_loop");
}
