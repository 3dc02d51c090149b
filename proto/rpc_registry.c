/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_registry.h"

#include "proto/base/clock.h"

#include <errno.h>
#include <time.h>

void rpc_registry_init(struct rpc_registry *r, size_t max)
{
	pthread_condattr_t attr;

	*r = (struct rpc_registry){ .max = max };
	r->head.next = r->head.prev = &r->head;
	(void)pthread_mutex_init(&r->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&r->fewer, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void rpc_registry_release(struct rpc_registry *r)
{
	(void)pthread_cond_destroy(&r->fewer);
	(void)pthread_mutex_destroy(&r->lock);
}

bool rpc_registry_add(struct rpc_registry *r, struct rpc_link *link, struct rpc_stream *s)
{
	bool room;

	pthread_mutex_lock(&r->lock);
	room = r->n < r->max;
	if (room) {
		*link = (struct rpc_link){ .next = &r->head, .prev = r->head.prev, .stream = s };
		link->prev->next = link;
		r->head.prev = link;
		r->n++;
	}
	pthread_mutex_unlock(&r->lock);
	return room;
}

void rpc_registry_remove(struct rpc_registry *r, struct rpc_link *link)
{
	pthread_mutex_lock(&r->lock);
	link->prev->next = link->next;
	link->next->prev = link->prev;
	/* Signalled with the lock held: the waiter may free the registry as soon as it has the lock. */
	r->n--;
	(void)pthread_cond_broadcast(&r->fewer);
	pthread_mutex_unlock(&r->lock);
}

void rpc_registry_each(struct rpc_registry *r, void (*fn)(struct rpc_stream *s, void *arg),
		       void *arg)
{
	pthread_mutex_lock(&r->lock);
	for (struct rpc_link *l = r->head.next; l != &r->head; l = l->next)
		fn(l->stream, arg);
	pthread_mutex_unlock(&r->lock);
}

static struct timespec deadline_after(uint64_t ms)
{
	uint64_t ns = clock_monotonic_ns() + ms * NSEC_PER_MSEC;

	return (struct timespec){ .tv_sec = (time_t)(ns / NSEC_PER_SEC),
				  .tv_nsec = (long)(ns % NSEC_PER_SEC) };
}

bool rpc_registry_wait(struct rpc_registry *r, size_t n, uint64_t ms)
{
	struct timespec until = deadline_after(ms != UINT64_MAX ? ms : 0);
	bool few;
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	while (r->n > n && rc != ETIMEDOUT) {
		if (ms == UINT64_MAX)
			rc = pthread_cond_wait(&r->fewer, &r->lock);
		else
			rc = pthread_cond_timedwait(&r->fewer, &r->lock, &until);
	}
	few = r->n <= n;
	pthread_mutex_unlock(&r->lock);
	return few;
}

bool rpc_registry_wait_empty(struct rpc_registry *r, uint64_t ms)
{
	return rpc_registry_wait(r, 0, ms);
}

size_t rpc_registry_count(struct rpc_registry *r)
{
	size_t n;

	pthread_mutex_lock(&r->lock);
	n = r->n;
	pthread_mutex_unlock(&r->lock);
	return n;
}
