/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue of pointers between threads; ownership travels with the pointer.
 * Any number of producers and consumers. */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H

#include "proto/base/base.h"

struct queue;

struct queue *queue_new(size_t capacity); /* NULL: out of memory */
/* Frees the queue, not what is in it: drain it first. */
void queue_free(struct queue *q);
/* false when full or closed: the caller still owns item. Never blocks. */
MUST_CHECK bool queue_try_push(struct queue *q, void *item);
/* Blocks until there is room; false only when closed. */
MUST_CHECK bool queue_push(struct queue *q, void *item);
/* The oldest item; waits up to timeout_ms (negative: for ever, 0: not at all). NULL: timed out,
 * or closed and empty. */
void *queue_pop(struct queue *q, int timeout_ms);
/* Wakes all waiters; pushes fail from now on, pops drain what is left. */
void queue_close(struct queue *q);
bool queue_closed(const struct queue *q);
size_t queue_len(const struct queue *q);
/* An eventfd that is readable while the queue is not empty or is closed, for ppoll. Owned by q. */
int queue_fd(const struct queue *q);

#endif
