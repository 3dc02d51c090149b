/* SPDX-License-Identifier: Apache-2.0 */
/* So many threads at most, none after the end, and whoever closes waits for the last. */
#include "collector/threads.h"

#include <errno.h>
#include <stdatomic.h>

#include "proto/base/queue.h"
#include "tests/unit/rows.h"

struct world {
	struct threads threads;
	struct queue *go;
	atomic_uint ended;
};

static void *work(void *arg)
{
	struct world *w = arg;

	(void)queue_pop(w->go, -1);
	(void)atomic_fetch_add(&w->ended, 1);
	threads_end(&w->threads);
	return NULL;
}

static void *let_go(void *arg)
{
	struct world *w = arg;

	/* Time for the closer to be waiting; when it is not yet, nothing differs. */
	(void)usleep(20000);
	queue_close(w->go);
	return NULL;
}

static void so_many_at_most_and_all_end(void **state)
{
	struct world w = { .go = queue_new(1) };
	pthread_t other;

	(void)state;
	assert_non_null(w.go);
	threads_init(&w.threads, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(threads_start(&w.threads, work, &w), 0);
	assert_int_equal(threads_start(&w.threads, work, &w), -EAGAIN);
	assert_int_equal(pthread_create(&other, NULL, let_go, &w), 0);
	threads_wait(&w.threads);
	assert_int_equal(atomic_load(&w.ended), 3);
	assert_int_equal(threads_start(&w.threads, work, &w), -EAGAIN);
	assert_int_equal(pthread_join(other, NULL), 0);
	threads_release(&w.threads);
	queue_free(w.go);
}

static void one_that_ended_makes_room(void **state)
{
	struct world w = { .go = queue_new(1) };

	(void)state;
	assert_non_null(w.go);
	threads_init(&w.threads, 1);
	for (unsigned int i = 0; i < 20; i++) {
		/* Its end may not be told yet. */
		for (int k = 0; threads_start(&w.threads, work, &w) == -EAGAIN; k++) {
			assert_true(k < 10000);
			(void)usleep(1000);
		}
		assert_true(queue_push(w.go, &w));
	}
	threads_wait(&w.threads);
	assert_int_equal(atomic_load(&w.ended), 20);
	threads_release(&w.threads);
	queue_free(w.go);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, so_many_at_most_and_all_end);
	ADD_TEST(&t, one_that_ended_makes_room);
	return tests_run(&t, "threads");
}
