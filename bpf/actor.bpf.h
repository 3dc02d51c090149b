/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who does something: keys, ids, namespaces, cgroups of a task. */
#ifndef BPF_ACTOR_BPF_H
#define BPF_ACTOR_BPF_H

#include "bpf/kernel.h"

static __always_inline void fill_image(struct rec_image *image, struct task_struct *task)
{
	struct task_struct *leader = LOAD(task, group_leader);

	image->pid = LOAD(task, tgid);
	image->exec_id = (uint32_t)LOAD(leader, self_exec_id);
	image->start_ns = LOAD(leader, start_boottime);
}

/* subsys: constant once loaded. */
static __always_inline struct cgroup *cgroup_of(struct task_struct *task, uint32_t subsys)
{
	struct css_set *set = LOAD(task, cgroups);
	struct cgroup_subsys_state **at = (void *)set +
					  bpf_core_field_offset(struct css_set, subsys) +
					  subsys * sizeof(void *);
	struct cgroup_subsys_state *css = NULL;

#ifdef TYPED
	css = *at;
#else
	READ_BYTES(&css, sizeof(css), at);
#endif
	return LOAD(css, cgroup);
}

/* The cgroup of a v1 hierarchy that says most about the workload: memory's, else pids'; NULL:
 * none. */
static __always_inline struct cgroup *cgroup_v1_of(struct task_struct *task)
{
	struct cgroup_root *v2 = LOAD(task, cgroups, dfl_cgrp, root);
	struct cgroup *cgroup;

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id)) {
		cgroup =
			cgroup_of(task, bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
		if (cgroup && LOAD(cgroup, root) != v2)
			return cgroup;
	}
	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id)) {
		cgroup = cgroup_of(task, bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id));
		if (cgroup && LOAD(cgroup, root) != v2)
			return cgroup;
	}
	return NULL;
}

static __always_inline uint32_t pid_ns_of(struct task_struct *task)
{
	/* Not a typed pointer: before 6.3 or so the verifier forbids to add a variable to one. */
	struct pid *pid = READ(task, thread_pid);
	uint32_t level = READ(pid, level);
	struct upid *upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			    level * bpf_core_type_size(struct upid);

	return READ(upid, ns, ns.inum);
}

static __always_inline uint64_t cgroup_v1_id_of(struct task_struct *task)
{
	struct cgroup *cgroup = cgroup_v1_of(task);

	return cgroup ? LOAD(cgroup, kn, id) : 0;
}

static __always_inline void fill_actor(struct rec_actor *actor, struct task_struct *task)
{
	const struct cred *cred = LOAD(task, cred);
	struct nsproxy *ns = LOAD(task, nsproxy);

	fill_image(&actor->image, task);
	fill_image(&actor->parent, LOAD(task, real_parent));
	actor->cgroup_id = LOAD(task, cgroups, dfl_cgrp, kn, id);
	actor->cgroup_v1_id = cgroup_v1_id_of(task);
	actor->tid = LOAD(task, pid);
	actor->uid = LOAD(cred, euid.val);
	actor->gid = LOAD(cred, egid.val);
	actor->mnt_ns = LOAD(ns, mnt_ns, ns.inum);
	actor->net_ns = LOAD(ns, net_ns, ns.inum);
	actor->pid_ns = pid_ns_of(task);
	actor->user_ns = LOAD(cred, user_ns, ns.inum);
	READ_INTO(&actor->comm, task, comm);
}

/* Is io_uring doing this for the current task: in a worker or poller thread, or inside
 * io_uring_enter? For tracing programs, where the task's registers can be had (from 5.15). */
static __always_inline uint32_t io_uring_flag(void)
{
	struct task_struct *task = CURRENT_TASK();

	if (LOAD(task, flags) & PF_IO_WORKER)
		return REC_IO_URING;
#if !defined(EXH_PLAIN) && !defined(EXH_NO_TYPED_TASK)
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);

	if (READ(regs, orig_ax) == SYS_IO_URING_ENTER)
		return REC_IO_URING;
#endif
	return 0;
}

#endif
