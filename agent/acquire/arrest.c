/* SPDX-License-Identifier: Apache-2.0 */
/* Arrest: the kernel stops a process that starts a certain executable before its first instruction; its core and
 * executable are taken, and it goes on, dies, or stays stopped, as ordered. A watchdog lets it go at the latest
 * when the order's time is over. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "agent/acquire/arrest_watch.h"
#include "agent/acquire/core_take.h"
#include "agent/acquire/priority.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#define POLL_MS 10
#define WAIT_SECONDS 3600 /* when the order says nothing */
#define STAY_SECONDS 300
#define TAKE_MORE_MS 30000 /* for what is done to a stopped process beside copying it */

struct arrest {
	const struct acquire_request *r;
	struct output *o;
	struct arrest_watch *watch;
	struct watchdog *watchdog;
	struct core_facts facts;
	uint64_t until_ns; /* monotonic */
	uint32_t taken, wanted;
};

/* Any component of any of its cgroups' paths is the container's. */
static bool in_container(const struct core_target *t, const ProtobufCBinaryData *id)
{
	char wanted[256];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	if (id->len == 0)
		return true;
	if (id->len >= sizeof(wanted) ||
	    files_read_at(t->dir, "cgroup", KiB(64), &text, &len, NULL) < 0)
		return false;
	(void)snprintf(wanted, sizeof(wanted), "%.*s", (int)id->len, (const char *)id->data);
	for (size_t at = 0; at < len;) {
		size_t n = strcspn((const char *)text + at, "/\n");

		if (freezer_names((const char *)text + at, n, wanted))
			return true;
		at += n + 1;
	}
	return false;
}

/* By its path in its own view, where the numbers of its file did not tell the kernel. path: that path, NUL-terminated. */
static bool is_protected(const struct core_target *t, char path[static PATH_MAX])
{
	ssize_t n = readlinkat(t->dir, "exe", path, PATH_MAX - 1);

	path[n > 0 ? n : 0] = '\0';
	return n > 0 && arrest_protects(path, (size_t)n);
}

static void pass_on(struct arrest *a, const struct core_target *t)
{
	(void)pidfd_send_signal(t->pidfd, SIGCONT, NULL, 0);
	arrest_watch_give_back(a->watch);
}

static int note_stop(struct arrest *a, pid_t pid, uint64_t boottime_ns, struct error *e)
{
	char key[64];

	(void)snprintf(key, sizeof(key), "arrest.stop.%u.pid", (unsigned int)a->taken + 1);
	int r = output_note_u64(a->o, key, (uint64_t)pid, e);

	(void)snprintf(key, sizeof(key), "arrest.stop.%u.boottime_ns", (unsigned int)a->taken + 1);
	return r == 0 ? output_note_u64(a->o, key, boottime_ns, e) : r;
}

