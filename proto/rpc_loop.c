/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_loop.h"

#include "proto/base/clock.h"
#include "proto/rpc_core.h"
#include "proto/rpc_guard.h"
#include "proto/rpc_timers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct rpc_loop {
	grpc_completion_queue *queue;
	/* Core's queue has no way to wake a thread but a completed operation. An empty batch on a call
	 * that goes nowhere completes at once: that is how posts get there. */
	grpc_channel *lame_channel;
	grpc_call *lame_call;
	struct rpc_tag wake;
	/* Operations that will still complete, plus one until rpc_loop_free: at 0 the queue is shut down. */
	_Atomic(uint64_t) pending;
	atomic_uint posts;
	atomic_bool stopping;
	pthread_mutex_t lock; /* of timers */
	struct rpc_timers timers;
	_Atomic(uint64_t) next_due_ns; /* copy of rpc_timers_next, read without the lock */
	unsigned int n_wanted, n_threads;
	pthread_t thread[RPC_LOOP_THREADS_MAX];
};

struct post {
	struct rpc_tag tag;
	struct rpc_loop *loop;
	rpc_loop_fn *fn;
	void *arg;
};

grpc_completion_queue *rpc_loop_queue(struct rpc_loop *l)
{
	return l->queue;
}

/* ---- counting operations ----------------------------------------------------------------------- */

int rpc_loop_begin(struct rpc_loop *l)
{
	uint64_t n = atomic_load(&l->pending);

	do {
		if (n == 0)
			return -ESHUTDOWN;
	} while (!atomic_compare_exchange_weak(&l->pending, &n, n + 1));
	return 0;
}

static void op_done(struct rpc_loop *l)
{
	if (atomic_fetch_sub(&l->pending, 1) == 1)
		grpc_completion_queue_shutdown(l->queue);
}

void rpc_loop_undo(struct rpc_loop *l)
{
	op_done(l);
}

int rpc_loop_batch(struct rpc_loop *l, grpc_call *call, const grpc_op *ops, size_t n,
		   struct rpc_tag *tag)
{
	int r = rpc_loop_begin(l);

	if (r < 0)
		return r;
	if (grpc_call_start_batch(call, ops, n, tag, NULL) == GRPC_CALL_OK)
		return 0;
	rpc_loop_undo(l);
	return -EIO;
}

/* ---- posts and timers -------------------------------------------------------------------------- */

static void wake_done(void *owner, bool ok)
{
	(void)owner;
	(void)ok;
}

static void run_post(void *owner, bool ok)
{
	struct post *p = owner;
	rpc_loop_fn *fn = p->fn;
	void *arg = p->arg;

	(void)ok;
	atomic_fetch_sub(&p->loop->posts, 1);
	free(p);
	fn(arg);
}

static int start_post(struct rpc_loop *l, rpc_loop_fn *fn, void *arg)
{
	struct post *p = malloc(sizeof(*p));
	int r;

	if (p == NULL)
		return -ENOMEM;
	*p = (struct post){ .tag = { run_post, p }, .loop = l, .fn = fn, .arg = arg };
	r = rpc_loop_batch(l, l->lame_call, NULL, 0, &p->tag);
	if (r < 0)
		free(p);
	return r;
}

int rpc_loop_post(struct rpc_loop *l, rpc_loop_fn *fn, void *arg)
{
	int r;

	if (atomic_load(&l->stopping))
		return -ESHUTDOWN;
	if (atomic_fetch_add(&l->posts, 1) >= RPC_LOOP_POSTS_MAX) {
		atomic_fetch_sub(&l->posts, 1);
		return -EAGAIN;
	}
	r = start_post(l, fn, arg);
	if (r < 0)
		atomic_fetch_sub(&l->posts, 1);
	return r;
}

/* The threads sleep until what was the first timer: make one of them look again. */
static void wake_one(struct rpc_loop *l)
{
	int r = rpc_loop_batch(l, l->lame_call, NULL, 0, &l->wake);

	(void)r; /* fails only when the loop has ended, and with it its timers */
}

int rpc_loop_after(struct rpc_loop *l, uint64_t ms, rpc_loop_fn *fn, void *arg, uint64_t *ret_id)
{
	uint64_t due = clock_monotonic_ns() + ms * NSEC_PER_MSEC;
	bool first;
	int r;

	if (atomic_load(&l->stopping))
		return -ESHUTDOWN;
	pthread_mutex_lock(&l->lock);
	first = due < rpc_timers_next(&l->timers);
	r = rpc_timers_add(&l->timers, due, fn, arg, ret_id);
	atomic_store(&l->next_due_ns, rpc_timers_next(&l->timers));
	pthread_mutex_unlock(&l->lock);
	if (r >= 0 && first)
		wake_one(l);
	return r;
}

bool rpc_loop_cancel(struct rpc_loop *l, uint64_t id)
{
	bool found;

	pthread_mutex_lock(&l->lock);
	found = rpc_timers_cancel(&l->timers, id);
	atomic_store(&l->next_due_ns, rpc_timers_next(&l->timers));
	pthread_mutex_unlock(&l->lock);
	return found;
}

static bool pop_due(struct rpc_loop *l, uint64_t now_ns, struct rpc_timer *ret)
{
	bool found;

	pthread_mutex_lock(&l->lock);
	found = !atomic_load(&l->stopping) && rpc_timers_pop(&l->timers, now_ns, ret);
	atomic_store(&l->next_due_ns, rpc_timers_next(&l->timers));
	pthread_mutex_unlock(&l->lock);
	return found;
}

