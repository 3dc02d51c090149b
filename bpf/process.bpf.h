/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Birth and death of processes (not of threads). */
#ifndef BPF_PROCESS_BPF_H
#define BPF_PROCESS_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/emit.bpf.h"

static __always_inline void fork_body(struct task_struct *parent, struct task_struct *child)
{
	struct rec_fork fork;

	if (LOAD(child, pid) != LOAD(child, tgid))
		return;
	COUNT(REC_CLASS_FORK, seen);
	__builtin_memset(&fork, 0, sizeof(fork));
	begin(&fork.h, REC_FORK, REC_CLASS_FORK, REC_RING_CRITICAL);
	fill_actor(&fork.h.actor, child);
	fill_image(&fork.caller, parent);
	emit(&fork.h, sizeof(fork), REC_CLASS_FORK, REC_RING_CRITICAL);
}

/* What wait(2) would say: the group's code, else the leader's. */
static __always_inline uint32_t wait_status(struct task_struct *task)
{
	struct signal_struct *signal = READ(task, signal);

	if (READ(signal, flags) & SIGNAL_GROUP_EXIT)
		return READ(signal, group_exit_code);
	return READ(task, group_leader, exit_code);
}

/* Before 6.18 or so the tracepoint does not say whether this is the last thread; then two threads
 * that end at once may both find none left, and the agent drops the second. */
static __always_inline void exit_body(struct task_struct *task)
{
	struct rec_exit exit;
	uint32_t status;

	if (LOAD(task, signal, live.counter) != 0)
		return;
	COUNT(REC_CLASS_EXIT, seen);
	__builtin_memset(&exit, 0, sizeof(exit));
	begin(&exit.h, REC_EXIT, REC_CLASS_EXIT, REC_RING_CRITICAL);
	fill_actor(&exit.h.actor, task);
	status = wait_status(task);
	exit.exit_code = (status >> 8) & 0xff;
	exit.signal = status & 0x7f;
	exit.core_dumped = (status >> 7) & 1;
	emit(&exit.h, sizeof(exit), REC_CLASS_EXIT, REC_RING_CRITICAL);
}

#endif