/* What is ordered, once its memory is copied. */
static int finish(struct arrest *a, const struct core_target *t, struct error *e)
{
	if (a->r->order->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_STAY)
		return 0;
	if (a->r->order->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_KILL &&
	    pidfd_send_signal(t->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return output_warn(a->o, true, e, "cannot kill process %d: %s", (int)t->pid,
				   strerror(errno));
	struct error late = { 0 };

	if (watchdog_release(a->watchdog, &late) < 0)
		return output_warn(a->o, true, e, "process %d: %s", (int)t->pid, late.text);
	return 0;
}

/* It is stopped and held by the watchdog. */
static int take_held(struct arrest *a, struct core_job *j, struct error *e)
{
	int r = core_take_known(j, &a->facts, e);

	if (r == 0)
		r = core_hold_prepare(j, e);
	if (r == 0)
		r = core_hold(j, e);
	if (r == -ETIMEDOUT)
		return r;
	int done = finish(a, &j->targets[0], r == 0 ? e : NULL);

	if (r == 0)
		r = done;
	if (r < 0)
		return r;
	priority_background(); /* nobody waits for the rest */
	r = core_take_write(j, &a->facts, e);
	priority_normal();
	return r;
}

static void let_go(pid_t pid)
{
	AUTO(close_fd) int fd = pidfd_open(pid, 0);

	if (fd >= 0)
		(void)pidfd_send_signal(fd, SIGCONT, NULL, 0);
}

static int take(struct arrest *a, struct core_job *j, pid_t pid, uint64_t boottime_ns,
		struct error *e)
{
	const struct core_target *t = &j->targets[0];
	struct error why = { 0 };
	char path[PATH_MAX];

	if (core_take_open(j, pid, &why) < 0) {
		let_go(pid);
		arrest_watch_give_back(a->watch);
		return output_warn(a->o, true, e, "a process that was stopped is not taken: %s",
				   why.text);
	}
	if (!in_container(t, &a->r->order->container_id)) {
		pass_on(a, t);
		return 0;
	}
	if (is_protected(t, path)) {
		/* Told: whoever owns a container can give a program such a name there. */
		pass_on(a, t);
		return output_warn(
			a->o, false, e,
			"process %d started %s and went on: such a program is never stopped",
			(int)pid, path);
	}
	int r = watchdog_hold_pid(a->watchdog, t->pidfd, e);

	if (r < 0)
		return r;
	arrest_watch_seen(a->watch);
	r = note_stop(a, pid, boottime_ns, e);
	a->taken++;
	return r == 0 ? take_held(a, j, e) : r;
}

static int take_next(struct arrest *a, pid_t pid, uint64_t boottime_ns, struct error *e)
{
	AUTO(free_ptr) struct core_job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return error_set(e, -ENOMEM, "cannot take a core: out of memory");
	int r = core_take_init(j, a->r, e);

	if (r == 0)
		r = take(a, j, pid, boottime_ns, e);
	if (r == -ETIMEDOUT)
		(void)TAKE(j); /* a thread that hangs goes on using it */
	else
		core_job_release(j);
	/* One that ended, or was killed, is no reason to miss the next. */
	if (r == -ESRCH || r == -ESTALE)
		return output_warn(a->o, true, NULL, "%s", e->text);
	return r;
}

static bool over(const struct arrest *a)
{
	return *a->r->stop != 0 || clock_monotonic_ns() >= a->until_ns;
}

static int wait_for_all(struct arrest *a, struct error *e)
{
	int r = 0;

	while (r == 0 && a->taken < a->wanted && !over(a)) {
		uint64_t boottime_ns = 0;
		pid_t pid = arrest_watch_next(a->watch, &boottime_ns);

		if (pid != 0)
			r = take_next(a, pid, boottime_ns, e);
		else
			(void)poll(NULL, 0, POLL_MS);
	}
	return r;
}

/* What stays stopped does so until the order's time is over. */
static int stay(struct arrest *a, struct error *e)
{
	struct error late = { 0 };

	while (a->taken > 0 && !over(a) && !watchdog_expired(a->watchdog))
		(void)poll(NULL, 0, POLL_MS);
	if (watchdog_release(a->watchdog, &late) == 0 || late.code == -ETIMEDOUT)
		return 0;
	return output_warn(a->o, true, e, "%s", late.text);
}

static int conclude(struct arrest *a, struct error *e)
{
	static const char *const ends[] = { "continue", "stay", "kill" };
	Exhibit__V1__ArrestEnd end = a->r->order->arrest->end;
	int r = output_note_u64(a->o, "arrest.stops", a->taken, e);

	if (r == 0)
		r = output_note(a->o, "arrest.end", (size_t)end < ARRAY_LEN(ends) ? ends[end] : "",
				e);
	if (r == 0 && a->taken == 0)
		r = output_warn(a->o, true, e, "no process started what the order names");
	return r == 0 && end == EXHIBIT__V1__ARREST_END__ARREST_STAY ? stay(a, e) : r;
}

/* What the order says, else otherwise; never more than this host allows. */
static uint64_t seconds(const struct acquire_request *r, uint64_t otherwise)
{
	const Exhibit__V1__OrderLimits *limits = r->order->limits;
	uint64_t asked = limits != NULL && limits->max_seconds != 0 ? limits->max_seconds :
								      otherwise;

	return r->max_seconds != 0 && r->max_seconds < asked ? r->max_seconds : asked;
}

static int start(struct arrest *a, struct error *e)
{
	bool stays = a->r->order->arrest->end == EXHIBIT__V1__ARREST_END__ARREST_STAY;
	uint64_t deadline_ms = stays ? seconds(a->r, STAY_SECONDS) * 1000 :
				       a->r->freeze_max_ms + TAKE_MORE_MS;

	a->wanted = a->r->order->arrest->max_stops == 0 ? 1 : a->r->order->arrest->max_stops;
	a->wanted = a->wanted < ARREST_STOPS_MAX ? a->wanted : ARREST_STOPS_MAX;
	a->until_ns = clock_monotonic_ns() + seconds(a->r, WAIT_SECONDS) * NSEC_PER_SEC;
	int r = core_facts_begin(a->o, "core.gaps.jsonl", &a->facts, e);

	if (r == 0)
		r = watchdog_start(deadline_ms, &a->watchdog, e);
	return r == 0 ? arrest_watch_open(a->r, &a->watch, e) : r;
}

int acquire_arrest(const struct acquire_request *r, struct output *o, struct error *e)
{
	struct arrest a = { .r = r, .o = o };

	/* From its stop on a process waits for us, until it is let go. */
	priority_normal();
	int result = start(&a, e);

	if (result == 0)
		result = output_note(o, "arrest.by", "bpf raw_tp/sched_process_exec", e);
	if (result == 0)
		result = wait_for_all(&a, e);
	if (result == 0)
		result = conclude(&a, e);
	arrest_watch_close(a.watch);
	watchdog_free(a.watchdog);
	int ended = core_facts_end(&a.facts, result == 0 ? e : NULL);

	core_facts_release(&a.facts);
	priority_background();
	return result < 0 ? result : ended;
}
