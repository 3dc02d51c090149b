/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of one process, stopped by ptrace, and their registers. ptrace(2) binds what is stopped to the
 * thread that did it: all calls for one struct come from one thread, and when that thread ends the kernel lets
 * go of everything, also of a thread that never came to its stop (in uninterruptible sleep). So this is done in
 * a thread of its own, which ends when the target is to go on. */
#ifndef ACQUIRE_CORE_THREADS_H
#define ACQUIRE_CORE_THREADS_H

#include <dirent.h>
#include <sys/procfs.h>
#include <sys/types.h>

#include "proto/base/base.h"
#include "proto/base/error.h"

#define CORE_THREADS_MAX 32768
#define CORE_REGSETS 4 /* besides those that every machine has */
#define CORE_REGSET_BYTES KiB(16)

enum thread_state {
	THREAD_RUNNING, /* asked to stop, and not there yet */
	THREAD_STOPPED,
	THREAD_TRACED, /* by somebody else */
	THREAD_GONE,
};

struct core_regset {
	uint32_t note; /* NT_* */
	uint32_t len;
	uint8_t *data; /* in the process' room; NULL with len 0: not to be had */
};

struct core_thread {
	pid_t tid;
	enum thread_state state;
	int signal; /* it was about to be delivered: given back when let go */
	bool has_registers;
	elf_gregset_t general;
	elf_fpregset_t floating;
	bool has_floating;
	struct core_regset more[CORE_REGSETS];
	uint64_t blocked; /* signal mask */
};

struct core_threads {
	pid_t pid;
	struct core_thread *all; /* the main thread first */
	size_t n, room;
	uint8_t *bytes; /* of regsets */
	size_t bytes_used, bytes_room;
};

/* Room for n threads and some more, written to so that nothing is allocated while the target is held. */
MUST_CHECK int core_threads_init(struct core_threads *t, pid_t pid, size_t n, struct error *e);
void core_threads_release(struct core_threads *t); /* the memory alone */
/* The threads of PROC/PID/task, ended ones too; NULL: it is gone. 0: no more. */
DIR *core_threads_list(int dir);
pid_t core_threads_next(DIR *tasks);
/* How many threads PROC/PID/task has; dir: of PROC/PID. */
size_t core_threads_count(int dir);

/* Ask all threads to stop, also those that are made meanwhile. -ESRCH: the process is gone. */
MUST_CHECK int core_threads_ask(struct core_threads *t, int dir, struct error *e);
/* Wait until all have, at most until a monotonic time. SIGCHLD is blocked in every thread of this process. 0: they have; -ETIMEDOUT: some have not. */
int core_threads_wait(struct core_threads *t, int dir, uint64_t until_ns, struct error *e);
/* Of all that are stopped. Returns of how many of these they could not be read. */
size_t core_threads_registers(struct core_threads *t);
/* Let go. Those that never stopped go on when the calling thread ends. */
void core_threads_go(struct core_threads *t);
size_t core_threads_in(const struct core_threads *t, enum thread_state state);

#endif
