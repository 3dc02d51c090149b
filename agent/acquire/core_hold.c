/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_hold.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "agent/acquire/lifeline.h"
#include "agent/acquire/priority.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#define STOP_NS (NSEC_PER_SEC) /* until all threads have stopped, or a cgroup has frozen */
#define HANG_MS 5000 /* after the deadline: then a read hangs */
#define LIFE_MS 8000 /* after the deadline: not even that was noticed */
#define LISTS_MAX 64 /* of processes that go on making processes */
#define SPOOL_MORE MiB(32) /* it may grow until it is held */

static PRINTF(3, 4) void tell(struct core_job *j, bool lacking, const char *format, ...)
{
	va_list args;

	if (j->n_tellings == CORE_TELLINGS_MAX)
		return;
	va_start(args, format);
	(void)vsnprintf(j->tellings[j->n_tellings].text, sizeof(j->tellings[0].text), format, args);
	va_end(args);
	j->tellings[j->n_tellings++].lacking = lacking;
}

static bool over(void *ctx)
{
	struct core_job *j = ctx;

	if (clock_monotonic_ns() >= j->until_ns)
		j->expired = true;
	return j->expired || *j->r->stop != 0;
}

static struct core_source source_of(struct core_job *j, const struct core_target *t,
				    const struct core_maps *maps)
{
	return (struct core_source){
		.mem = t->mem, .pagemap = t->pagemap, .maps = maps, .over = over, .ctx = j
	};
}

/* ---- before ---------------------------------------------------------------------------------------- */

/* Its way of finding what changed would be spoilt by ours. */
static bool criu_runs(const char *proc)
{
	DIR *dir = opendir(proc);
	const struct dirent *entry;
	bool found = false;

	while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
		char name[300];
		AUTO(free_ptr) uint8_t *text = NULL;
		size_t len = 0;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		(void)snprintf(name, sizeof(name), "%s/comm", entry->d_name);
		found = files_read_at(dirfd(dir), name, KiB(4) - 1, &text, &len, NULL) == 0 &&
			strcmp((const char *)text, "criu\n") == 0;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

static bool clear_dirty(const struct core_target *t)
{
	AUTO(close_fd) int fd = openat(t->dir, "clear_refs", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, "4", 1) == 1;
}

/* What was copied live counts only where the kernel can tell what changed since. */
static void first_pass(struct core_job *j)
{
	j->until_ns = UINT64_MAX;
	for (size_t i = 0; i < j->n; i++) {
		struct core_target *t = &j->targets[i];
		struct core_source s = source_of(j, t, &t->known);

		if (!clear_dirty(t)) {
			tell(j, false,
			     "process %d is copied in one pass: cannot clear its soft-dirty bits",
			     (int)t->pid);
			continue;
		}
		core_copy_first(&s, &j->spool, &t->before);
		j->passes = 2;
	}
}

static bool two_passes(const struct core_job *j, uint64_t bytes)
{
	return bytes <= j->spool.bytes && pagemap_has_soft_dirty() && !criu_runs(j->r->proc);
}

int core_hold_prepare(struct core_job *j, struct error *e)
{
	uint64_t all = 0;

	for (size_t i = 0; i < j->n; i++) {
		uint64_t bytes = 0;
		int r = core_target_prepare(&j->targets[i], &bytes, e);

		if (r < 0)
			return r;
		all += bytes;
	}
	uint64_t wanted = all + all / 4 + SPOOL_MORE;
	int r = core_spool_open(wanted < j->r->spool_bytes ? wanted : j->r->spool_bytes,
				j->freezer != NULL, &j->spool, e);

	if (r < 0)
		return r;
	if (!j->spool.locked)
		tell(j, false, "the spool could not be locked into memory");
	j->passes = 1;
	if (two_passes(j, wanted))
		first_pass(j);
	return 0;
}

/* ---- held ------------------------------------------------------------------------------------------ */

static bool is_target(const struct core_job *j, pid_t pid)
{
	for (size_t i = 0; i < j->n; i++)
		if (j->targets[i].pid == pid)
			return true;
	return false;
}

/* Processes that came into the container; returns how many. */
static size_t add_late(struct core_job *j)
{
	AUTO(free_ptr) pid_t *pids = calloc(FREEZER_PROCESSES_MAX, sizeof(*pids));
	size_t n = pids != NULL ? freezer_processes(j->freezer, pids, FREEZER_PROCESSES_MAX) : 0;
	size_t added = 0;

	n = n < FREEZER_PROCESSES_MAX ? n : FREEZER_PROCESSES_MAX;
	j->left_out = 0;
	for (size_t i = 0; i < n; i++) {
		struct core_target *t = &j->targets[j->n];
		uint64_t bytes = 0;

		if (is_target(j, pids[i]))
			continue;
		if (j->n == CORE_PROCESSES_MAX) {
			j->left_out++;
			continue;
		}
		if (core_target_open(j->r->proc, pids[i], t, NULL) < 0)
			continue;
		if (core_target_prepare(t, &bytes, NULL) < 0) {
			core_target_close(t);
			continue;
		}
		t->late = true;
		j->n++;
		added++;
	}
	return added;
}

static void drop(struct core_job *j, struct core_target *t, const struct error *why)
{
	t->changed = true;
	tell(j, true, "%s", why->text);
}

static void stop_threads(struct core_job *j, size_t from)
{
	struct error e = { 0 };

	for (size_t i = from; i < j->n; i++)
		if (!j->targets[i].changed &&
		    core_threads_ask(&j->targets[i].threads, j->targets[i].group, &e) < 0)
			drop(j, &j->targets[i], &e);
	uint64_t until = clock_monotonic_ns() + STOP_NS;

	until = until < j->until_ns ? until : j->until_ns;
	for (size_t i = from; i < j->n; i++) {
		struct core_target *t = &j->targets[i];

		if (t->changed)
			continue;
		int r = core_threads_wait(&t->threads, t->group, until, &e);

		if (r == -ETIMEDOUT)
			tell(j, true, "%s: it lacks their registers, and they may have gone on",
			     e.text);
		else if (r < 0)
			drop(j, t, &e);
	}
}

static void read_registers(struct core_job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		struct core_threads *t = &j->targets[i].threads;
		size_t traced = core_threads_in(t, THREAD_TRACED);

		size_t without = core_threads_registers(t);

		if (without > 0)
			tell(j, true,
			     "the registers of %zu threads of process %d are lacking: it is no 64-bit process, or they ended",
			     without, (int)t->pid);
		if (traced > 0)
			tell(j, true,
			     "%zu threads of process %d are traced by another program: their registers are lacking%s",
			     traced, (int)t->pid,
			     j->freezer == NULL ? ", and they went on meanwhile" : "");
	}
}

