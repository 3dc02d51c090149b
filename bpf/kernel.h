/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel as these programs see it: only the fields in use, found on the running kernel by
 * CO-RE. Every read of kernel memory goes through READ, READ_INTO, READ_BYTES, READ_STRING
 * below. */
#ifndef BPF_KERNEL_H
#define BPF_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

#include "bpf/record.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define NULL ((void *)0)
#define READ(src, ...) BPF_CORE_READ(src, __VA_ARGS__)
/* The same through pointers whose type the verifier knows (arguments of tp_btf, the current task,
 * what is reached from these): plain loads, 20 ns less for each step. */
#if defined(EXH_PLAIN) || defined(EXH_NO_TYPED_TASK)
#define LOAD(src, ...) READ(src, __VA_ARGS__)
#define CURRENT_TASK() ((struct task_struct *)bpf_get_current_task())
#else
#define TYPED
#define LOAD(src, ...) ___arrow(src, __VA_ARGS__)
#define CURRENT_TASK() bpf_get_current_task_btf()
#endif
/* LOAD where the caller knows src by its type, else READ. typed: a constant. */
#define LOAD_IF(typed, src, ...) ((typed) ? LOAD(src, __VA_ARGS__) : READ(src, __VA_ARGS__))
#define READ_INTO(dst, src, ...) BPF_CORE_READ_INTO(dst, src, __VA_ARGS__)
#define READ_BYTES(dst, len, src) bpf_probe_read_kernel(dst, len, src)
#define READ_STRING(dst, size, src) bpf_probe_read_kernel_str(dst, size, src)
/* From a pointer to member to its struct, with the running kernel's offset. */
#define CONTAINER(ptr, type, member) ((type *)((void *)(ptr)-bpf_core_field_offset(type, member)))
/* Keeps clang from folding a bound that the verifier has to see. */
#define OPAQUE(var) asm volatile("" : "+r"(var))

#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000
#define SIGNAL_GROUP_EXIT 0x4
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFSOCK 0140000
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define SOCK_DGRAM 2
#define SOCK_DONE_BIT 1 /* enum sock_flags: the peer's FIN has arrived */
#define TS_COMPAT 0x2
#define X32_BIT 0x40000000
#define SYS_IO_URING_ENTER 426 /* on every architecture */
#define KERNEL_MAJOR(dev) ((dev) >> 20)
#define KERNEL_MINOR(dev) ((dev)&0xfffff)

enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_LISTEN = 10 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	uint32_t len;
	const unsigned char *name;
};

struct super_block {
	uint32_t s_dev;
};

typedef struct {
	uint32_t val;
} kuid_t;

typedef struct {
	uint32_t val;
} kgid_t;

struct inode {
	uint16_t i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	long long i_size;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mnt_namespace;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path pwd;
};

struct mm_struct {
	void *pgd;
	unsigned long arg_start;
	unsigned long arg_end;
	struct file *exe_file;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	const char *interp;
};

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct user_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* Two 32-bit words of another name before 6.3, one 64-bit word since: the same bytes on
 * little-endian machines, read as a whole. */
typedef struct {
	uint64_t val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct kernfs_node {
	const char *name;
	uint64_t id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	struct {
		int counter;
	} live;
	int group_exit_code;
	unsigned int flags;
};

struct thread_info {
	uint32_t status;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	uint64_t start_boottime;
	uint64_t self_exec_id;
	const struct cred *cred;
	char comm[REC_COMM_LEN];
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct mm_struct *mm;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10;
	unsigned long r8;
	unsigned long bx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long cx;
	unsigned long orig_ax;
};
#endif

struct in6_addr {
	uint8_t s6_addr[16];
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	uint32_t skc_daddr;
	uint32_t skc_rcv_saddr;
	uint16_t skc_dport;
	uint16_t skc_num;
	uint16_t skc_family;
	uint8_t skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	struct {
		uint64_t counter;
	} skc_cookie;
	unsigned long skc_flags;
};

struct sock {
	struct sock_common __sk_common;
	uint16_t sk_protocol;
	uint16_t sk_type;
	int sk_err;
};

struct inet_sock {
	uint16_t inet_sport;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct io_kiocb {
	uint8_t opcode;
};

/* What a request begins with, by its opcode. */
struct io_open {
	uint32_t file_slot; /* 0: a descriptor */
};

struct io_accept {
	uint32_t file_slot;
};

struct io_uring_cqe {
	int res;
};

struct tcp_sock {
	uint64_t bytes_sent;
	uint64_t bytes_retrans;
	uint64_t bytes_received;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	uint32_t fd;
	struct file *file;
};

#pragma clang attribute pop

/* Which v1 controllers exist, and their numbers, differ by kernel. */
enum cgroup_subsys_id { memory_cgrp_id = 100, pids_cgrp_id = 101 };

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif
