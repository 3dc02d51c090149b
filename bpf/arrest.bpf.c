/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stops a process that starts a certain executable before it runs an instruction of its own: the signal is pending
 * when the exec returns to user mode. The path is that of the file in its mount namespace, as in exec records:
 * walked upwards from what the kernel opened, not what the caller said. Of a script the kernel has opened the
 * interpreter by then: what the caller said counts as well, from the kernel's own copy, below the working directory
 * when it is relative. */
#include "bpf/arrest.h"
#include "bpf/kernel.h"

#define SIGSTOP 19
#define STEPS 64 /* components and mounts */
#define NAME_MAX 255
#define PATH_MASK (ARREST_PATH_MAX - 1)
#define BOTH_MASK (2 * ARREST_PATH_MAX - 1)

const volatile uint32_t match = 0; /* enum arrest_match */
const volatile uint32_t pattern_len = 0;
const volatile uint8_t pattern[ARREST_PATH_MAX] = { 0 };
const volatile struct arrest_file wanted = { 0 };

struct arrest_stop stopped[ARREST_STOPS_MAX] = { 0 };

struct scratch {
	struct dentry *dentry, *root;
	struct mount *mount;
	uint32_t at, end; /* of the path in path[] */
	/* The first half is filled from its end, component by component; a script's name lies in the second. */
	uint8_t path[2 * ARREST_PATH_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct scratch);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ARREST_PROTECTED_MAX);
	__type(key, struct arrest_file);
	__type(value, uint32_t);
} protected SEC(".maps");

/* Nonzero: no room. */
static __always_inline int prepend(struct scratch *s, struct dentry *dentry)
{
	uint32_t len = READ(dentry, d_name.len), at = s->at;

	if (len == 0 || len > NAME_MAX || at < len + 1)
		return 1;
	at -= len + 1;
	OPAQUE(at);
	at &= PATH_MASK;
	OPAQUE(len);
	len &= NAME_MAX;
	s->path[at] = '/';
	READ_BYTES(&s->path[at + 1], len, READ(dentry, d_name.name));
	s->at = at;
	return 0;
}

/* 0: one component or mount upwards; 1: at the root; 2: the path cannot be told. */
__noinline int exh_arrest_step(uint32_t index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &index);
	struct mount *mount, *above;
	struct dentry *dentry, *parent;

	if (!s)
		return 2;
	dentry = s->dentry;
	mount = s->mount;
	if (dentry == s->root) {
		above = READ(mount, mnt_parent);
		if (above == mount)
			return 1;
		s->dentry = READ(mount, mnt_mountpoint);
		s->mount = above;
		s->root = READ(above, mnt.mnt_root);
		return 0;
	}
	parent = READ(dentry, d_parent);
	if (parent == dentry || prepend(s, dentry))
		return 2;
	s->dentry = parent;
	return 0;
}

__noinline int exh_arrest_compare(uint32_t index)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &index);
	uint32_t at, len;

	if (!s)
		return 0;
	at = s->at;
	if (at > s->end)
		return 0;
	len = s->end - at;
	if (len < pattern_len || (match == ARREST_MATCH_PATH && len != pattern_len))
		return 0;
	for (uint32_t i = 0; i < ARREST_PATH_MAX; i++) {
		if (i >= pattern_len)
			return 1;
		uint32_t from = at + i;

		OPAQUE(from);
		if (s->path[from & BOTH_MASK] != pattern[i])
			return 0;
	}
	return 1;
}

/* false: the path cannot be told. */
static __always_inline bool walk(struct scratch *s, struct dentry *dentry, struct vfsmount *mnt)
{
	s->dentry = dentry;
	s->mount = CONTAINER(mnt, struct mount, mnt);
	s->root = READ(mnt, mnt_root);
	s->at = s->end = ARREST_PATH_MAX;
	for (int i = 0; i < STEPS; i++) {
		int r = exh_arrest_step(0);

		if (r != 0)
			return r == 1;
	}
	return false;
}

static __always_inline bool file_matches(struct scratch *s, struct file *file)
{
	return walk(s, READ(file, f_path.dentry), READ(file, f_path.mnt)) &&
	       exh_arrest_compare(0) != 0;
}

static __always_inline bool script_matches(struct scratch *s, struct task_struct *task,
					   struct linux_binprm *bprm)
{
	const char *name = READ(bprm, filename);
	char start[2] = { 0 };
	long len;

	if (READ(bprm, interp) == name)
		return false; /* it is the file itself that runs */
	READ_BYTES(start, sizeof(start), name);
	if (start[0] == '.' && start[1] == '/')
		name += 2;
	if (start[0] != '/' && !walk(s, READ(task, fs, pwd.dentry), READ(task, fs, pwd.mnt)))
		return false;
	s->path[ARREST_PATH_MAX] = '/';
	len = READ_STRING(&s->path[ARREST_PATH_MAX + 1], ARREST_PATH_MAX - 1, name);
	if (len <= 1)
		return false;
	s->end = ARREST_PATH_MAX + (uint32_t)len;
	if (start[0] == '/')
		s->at = ARREST_PATH_MAX + 1;
	return exh_arrest_compare(0) != 0;
}

static __always_inline bool path_matches(struct task_struct *task, struct linux_binprm *bprm)
{
	uint32_t zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &zero);

	if (!s || pattern_len == 0)
		return false;
	return file_matches(s, READ(bprm, file)) || script_matches(s, task, bprm);
}

/* One for each stop that is ordered: a place in stopped[]. Taken here, given back by the agent when the process was
 * not meant. (A counter would need an addition that tells its result, which came with Linux 5.12.) */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, ARREST_STOPS_MAX);
	__uint(key_size, 0);
	__type(value, uint32_t);
} tokens SEC(".maps");

static __always_inline void stop(uint32_t pid)
{
	uint32_t at = 0;

	if (bpf_map_pop_elem(&tokens, &at) != 0)
		return;
	at &= ARREST_STOPS_MAX - 1;
	if (bpf_send_signal(SIGSTOP) != 0) {
		bpf_map_push_elem(&tokens, &at, BPF_ANY);
		return;
	}
	/* Told only now: whoever lets it go again must not come before the signal. */
	stopped[at].boottime_ns = bpf_ktime_get_boot_ns();
	*(volatile uint32_t *)&stopped[at].pid = pid;
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(exh_arrest, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct inode *inode = READ(bprm, file, f_inode);
	struct arrest_file it = { 0 };
	uint32_t pid = bpf_get_current_pid_tgid() >> 32;

	if (pid <= 1)
		return 0;
	it.inode = READ(inode, i_ino);
	it.device = READ(inode, i_sb, s_dev);
	if (match == ARREST_MATCH_FILE) {
		if (it.inode != wanted.inode || it.device != wanted.device)
			return 0;
	} else if (!path_matches(task, bprm)) {
		return 0;
	}
	if (bpf_map_lookup_elem(&protected, &it))
		return 0;
	stop(pid);
	return 0;
}
