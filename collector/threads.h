/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that nobody joins one by one, so many at most: who closes waits until the last has ended. Any thread. */
#ifndef COLLECTOR_THREADS_H
#define COLLECTOR_THREADS_H

#include <pthread.h>

#include "proto/base/base.h"

struct threads {
	unsigned int max, n; /* n: under lock */
	bool closed; /* likewise: nobody starts any more */
	pthread_mutex_t lock;
	pthread_cond_t ended;
};

void threads_init(struct threads *t, unsigned int max);
/* After threads_wait. */
void threads_release(struct threads *t);
/* -EAGAIN: max run already, the system has no more, or threads_wait was called. main's last word is threads_end. */
MUST_CHECK int threads_start(struct threads *t, void *(*main)(void *arg), void *arg);
void threads_end(struct threads *t);
/* Nobody starts from now on; waits for the last one's end. */
void threads_wait(struct threads *t);

#endif
