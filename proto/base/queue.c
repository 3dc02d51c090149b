/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>

#include "proto/base/clock.h"

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t filled; /* an item came, or closed */
	pthread_cond_t drained; /* an item went, or closed */
	size_t capacity, first, len;
	bool closed;
	int fd; /* eventfd: 1 while len > 0 or closed */
	void *item[];
};

/* Called with the lock held, when "not empty or closed" has changed. */
static void signal_fd(struct queue *q, bool readable)
{
	eventfd_t unused;

	/* Neither can fail but by EAGAIN: the state is already as wanted. */
	if (readable)
		(void)eventfd_write(q->fd, 1);
	else
		(void)eventfd_read(q->fd, &unused);
}

static int init_conditions(struct queue *q)
{
	pthread_condattr_t attr;
	int r = pthread_condattr_init(&attr);

	if (r)
		return r;
	/* Setting the wall clock must neither cut nor stretch a wait. */
	r = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!r)
		r = pthread_cond_init(&q->filled, &attr);
	if (!r) {
		r = pthread_cond_init(&q->drained, &attr);
		if (r)
			(void)pthread_cond_destroy(&q->filled);
	}
	(void)pthread_condattr_destroy(&attr);
	return r;
}

struct queue *queue_new(size_t capacity)
{
	struct queue *q;
	size_t size;

	if (capacity == 0 || __builtin_mul_overflow(capacity, sizeof(void *), &size) ||
	    __builtin_add_overflow(size, sizeof(*q), &size))
		return NULL;
	q = calloc(1, size);
	if (!q)
		return NULL;
	q->capacity = capacity;
	q->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->fd >= 0 && init_conditions(q) == 0)
		return q;
	close_fd(&q->fd);
	free(q);
	return NULL;
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	(void)pthread_cond_destroy(&q->filled);
	(void)pthread_cond_destroy(&q->drained);
	(void)pthread_mutex_destroy(&q->lock);
	close_fd(&q->fd);
	free(q);
}

/* With the lock held and room for one. */
static void put(struct queue *q, void *item)
{
	q->item[(q->first + q->len) % q->capacity] = item;
	if (q->len++ == 0)
		signal_fd(q, true);
	(void)pthread_cond_signal(&q->filled);
}

bool queue_try_push(struct queue *q, void *item)
{
	bool ok;

	(void)pthread_mutex_lock(&q->lock);
	ok = !q->closed && q->len < q->capacity;
	if (ok)
		put(q, item);
	(void)pthread_mutex_unlock(&q->lock);
	return ok;
}

bool queue_push(struct queue *q, void *item)
{
	bool ok;

	(void)pthread_mutex_lock(&q->lock);
	while (!q->closed && q->len == q->capacity)
		(void)pthread_cond_wait(&q->drained, &q->lock);
	ok = !q->closed;
	if (ok)
		put(q, item);
	(void)pthread_mutex_unlock(&q->lock);
	return ok;
}

/* With the lock held, until there is something or nothing can come any more. */
static void wait_filled(struct queue *q, int timeout_ms)
{
	uint64_t wait_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : 0;
	uint64_t end_ns = clock_monotonic_ns() + wait_ms * NSEC_PER_MSEC;
	struct timespec end = { .tv_sec = (time_t)(end_ns / NSEC_PER_SEC),
				.tv_nsec = (long)(end_ns % NSEC_PER_SEC) };
	int r = timeout_ms == 0 ? ETIMEDOUT : 0;

	while (!q->len && !q->closed && r != ETIMEDOUT) {
		if (timeout_ms < 0)
			r = pthread_cond_wait(&q->filled, &q->lock);
		else
			r = pthread_cond_timedwait(&q->filled, &q->lock, &end);
	}
}

void *queue_pop(struct queue *q, int timeout_ms)
{
	void *item = NULL;

	(void)pthread_mutex_lock(&q->lock);
	wait_filled(q, timeout_ms);
	if (q->len > 0) {
		item = q->item[q->first];
		q->first = (q->first + 1) % q->capacity;
		if (--q->len == 0 && !q->closed)
			signal_fd(q, false);
		(void)pthread_cond_signal(&q->drained);
	}
	(void)pthread_mutex_unlock(&q->lock);
	return item;
}

void queue_close(struct queue *q)
{
	(void)pthread_mutex_lock(&q->lock);
	if (!q->closed) {
		q->closed = true;
		signal_fd(q, true);
		(void)pthread_cond_broadcast(&q->filled);
		(void)pthread_cond_broadcast(&q->drained);
	}
	(void)pthread_mutex_unlock(&q->lock);
}

/* The lock is no part of what const promises. */
static pthread_mutex_t *lock_of(const struct queue *q)
{
	return &((struct queue *)(uintptr_t)q)->lock;
}

bool queue_closed(const struct queue *q)
{
	bool closed;

	(void)pthread_mutex_lock(lock_of(q));
	closed = q->closed;
	(void)pthread_mutex_unlock(lock_of(q));
	return closed;
}

size_t queue_len(const struct queue *q)
{
	size_t len;

	(void)pthread_mutex_lock(lock_of(q));
	len = q->len;
	(void)pthread_mutex_unlock(lock_of(q));
	return len;
}

int queue_fd(const struct queue *q)
{
	return q->fd;
}
