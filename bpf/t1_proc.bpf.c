// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* exec, fork, exit, new cgroups through the kernel's tracepoints. The raw_tp twins (plain objects only) serve
 * kernels whose BTF lacks the tracepoint's prototype. */
#include "bpf/cgroup.bpf.h"
#include "bpf/exec.bpf.h"
#include "bpf/process.bpf.h"

SEC("tp_btf/sched_process_exec")
int BPF_PROG(exh_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	exec_body(task, bprm);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(exh_fork, struct task_struct *parent, struct task_struct *child)
{
	fork_body(parent, child);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exh_exit, struct task_struct *task)
{
	exit_body(task);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(exh_cgroup, struct cgroup *cgroup, const char *path)
{
	cgroup_body(cgroup, path);
	return 0;
}

#ifdef EXH_PLAIN
SEC("raw_tp/sched_process_exec")
int BPF_PROG(exh_exec_raw, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	exec_body(task, bprm);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int BPF_PROG(exh_fork_raw, struct task_struct *parent, struct task_struct *child)
{
	fork_body(parent, child);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int BPF_PROG(exh_exit_raw, struct task_struct *task)
{
	exit_body(task);
	return 0;
}

SEC("raw_tp/cgroup_mkdir")
int BPF_PROG(exh_cgroup_raw, struct cgroup *cgroup, const char *path)
{
	cgroup_body(cgroup, path);
	return 0;
}
#endif