static int freeze(struct core_job *j)
{
	struct error e = { 0 };
	uint64_t until = clock_monotonic_ns() + STOP_NS;
	int r = freezer_freeze(j->freezer, j->watchdog, until < j->until_ns ? until : j->until_ns,
			       &e);

	if (r == -EOPNOTSUPP || r == -EACCES) {
		/* Each process is stopped by itself then. */
		tell(j, false, "%s: its processes are stopped one by one", e.text);
		return 0;
	}
	if (r < 0)
		tell(j, true, "%s", e.text);
	return r == -ETIMEDOUT ? 0 : r;
}

/* Stop all, in the order that the freezer's version wants. */
static int hold_all(struct core_job *j)
{
	bool first = j->freezer != NULL && j->freezer->kind != FREEZER_V1;
	bool frozen_v1 = j->freezer != NULL && j->freezer->kind == FREEZER_V1 &&
			 freezer_was_frozen(j->freezer);
	int r = first ? freeze(j) : 0;
	size_t from = 0;

	if (r < 0)
		return r;
	if (frozen_v1) {
		tell(j, true,
		     "the container was frozen before by version 1: registers cannot be read");
		(void)add_late(j);
		return 0;
	}
	for (int i = 0; i < LISTS_MAX; i++) {
		stop_threads(j, from);
		from = j->n;
		if (j->freezer == NULL || add_late(j) == 0)
			break;
	}
	read_registers(j);
	return j->freezer != NULL && !first ? freeze(j) : 0;
}

