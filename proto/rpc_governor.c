/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_governor.h"

#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/rpc_probe.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define WATCHED_MAX 65536 /* connections whose age is known */
#define STATM_MAX 256
#define TRIM_EVERY_NS (10 * NSEC_PER_SEC)

/* A connection, by its socket's inode, and when it was first seen. */
struct seen {
	uint64_t inode;
	uint64_t since_ns;
};

struct rpc_governor {
	struct rpc_governor_config config;
	struct rpc_probe probe;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
	/* the thread's own */
	bool told_wedged;
	uint64_t trimmed_ns;
	size_t n_seen, n_next;
	struct seen *seen, *next; /* room for WATCHED_MAX each; seen is sorted by inode */
	size_t n_busy;
	struct rpc_endpoint *busy; /* room for WATCHED_MAX; sorted */
};

/* ---- descriptors ------------------------------------------------------------------------------- */

struct sweep {
	struct rpc_governor *g;
	uint64_t now_ns, max_age_ns; /* older than that without a stream: cut */
	size_t cut;
};

static int compare_inode(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static uint64_t seen_since(const struct rpc_governor *g, uint64_t inode, uint64_t now_ns)
{
	struct seen key = { .inode = inode };
	const struct seen *found =
		bsearch(&key, g->seen, g->n_seen, sizeof(*g->seen), compare_inode);

	return found != NULL ? found->since_ns : now_ns;
}

static bool is_busy(const struct rpc_governor *g, const struct rpc_endpoint *peer)
{
	return bsearch(peer, g->busy, g->n_busy, sizeof(*g->busy), rpc_endpoint_compare) != NULL;
}

static void look_at(int fd, uint64_t inode, const struct rpc_endpoint *peer, void *arg)
{
	struct sweep *s = arg;
	struct rpc_governor *g = s->g;
	uint64_t since = seen_since(g, inode, s->now_ns);

	if (s->now_ns - since >= s->max_age_ns && !is_busy(g, peer)) {
		if (shutdown(fd, SHUT_RDWR) == 0)
			s->cut++;
	} else if (g->n_next < WATCHED_MAX) {
		g->next[g->n_next++] = (struct seen){ inode, since };
	}
}

static void sweep(struct rpc_governor *g, uint64_t max_age_ns, uint64_t now_ns)
{
	struct sweep s = { .g = g, .now_ns = now_ns, .max_age_ns = max_age_ns };
	struct seen *old = g->seen;

	g->n_busy = g->config.busy(g->config.ctx, g->busy, WATCHED_MAX);
	qsort(g->busy, g->n_busy, sizeof(*g->busy), rpc_endpoint_compare);
	g->n_next = 0;
	if (rpc_sockets_each(g->config.port, look_at, &s) < 0)
		return; /* not even /proc could be opened: at the next tick */
	qsort(g->next, g->n_next, sizeof(*g->next), compare_inode);
	g->seen = g->next;
	g->n_seen = g->n_next;
	g->next = old;
	if (s.cut > 0) {
		log_warn("descriptors run out: connections without a stream were cut",
			 KV_U64("cut", s.cut));
		g->config.on_cut(g->config.ctx, s.cut);
	}
}

/* Ages are watched from half the limit on, so that they are known when they matter. */
static void watch_descriptors(struct rpc_governor *g, uint64_t now_ns)
{
	struct rlimit limit;
	int n = rpc_sockets_count_fds();

	if (n < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if ((rlim_t)n > limit.rlim_cur / 10 * 9)
		sweep(g, NSEC_PER_SEC, now_ns);
	else if ((rlim_t)n > limit.rlim_cur / 10 * 8)
		sweep(g, 10 * NSEC_PER_SEC, now_ns);
	else if ((rlim_t)n > limit.rlim_cur / 2)
		sweep(g, UINT64_MAX, now_ns);
	else
		g->n_seen = 0;
}

/* ---- memory and the own port ------------------------------------------------------------------- */

/* 0: not known. statm: total and resident pages first (proc(5)). */
static uint64_t resident_bytes(void)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	const char *resident;
	size_t len;

	if (files_read("/proc/self/statm", STATM_MAX, &text, &len, NULL) < 0)
		return 0;
	resident = strchr((const char *)text, ' ');
	return resident != NULL ? strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) :
				  0;
}

