/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "proto/base/queue.h"
#include "tests/unit/rows.h"

#define LONG_MS 30000 /* a limit on waits that should be short */

static int items[1000];

static void free_queue(struct queue **q)
{
	queue_free(*q);
}

static bool readable(const struct queue *q)
{
	struct pollfd p = { .fd = queue_fd(q), .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static const struct capacity_row {
	const char *name;
	size_t capacity;
} bad_capacity_rows[] = {
	{ "none", 0 },
	{ "overflows when multiplied", SIZE_MAX / 4 },
	{ "overflows when added", SIZE_MAX / sizeof(void *) },
};

static void capacity_is_refused(void **state)
{
	const struct capacity_row *row = *state;

	assert_null(queue_new(row->capacity));
}

static void full_refuses(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(2);

	(void)state;
	assert_true(queue_try_push(q, &items[0]));
	assert_true(queue_try_push(q, &items[1]));
	assert_false(queue_try_push(q, &items[2]));
	assert_int_equal(queue_len(q), 2);
	assert_ptr_equal(queue_pop(q, 0), &items[0]);
	assert_true(queue_try_push(q, &items[3]));
	assert_ptr_equal(queue_pop(q, 0), &items[1]);
	assert_ptr_equal(queue_pop(q, 0), &items[3]);
}

static void empty_pop_gives_up(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(2);

	(void)state;
	assert_null(queue_pop(q, 0));
	assert_null(queue_pop(q, 5));
}

static void closed_refuses_and_drains(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(2);

	(void)state;
	assert_true(queue_push(q, &items[0]));
	assert_false(queue_closed(q));
	queue_close(q);
	queue_close(q);
	assert_true(queue_closed(q));
	assert_false(queue_try_push(q, &items[1]));
	assert_false(queue_push(q, &items[1]));
	assert_ptr_equal(queue_pop(q, -1), &items[0]);
	assert_null(queue_pop(q, -1));
}

static void descriptor_tells(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(2);

	(void)state;
	assert_false(readable(q));
	assert_true(queue_push(q, &items[0]));
	assert_true(queue_push(q, &items[1]));
	assert_true(readable(q));
	assert_non_null(queue_pop(q, 0));
	assert_true(readable(q));
	assert_non_null(queue_pop(q, 0));
	assert_false(readable(q));
	assert_true(queue_push(q, &items[2]));
	queue_close(q);
	assert_true(readable(q));
	assert_non_null(queue_pop(q, 0));
	assert_true(readable(q));
	assert_null(queue_pop(q, 0));
	assert_true(readable(q));
}

static void *pop_one(void *q)
{
	return queue_pop(q, LONG_MS);
}

static void *push_one(void *q)
{
	return queue_push(q, &items[9]) ? q : NULL;
}

static void push_wakes_a_waiting_pop(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(2);
	pthread_t thread;
	void *got;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, pop_one, q), 0);
	assert_true(queue_push(q, &items[5]));
	assert_int_equal(pthread_join(thread, &got), 0);
	assert_ptr_equal(got, &items[5]);
}

static void close_wakes_a_waiting_push(void **state)
{
	AUTO(free_queue) struct queue *q = queue_new(1);
	pthread_t thread;
	void *got;

	(void)state;
	assert_true(queue_push(q, &items[0]));
	assert_int_equal(pthread_create(&thread, NULL, push_one, q), 0);
	queue_close(q);
	assert_int_equal(pthread_join(thread, &got), 0);
	assert_null(got);
}

static void *push_all(void *q)
{
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		if (!queue_push(q, &items[i]))
			return NULL;
	return q;
}

static void nothing_is_lost_between_threads(void **state)
{
	enum { PRODUCERS = 3 };
	AUTO(free_queue) struct queue *q = queue_new(7);
	size_t got[ARRAY_LEN(items)] = { 0 };
	pthread_t thread[PRODUCERS];
	void *ok;

	(void)state;
	for (size_t i = 0; i < PRODUCERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, push_all, q), 0);
	for (size_t i = 0; i < PRODUCERS * ARRAY_LEN(items); i++) {
		int *item = queue_pop(q, LONG_MS);

		assert_non_null(item);
		got[item - items]++;
	}
	for (size_t i = 0; i < PRODUCERS; i++) {
		assert_int_equal(pthread_join(thread[i], &ok), 0);
		assert_non_null(ok);
	}
	for (size_t i = 0; i < ARRAY_LEN(items); i++)
		assert_int_equal(got[i], PRODUCERS);
	assert_int_equal(queue_len(q), 0);
	assert_false(readable(q));
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, capacity_is_refused, bad_capacity_rows);
	ADD_TEST(&t, full_refuses);
	ADD_TEST(&t, empty_pop_gives_up);
	ADD_TEST(&t, closed_refuses_and_drains);
	ADD_TEST(&t, descriptor_tells);
	ADD_TEST(&t, push_wakes_a_waiting_pop);
	ADD_TEST(&t, close_wakes_a_waiting_push);
	ADD_TEST(&t, nothing_is_lost_between_threads);
	return tests_run(&t, "queue");
}
