/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_threads.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "proto/base/clock.h"
#include "proto/base/files.h"

#define ROOM_MORE 64
#define NEWS_MAX_NS (10 * NSEC_PER_MSEC) /* should somebody else have taken the signal */

/* Sets of registers that a core has beside the general and floating ones. */
static const uint32_t more_sets[] = {
#if defined(__x86_64__)
	NT_X86_XSTATE,
#elif defined(__aarch64__)
	NT_ARM_TLS, 0x406, /* NT_ARM_PAC_MASK */
#endif
};

static const int float_set = NT_FPREGSET;

int core_threads_init(struct core_threads *t, pid_t pid, size_t n, struct error *e)
{
	size_t room = n + n / 4 + ROOM_MORE;

	*t = (struct core_threads){ .pid = pid,
				    .room = room < CORE_THREADS_MAX ? room : CORE_THREADS_MAX };
	t->bytes_room = t->room * CORE_REGSET_BYTES;
	t->all = calloc(t->room, sizeof(*t->all));
	t->bytes = malloc(t->bytes_room);
	if (t->all == NULL || t->bytes == NULL) {
		core_threads_release(t);
		return error_set(e, -ENOMEM, "cannot keep registers: out of memory");
	}
	memset(t->all, 0, t->room * sizeof(*t->all));
	/* As many bytes as one set is likely to need: the rest is touched when it is more. */
	memset(t->bytes, 0, t->room * KiB(4));
	return 0;
}

void core_threads_release(struct core_threads *t)
{
	free(t->all);
	free(t->bytes);
	*t = (struct core_threads){ 0 };
}

static void close_dir(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

DIR *core_threads_list(int dir)
{
	int fd = openat(dir, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);

	if (tasks == NULL)
		close_fd(&fd);
	return tasks;
}

pid_t core_threads_next(DIR *tasks)
{
	const struct dirent *entry;

	while ((entry = readdir(tasks)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			return (pid_t)strtol(entry->d_name, NULL, 10);
	return 0;
}

size_t core_threads_count(int dir)
{
	AUTO(close_dir) DIR *tasks = core_threads_list(dir);
	size_t n = 0;

	while (tasks != NULL && core_threads_next(tasks) != 0)
		n++;
	return n;
}

static bool known(const struct core_threads *t, pid_t tid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->all[i].tid == tid)
			return true;
	return false;
}

/* EPERM says either: it has a tracer, or it has ended. */
static bool has_tracer(int dir, pid_t tid)
{
	char name[48];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	(void)snprintf(name, sizeof(name), "task/%d/status", (int)tid);
	return files_read_at(dir, name, KiB(64), &text, &len, NULL) == 0 &&
	       strstr((const char *)text, "\nTracerPid:\t0\n") == NULL;
}

static void seize(struct core_thread *thread, int dir)
{
	if (ptrace(PTRACE_SEIZE, thread->tid, NULL, NULL) < 0) {
		thread->state = errno == EPERM && has_tracer(dir, thread->tid) ? THREAD_TRACED :
										 THREAD_GONE;
		return;
	}
	thread->state = THREAD_RUNNING;
	(void)ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL);
}

/* How many were new; negative: the process is gone, or has too many. */
static int ask_new(struct core_threads *t, int dir, struct error *e)
{
	AUTO(close_dir) DIR *tasks = core_threads_list(dir);
	int asked = 0;
	pid_t tid;

	if (tasks == NULL)
		return error_set(e, -ESRCH, "process %d has ended", (int)t->pid);
	while ((tid = core_threads_next(tasks)) != 0) {
		if (known(t, tid))
			continue;
		if (t->n == t->room)
			return error_set(e, -E2BIG, "process %d makes threads too fast: %zu",
					 (int)t->pid, t->n);
		t->all[t->n] = (struct core_thread){ .tid = tid };
		seize(&t->all[t->n++], dir);
		asked++;
	}
	return asked;
}

int core_threads_ask(struct core_threads *t, int dir, struct error *e)
{
	int r;

	do
		r = ask_new(t, dir, e);
	while (r > 0);
	return r;
}

/* status: of waitpid for a thread that we trace. */
static void take_status(struct core_thread *thread, int status)
{
	if (!WIFSTOPPED(status)) {
		thread->state = THREAD_GONE;
		return;
	}
	thread->state = THREAD_STOPPED;
	/* Without an event it is on its way to a handler: that goes on afterwards. */
	thread->signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
}

static void collect(struct core_threads *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct core_thread *thread = &t->all[i];
		int status = 0;

		if (thread->state != THREAD_RUNNING)
			continue;
		pid_t r = waitpid(thread->tid, &status, __WALL | WNOHANG);

		if (r == thread->tid)
			take_status(thread, status);
		else if (r < 0)
			thread->state = THREAD_GONE;
	}
}

