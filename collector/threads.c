/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/threads.h"

#include <errno.h>

void threads_init(struct threads *t, unsigned int max)
{
	t->max = max;
	t->n = 0;
	t->closed = false;
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->ended, NULL);
}

void threads_release(struct threads *t)
{
	(void)pthread_cond_destroy(&t->ended);
	(void)pthread_mutex_destroy(&t->lock);
}

int threads_start(struct threads *t, void *(*main)(void *arg), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool full;
	int r;

	(void)pthread_mutex_lock(&t->lock);
	full = t->closed || t->n >= t->max;
	t->n += !full;
	(void)pthread_mutex_unlock(&t->lock);
	if (full)
		return -EAGAIN;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, main, arg);
	(void)pthread_attr_destroy(&attr);
	if (r != 0)
		threads_end(t);
	return r == 0 ? 0 : -EAGAIN;
}

void threads_end(struct threads *t)
{
	(void)pthread_mutex_lock(&t->lock);
	if (--t->n == 0)
		(void)pthread_cond_broadcast(&t->ended);
	(void)pthread_mutex_unlock(&t->lock);
}

void threads_wait(struct threads *t)
{
	(void)pthread_mutex_lock(&t->lock);
	t->closed = true;
	while (t->n > 0)
		(void)pthread_cond_wait(&t->ended, &t->lock);
	(void)pthread_mutex_unlock(&t->lock);
}