static void copy_all(struct core_job *j)
{
	for (size_t i = 0; i < j->n; i++) {
		struct core_target *t = &j->targets[i];
		struct core_source s = source_of(j, t, &t->maps);
		struct error e = { 0 };

		if (t->changed)
			continue;
		if (core_target_look(t, &e) < 0) {
			drop(j, t, &e);
			continue;
		}
		core_copy(&s, &j->spool, t->before.n_runs > 0 ? &t->before : NULL, &t->index);
	}
}

static void let_go(struct core_job *j)
{
	struct error e = { 0 };

	for (size_t i = 0; i < j->n; i++)
		core_threads_go(&j->targets[i].threads);
	if (j->watchdog != NULL && watchdog_release(j->watchdog, &e) < 0) {
		j->expired = true;
		tell(j, true, "%s", e.text);
	}
	j->let_go_ns = clock_monotonic_ns();
}

static void *hold_thread(void *ctx)
{
	struct core_job *j = ctx;

	priority_normal();
	j->begun_ns = clock_monotonic_ns();
	j->until_ns = j->begun_ns + j->r->freeze_max_ms * NSEC_PER_MSEC;
	j->result = hold_all(j);
	j->held_ns = clock_monotonic_ns();
	j->held_boottime_ns = clock_boottime_ns();
	if (j->result == 0)
		copy_all(j);
	j->copied_ns = clock_monotonic_ns();
	let_go(j);
	return NULL;
}

static int join(pthread_t thread, uint64_t wait_ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(wait_ms / 1000) + 1;
	return -pthread_timedjoin_np(thread, NULL, &until);
}

static int some_left(const struct core_job *j, struct error *e)
{
	if (j->result < 0)
		return error_set(e, j->result, "cannot hold the target: %s",
				 j->n_tellings > 0 ? j->tellings[0].text : strerror(-j->result));
	for (size_t i = 0; i < j->n; i++)
		if (!j->targets[i].changed)
			return 0;
	return error_set(e, -ESRCH, "%s",
			 j->n_tellings > 0 ? j->tellings[j->n_tellings - 1].text :
					     "no process is left");
}

static int run_thread(struct core_job *j, struct error *e)
{
	pthread_t thread;
	sigset_t news;

	/* For core_threads_wait, here and in the thread. */
	(void)sigemptyset(&news);
	(void)sigaddset(&news, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &news, NULL);
	int r = pthread_create(&thread, NULL, hold_thread, j);

	if (r != 0)
		return error_set(e, -r, "cannot start the thread that holds the target: %m");
	return join(thread, j->r->freeze_max_ms + HANG_MS) == 0 ?
		       0 :
		       error_set(
			       e, -ETIMEDOUT,
			       "a read of the target's memory does not come back: nothing was kept");
}

int core_hold(struct core_job *j, struct error *e)
{
	struct lifeline *life = NULL;
	int r = lifeline_start(j->r->freeze_max_ms + LIFE_MS, &life, e);

	if (r == 0)
		r = run_thread(j, e);
	if (r == -ETIMEDOUT)
		return r; /* the lifeline stays, in case that we do not end */
	lifeline_end(life);
	if (r < 0)
		return r;
	if (j->expired)
		tell(j, true,
		     "the target went on after %llu ms, as long as it may be held: what was not copied by then is of no one instant",
		     (unsigned long long)j->r->freeze_max_ms);
	return some_left(j, e);
}

int core_hold_nothing(struct core_job *j, struct error *e)
{
	for (size_t i = 0; i < j->n; i++) {
		struct core_target *t = &j->targets[i];
		uint64_t bytes = 0;
		int r = core_target_prepare(t, &bytes, e);

		if (r == 0)
			r = core_target_look(t, e);
		if (r < 0)
			return r;
		struct core_source s = source_of(j, t, &t->maps);

		core_copy_nothing(&s, &t->index);
	}
	j->held_boottime_ns = clock_boottime_ns();
	tell(j, true,
	     "the target was not held: its memory is of no one instant, and registers are lacking");
	return 0;
}

void core_job_release(struct core_job *j)
{
	for (size_t i = 0; i < j->n; i++)
		core_target_close(&j->targets[i]);
	free(j->targets);
	core_spool_close(&j->spool);
	if (j->freezer != NULL)
		freezer_release(j->freezer);
	free(j->freezer);
	watchdog_free(j->watchdog);
	*j = (struct core_job){ 0 };
}