size_t core_threads_in(const struct core_threads *t, enum thread_state state)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		n += t->all[i].state == state;
	return n;
}

/* The kernel tells of each stop, and of each end, by SIGCHLD (ptrace(2)); it stays pending while it is blocked, so that
 * none is missed between looking and waiting. */
static void wait_for_news(uint64_t until_ns)
{
	uint64_t now = clock_monotonic_ns(), ns = until_ns > now ? until_ns - now : 0;
	struct timespec most = { .tv_nsec = (long)(ns < NEWS_MAX_NS ? ns : NEWS_MAX_NS) };
	sigset_t news;

	(void)sigemptyset(&news);
	(void)sigaddset(&news, SIGCHLD);
	(void)sigtimedwait(&news, NULL, &most);
}

int core_threads_wait(struct core_threads *t, int dir, uint64_t until_ns, struct error *e)
{
	for (;;) {
		collect(t);
		if (core_threads_in(t, THREAD_RUNNING) == 0) {
			/* What one of them made before it stopped. */
			int r = ask_new(t, dir, e);

			if (r <= 0)
				return r;
		}
		if (clock_monotonic_ns() >= until_ns)
			return error_set(e, -ETIMEDOUT, "%zu threads of process %d did not stop",
					 core_threads_in(t, THREAD_RUNNING), (int)t->pid);
		wait_for_news(until_ns);
	}
}

static size_t get_set(pid_t tid, int set, void *buf, size_t size)
{
	struct iovec iov = { .iov_base = buf, .iov_len = size };

	return ptrace(PTRACE_GETREGSET, tid, (void *)(uintptr_t)set, &iov) < 0 ? 0 : iov.iov_len;
}

static void get_more(struct core_threads *t, struct core_thread *thread)
{
	for (size_t i = 0; i < ARRAY_LEN(more_sets); i++) {
		size_t left = t->bytes_room - t->bytes_used;
		uint8_t *at = t->bytes + t->bytes_used;
		size_t len = get_set(thread->tid, (int)more_sets[i], at,
				     left < CORE_REGSET_BYTES ? left : CORE_REGSET_BYTES);

		thread->more[i].note = more_sets[i];
		if (len == 0)
			continue;
		thread->more[i].data = at;
		thread->more[i].len = (uint32_t)len;
		t->bytes_used += (len + 7) & ~(size_t)7;
	}
}

size_t core_threads_registers(struct core_threads *t)
{
	size_t without = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct core_thread *thread = &t->all[i];

		if (thread->state != THREAD_STOPPED)
			continue;
		/* A 32-bit process has another set, which a 64-bit core cannot hold. */
		thread->has_registers = get_set(thread->tid, NT_PRSTATUS, &thread->general,
						sizeof(thread->general)) == sizeof(thread->general);
		thread->has_floating = get_set(thread->tid, float_set, &thread->floating,
					       sizeof(thread->floating)) ==
				       sizeof(thread->floating);
		(void)ptrace(PTRACE_GETSIGMASK, thread->tid, sizeof(thread->blocked),
			     &thread->blocked);
		if (thread->has_registers)
			get_more(t, thread);
		without += !thread->has_registers;
	}
	return without;
}

void core_threads_go(struct core_threads *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->all[i].state == THREAD_STOPPED)
			(void)ptrace(PTRACE_DETACH, t->all[i].tid, NULL, (long)t->all[i].signal);
}