static void run_due(struct rpc_loop *l)
{
	uint64_t now_ns = clock_monotonic_ns();
	struct rpc_timer t;

	while (atomic_load(&l->next_due_ns) <= now_ns && pop_due(l, now_ns, &t))
		t.fn(t.arg);
}

/* ---- threads ----------------------------------------------------------------------------------- */

static gpr_timespec next_deadline(struct rpc_loop *l)
{
	uint64_t due = atomic_load(&l->next_due_ns), now_ns = clock_monotonic_ns();

	if (due == UINT64_MAX || atomic_load(&l->stopping))
		return gpr_inf_future(GPR_CLOCK_MONOTONIC);
	return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
			    gpr_time_from_nanos(due > now_ns ? (int64_t)(due - now_ns) : 0,
						GPR_TIMESPAN));
}

static void *loop_thread(void *arg)
{
	struct rpc_loop *l = arg;

	for (;;) {
		grpc_event event = grpc_completion_queue_next(l->queue, next_deadline(l), NULL);

		if (event.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (event.type == GRPC_OP_COMPLETE) {
			struct rpc_tag *tag = event.tag;

			tag->fn(tag->owner, event.success != 0);
			op_done(l);
		}
		run_due(l);
	}
}

static int start_threads(struct rpc_loop *l)
{
	for (; l->n_threads < l->n_wanted; l->n_threads++) {
		int r = pthread_create(&l->thread[l->n_threads], NULL, loop_thread, l);

		if (r != 0)
			return -r;
	}
	return 0;
}

/* Signals are for main: blocked here, the threads and what core starts inherit the mask. */
int rpc_loop_start(struct rpc_loop *l, struct error *e)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = start_threads(l);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r < 0 ? error_set(e, r, "cannot start thread %u of the network loop: %m",
				 l->n_threads + 1) :
		       0;
}

static int make_lame_call(struct rpc_loop *l)
{
	l->lame_channel =
		grpc_lame_client_channel_create("wake", GRPC_STATUS_UNAVAILABLE, "goes nowhere");
	if (l->lame_channel != NULL)
		l->lame_call =
			grpc_channel_create_call(l->lame_channel, NULL, GRPC_PROPAGATE_DEFAULTS,
						 l->queue, grpc_slice_from_static_string("/wake"),
						 NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	return l->lame_call != NULL ? 0 : -ENOMEM;
}

static void init_core(void)
{
	sigset_t all, old;

	rpc_guard_capture_log();
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	grpc_init();
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

int rpc_loop_new(unsigned int threads, struct rpc_loop **ret, struct error *e)
{
	struct rpc_loop *l;

	if (threads < 1 || threads > RPC_LOOP_THREADS_MAX)
		return error_set(e, -EINVAL, "a network loop has 1 to %d threads, not %u",
				 RPC_LOOP_THREADS_MAX, threads);
	l = calloc(1, sizeof(*l));
	if (l == NULL || rpc_timers_init(&l->timers, RPC_LOOP_TIMERS_MAX) < 0) {
		free(l);
		return error_set(e, -ENOMEM, "cannot make the network loop: %m");
	}
	init_core();
	l->n_wanted = threads;
	l->wake = (struct rpc_tag){ wake_done, l };
	atomic_init(&l->pending, 1);
	atomic_init(&l->next_due_ns, UINT64_MAX);
	(void)pthread_mutex_init(&l->lock, NULL);
	l->queue = grpc_completion_queue_create_for_next(NULL);
	if (make_lame_call(l) < 0) {
		rpc_loop_free(l);
		return error_set(e, -ENOMEM, "cannot make the network loop: %m");
	}
	*ret = l;
	return 0;
}

void rpc_loop_free(struct rpc_loop *l)
{
	if (l == NULL)
		return;
	atomic_store(&l->stopping, true);
	op_done(l);
	if (l->n_threads == 0)
		(void)loop_thread(l);
	for (unsigned int i = 0; i < l->n_threads; i++)
		(void)pthread_join(l->thread[i], NULL);
	if (l->lame_call != NULL)
		grpc_call_unref(l->lame_call);
	if (l->lame_channel != NULL)
		grpc_channel_destroy(l->lame_channel);
	grpc_completion_queue_destroy(l->queue);
	grpc_shutdown_blocking();
	rpc_timers_release(&l->timers);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/* ---- channel arguments ------------------------------------------------------------------------- */

static grpc_arg *next_arg(struct rpc_args *a, const char *key, grpc_arg_type type)
{
	grpc_arg *arg = &a->arg[a->n];

	/* Core's struct has no const; it copies the key. */
	*arg = (grpc_arg){ .type = type, .key = (char *)(uintptr_t)key };
	if (a->n + 1 < RPC_ARGS_MAX)
		a->n++;
	return arg;
}

void rpc_args_int(struct rpc_args *a, const char *key, int value)
{
	next_arg(a, key, GRPC_ARG_INTEGER)->value.integer = value;
}

void rpc_args_string(struct rpc_args *a, const char *key, const char *value)
{
	next_arg(a, key, GRPC_ARG_STRING)->value.string = (char *)(uintptr_t)value;
}

void rpc_args_quota(struct rpc_args *a, grpc_resource_quota *quota)
{
	grpc_arg *arg = next_arg(a, GRPC_ARG_RESOURCE_QUOTA, GRPC_ARG_POINTER);

	arg->value.pointer.p = quota;
	arg->value.pointer.vtable = grpc_resource_quota_arg_vtable();
}
