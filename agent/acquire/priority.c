/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/priority.h"

#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define OOM_SCORE "800\n"
#define NICE_LEAST 19
#define NICE_LIMIT 20 /* 20 minus nice: up to nice 0 */

static void set_io(int class, int level)
{
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(class, level));
}

static void set_oom(const char *text)
{
	AUTO(close_fd) int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

void priority_prepare(void)
{
	struct rlimit nice_limit = { .rlim_cur = NICE_LIMIT, .rlim_max = NICE_LIMIT };

	(void)setrlimit(RLIMIT_NICE, &nice_limit);
}

/* The nice value is the calling thread's, as Linux has it. */
static void set_cpu(int policy, int nice_value)
{
	struct sched_param none = { 0 };

	(void)sched_setscheduler(0, policy, &none);
	(void)setpriority(PRIO_PROCESS, 0, nice_value);
}

/* The score goes along: while something is held, we must not be the first to be killed. */
void priority_background(void)
{
	set_cpu(SCHED_BATCH, NICE_LEAST);
	set_io(IOPRIO_CLASS_IDLE, 0);
	set_oom(OOM_SCORE);
}

void priority_normal(void)
{
	set_cpu(SCHED_OTHER, 0);
	set_io(IOPRIO_CLASS_NONE, 0);
	set_oom("0\n");
}
