/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a process image is: the body shared by exec records and by stock-taking. */
#ifndef BPF_EXEC_BPF_H
#define BPF_EXEC_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/path.bpf.h"

#define ARGS_PIECE 4096

static __always_inline uint32_t put_string(struct slot *slot, uint32_t offset, uint32_t max,
					   const void *string)
{
	long n;

	if (!string)
		return 0;
	OPAQUE(offset);
	offset &= SLOT_TAIL_MASK;
	n = READ_STRING(&slot->record[offset], max, string);
	return n > 0 ? (uint32_t)n - 1 : 0;
}

static __always_inline void fill_executable(struct rec_exec *exec, struct file *file)
{
	struct inode *inode = READ(file, f_inode);
	uint32_t dev = READ(inode, i_sb, s_dev);

	exec->inode = READ(inode, i_ino);
	exec->size = READ(inode, i_size);
	exec->dev_major = KERNEL_MAJOR(dev);
	exec->dev_minor = KERNEL_MINOR(dev);
	if (READ(inode, i_nlink) == 0)
		exec->exe_flags |= REC_EXE_DELETED;
}

static __always_inline bool is_memfd(const uint8_t *path)
{
	return path[0] == 'm' && path[1] == 'e' && path[2] == 'm' && path[3] == 'f' &&
	       path[4] == 'd' && path[5] == ':';
}

/* Everything but header, actor, replaced and arguments. Returns where the arguments go. */
static __always_inline uint32_t fill_image_facts(struct slot *slot, uint32_t index,
						 struct task_struct *task, struct file *file,
						 const char *name)
{
	struct rec_exec *exec = (void *)slot->record;
	const struct cred *cred = LOAD(task, cred);
	struct cgroup *cgroup_v1 = cgroup_v1_of(task);
	struct fs_struct *fs = READ(task, fs);
	uint32_t at = sizeof(*exec);
	bool incomplete = false;

	exec->exe_flags = 0;
	READ_INTO(&exec->cap_effective, cred, cap_effective);
	if (LOAD(cred, uid.val) != exec->h.actor.uid || LOAD(cred, gid.val) != exec->h.actor.gid)
		exec->exe_flags |= REC_EXE_SETID;
	if (file) {
		fill_executable(exec, file);
		exec->path_len = put_path(slot, index, at, READ(file, f_path.mnt),
					  READ(file, f_path.dentry), &incomplete);
		if (incomplete)
			exec->h.flags |= REC_INCOMPLETE;
		if (is_memfd(&slot->record[sizeof(*exec)]))
			exec->exe_flags |= REC_EXE_MEMFD;
		at += exec->path_len;
	}
	incomplete = false;
	exec->cwd_len =
		put_path(slot, index, at, READ(fs, pwd.mnt), READ(fs, pwd.dentry), &incomplete);
	if (incomplete)
		exec->h.flags |= REC_CWD_INCOMPLETE;
	at += exec->cwd_len;
	exec->name_len = put_string(slot, at, REC_PATH_MAX, name);
	at += exec->name_len;
	exec->cgroup_len =
		put_string(slot, at, REC_NAME_MAX + 1, READ(task, cgroups, dfl_cgrp, kn, name));
	at += exec->cgroup_len;
	exec->cgroup_v1_len = put_string(slot, at, REC_NAME_MAX + 1, READ(cgroup_v1, kn, name));
	return at + exec->cgroup_v1_len;
}

/* The kernel has just written these pages; swapped out already, they stop short. */
static __always_inline uint32_t put_args(struct slot *slot, uint32_t at, unsigned long start,
					 uint32_t len)
{
	uint32_t done = 0;

	OPAQUE(at);
	at &= SLOT_TAIL_MASK;
	OPAQUE(len);
	if (len > REC_ARGS_MAX)
		return 0;
	if (bpf_probe_read_user(&slot->record[at], len, (void *)start) == 0)
		return len;
	for (uint32_t i = 0; i < REC_ARGS_MAX / ARGS_PIECE; i++) {
		if (done + ARGS_PIECE > len ||
		    bpf_probe_read_user(&slot->record[at + i * ARGS_PIECE], ARGS_PIECE,
					(void *)(start + done)))
			break;
		done += ARGS_PIECE;
	}
	return done;
}

/* True length from the kernel's own bounds. */
static __always_inline uint64_t args_area(struct mm_struct *mm, unsigned long *ret_start)
{
	unsigned long start = READ(mm, arg_start), end = READ(mm, arg_end);

	*ret_start = start;
	return end > start ? end - start : 0;
}

static __always_inline void exec_body(struct task_struct *task, struct linux_binprm *bprm)
{
	uint32_t index = 0, at, len;
	struct rec_exec *exec;
	struct slot *slot;
	unsigned long start;

	COUNT(REC_CLASS_EXEC, seen);
	slot = slot_take(&index);
	if (!slot) {
		COUNT(REC_CLASS_EXEC, lost_scratch);
		return;
	}
	exec = (void *)slot->record;
	__builtin_memset(exec, 0, sizeof(*exec));
	begin(&exec->h, REC_EXEC, REC_CLASS_EXEC, REC_RING_CRITICAL);
	fill_actor(&exec->h.actor, task);
	exec->replaced = exec->h.actor.image;
	exec->replaced.exec_id--;
	at = fill_image_facts(slot, index, task, READ(bprm, file), READ(bprm, filename));

	exec->args_bytes = args_area(READ(task, mm), &start);
	len = REC_ARGS_MAX;
	if (exec->args_bytes <= REC_ARGS_MAX)
		len = exec->args_bytes;
	else
		exec->h.flags |= REC_TRUNCATED;
	exec->args_len = put_args(slot, at, start, len);
	if (exec->args_len < len)
		exec->h.flags |= REC_TRUNCATED | REC_ARGS_UNREAD;
	len = at + exec->args_len;
	OPAQUE(len);
	if (len > REC_MAX)
		len = REC_MAX;
	emit(&exec->h, len, REC_CLASS_EXEC, REC_RING_CRITICAL);
	slot_give(slot);
}

#endif
