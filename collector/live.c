/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/live.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "proto/base/queue.h"

struct live_follower {
	struct batch_name tenant;
	struct queue *queue; /* of malloc'ed struct store_ref */
	atomic_uint_fast64_t missed;
};

struct live {
	pthread_mutex_t lock; /* of followers and closed */
	struct live_follower *followers[LIVE_FOLLOWERS_MAX];
	bool closed;
};

int live_new(struct live **ret, struct error *e)
{
	struct live *l = calloc(1, sizeof(*l));

	if (!l)
		return error_set(e, -ENOMEM, "cannot begin the live tail: out of memory");
	(void)pthread_mutex_init(&l->lock, NULL);
	*ret = l;
	return 0;
}

void live_free(struct live *l)
{
	if (!l)
		return;
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

static void give(struct live_follower *f, const struct store_ref *ref)
{
	struct store_ref *copy = malloc(sizeof(*copy));

	if (copy)
		*copy = *ref;
	if (copy && queue_try_push(f->queue, copy))
		return;
	free(copy);
	(void)atomic_fetch_add(&f->missed, 1);
}

void live_feed(struct live *l, const struct store_ref *ref)
{
	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX; i++) {
		struct live_follower *f = l->followers[i];

		if (f && f->tenant.len == ref->tenant.len &&
		    memcmp(f->tenant.b, ref->tenant.b, ref->tenant.len) == 0)
			give(f, ref);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

void live_close(struct live *l)
{
	(void)pthread_mutex_lock(&l->lock);
	l->closed = true;
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX; i++)
		if (l->followers[i])
			queue_close(l->followers[i]->queue);
	(void)pthread_mutex_unlock(&l->lock);
}

static void follower_free(struct live_follower *f)
{
	struct store_ref *ref;

	if (!f)
		return;
	while (f->queue && (ref = queue_pop(f->queue, 0)))
		free(ref);
	queue_free(f->queue);
	free(f);
}

static bool enter(struct live *l, struct live_follower *f)
{
	bool entered = false;

	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX && !l->closed && !entered; i++) {
		if (!l->followers[i]) {
			l->followers[i] = f;
			entered = true;
		}
	}
	(void)pthread_mutex_unlock(&l->lock);
	return entered;
}

int live_follow(struct live *l, const struct batch_name *tenant, struct live_follower **ret,
		struct error *e)
{
	struct live_follower *f = calloc(1, sizeof(*f));

	if (f)
		f->queue = queue_new(LIVE_QUEUE_MAX);
	if (!f || !f->queue) {
		free(f);
		return error_set(e, -ENOMEM, "cannot follow: out of memory");
	}
	f->tenant = *tenant;
	if (!enter(l, f)) {
		follower_free(f);
		(void)error_set(e, -ENOSPC, "%d live tails are open already", LIVE_FOLLOWERS_MAX);
		error_hint(e, "end one of them, or ask with 'exhibit events'");
		return -ENOSPC;
	}
	*ret = f;
	return 0;
}

void live_leave(struct live *l, struct live_follower *f)
{
	if (!f)
		return;
	(void)pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < LIVE_FOLLOWERS_MAX; i++)
		if (l->followers[i] == f)
			l->followers[i] = NULL;
	(void)pthread_mutex_unlock(&l->lock);
	follower_free(f);
}

struct store_ref *live_pop(struct live_follower *f, int timeout_ms)
{
	return queue_pop(f->queue, timeout_ms);
}

uint64_t live_missed(struct live_follower *f)
{
	return atomic_exchange(&f->missed, 0);
}

bool live_closed(const struct live_follower *f)
{
	return queue_closed(f->queue);
}