/* What thousands of clients left behind stays with malloc until it is asked (transport.md 4). */
static void watch_memory(struct rpc_governor *g, uint64_t now_ns)
{
	uint64_t limit = g->config.memory_limit_bytes;

	if (limit == 0 || now_ns - g->trimmed_ns < TRIM_EVERY_NS ||
	    resident_bytes() < limit / 4 * 3)
		return;
	g->trimmed_ns = now_ns;
	(void)malloc_trim(0);
}

static void watch_port(struct rpc_governor *g, uint64_t now_ns)
{
	static const char why[] =
		"the port no longer accepts connections; only a new process can serve it";

	if (!rpc_probe_step(&g->probe, now_ns) || g->told_wedged)
		return;
	g->told_wedged = true;
	log_error(why, KV_U64("port", g->config.port));
	if (g->config.on_wedged != NULL)
		g->config.on_wedged(why, g->config.ctx);
}

/* ---- the thread -------------------------------------------------------------------------------- */

static bool sleep_second(struct rpc_governor *g)
{
	uint64_t until = clock_monotonic_ns() + NSEC_PER_SEC;
	struct timespec t = { .tv_sec = (time_t)(until / NSEC_PER_SEC),
			      .tv_nsec = (long)(until % NSEC_PER_SEC) };
	bool stop;
	int r = 0;

	pthread_mutex_lock(&g->lock);
	while (!g->stop && r != ETIMEDOUT)
		r = pthread_cond_timedwait(&g->wake, &g->lock, &t);
	stop = g->stop;
	pthread_mutex_unlock(&g->lock);
	return !stop;
}

static void *governor_thread(void *arg)
{
	struct rpc_governor *g = arg;

	while (sleep_second(g)) {
		uint64_t now_ns = clock_monotonic_ns();

		g->config.tick(g->config.ctx, now_ns);
		watch_descriptors(g, now_ns);
		watch_memory(g, now_ns);
		watch_port(g, now_ns);
	}
	return NULL;
}

static void governor_free(struct rpc_governor *g)
{
	(void)pthread_cond_destroy(&g->wake);
	(void)pthread_mutex_destroy(&g->lock);
	rpc_probe_release(&g->probe);
	free(g->seen);
	free(g->next);
	free(g->busy);
	free(g);
}

static struct rpc_governor *governor_new(const struct rpc_governor_config *config)
{
	struct rpc_governor *g = calloc(1, sizeof(*g));
	pthread_condattr_t attr;

	if (g == NULL)
		return NULL;
	g->config = *config;
	g->config.host = NULL; /* borrowed until here */
	rpc_probe_init(&g->probe, config->host, config->port);
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&g->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	g->seen = calloc(WATCHED_MAX, sizeof(*g->seen));
	g->next = calloc(WATCHED_MAX, sizeof(*g->next));
	g->busy = calloc(WATCHED_MAX, sizeof(*g->busy));
	if (g->seen != NULL && g->next != NULL && g->busy != NULL)
		return g;
	governor_free(g);
	return NULL;
}

int rpc_governor_start(const struct rpc_governor_config *config, struct rpc_governor **ret,
		       struct error *e)
{
	struct rpc_governor *g = governor_new(config);
	sigset_t all, old;
	int r;

	if (g == NULL)
		return error_set(e, -ENOMEM, "cannot make the server's guard: %m");
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&g->thread, NULL, governor_thread, g);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0) {
		governor_free(g);
		return error_set(e, -r, "cannot start the server's guard: %m");
	}
	*ret = g;
	return 0;
}

void rpc_governor_stop(struct rpc_governor *g)
{
	if (g == NULL)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	(void)pthread_cond_signal(&g->wake);
	pthread_mutex_unlock(&g->lock);
	(void)pthread_join(g->thread, NULL);
	governor_free(g);
}
