/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_timers.h"

#include <errno.h>

int rpc_timers_init(struct rpc_timers *t, size_t max)
{
	*t = (struct rpc_timers){ .heap = calloc(max, sizeof(*t->heap)), .max = max };
	return t->heap != NULL ? 0 : -ENOMEM;
}

void rpc_timers_release(struct rpc_timers *t)
{
	free(t->heap);
	*t = (struct rpc_timers){ 0 };
}

static void swap(struct rpc_timer *a, struct rpc_timer *b)
{
	struct rpc_timer c = *a;

	*a = *b;
	*b = c;
}

static void sift_up(struct rpc_timers *t, size_t i)
{
	while (i > 0 && t->heap[i].due_ns < t->heap[(i - 1) / 2].due_ns) {
		swap(&t->heap[i], &t->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static void sift_down(struct rpc_timers *t, size_t i)
{
	for (;;) {
		size_t least = i, left = 2 * i + 1, right = left + 1;

		if (left < t->n && t->heap[left].due_ns < t->heap[least].due_ns)
			least = left;
		if (right < t->n && t->heap[right].due_ns < t->heap[least].due_ns)
			least = right;
		if (least == i)
			return;
		swap(&t->heap[i], &t->heap[least]);
		i = least;
	}
}

int rpc_timers_add(struct rpc_timers *t, uint64_t due_ns, void (*fn)(void *), void *arg,
		   uint64_t *ret_id)
{
	if (t->n == t->max)
		return -ENOSPC;
	t->heap[t->n] =
		(struct rpc_timer){ .due_ns = due_ns, .id = ++t->last_id, .fn = fn, .arg = arg };
	sift_up(t, t->n++);
	if (ret_id != NULL)
		*ret_id = t->last_id;
	return 0;
}

static void remove_at(struct rpc_timers *t, size_t i)
{
	t->heap[i] = t->heap[--t->n];
	if (i < t->n) {
		sift_up(t, i);
		sift_down(t, i);
	}
}

bool rpc_timers_cancel(struct rpc_timers *t, uint64_t id)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->heap[i].id == id) {
			remove_at(t, i);
			return true;
		}
	}
	return false;
}

uint64_t rpc_timers_next(const struct rpc_timers *t)
{
	return t->n > 0 ? t->heap[0].due_ns : UINT64_MAX;
}

bool rpc_timers_pop(struct rpc_timers *t, uint64_t now_ns, struct rpc_timer *ret)
{
	if (t->n == 0 || t->heap[0].due_ns > now_ns)
		return false;
	*ret = t->heap[0];
	remove_at(t, 0);
	return true;
}
