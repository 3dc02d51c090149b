/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a ring of io_uring has done: files opened, connections accepted. No system call returns their descriptors,
 * but when a completion is posted they are in the table of the process whose ring it is, and whoever posts it (the
 * process itself, or its worker or poller threads) shares that table. Kernels before 5.18 do not say which request
 * it was; before 5.12 the workers are kernel threads of nobody. */
#ifndef BPF_URING_BPF_H
#define BPF_URING_BPF_H

#include "bpf/file.bpf.h"
#include "bpf/tcp.bpf.h"

enum { URING_ACCEPT = 13, URING_OPENAT = 18, URING_OPENAT2 = 28 };

/* With a stack of its own, as in sys.bpf.h. */
static __noinline int uring_open(long fd)
{
	file_open_body(CURRENT_TASK(), fd, TRUNCATES_UNKNOWN, REC_IO_URING, REC_CLASS_URING_OPEN);
	return 0;
}

/* The socket of a connection that arrived and that nobody is known to have accepted, else NULL. */
static __always_inline struct sock *unclaimed(struct task_struct *task, long fd)
{
	struct file *file = file_of_fd(task, fd);
	struct socket *socket;
	struct owner *owner;
	uint64_t key;

	if (!file || (READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = READ(file, private_data);
	key = (uint64_t)READ(socket, sk);
	owner = key ? bpf_map_lookup_elem(&exh_owners, &key) : NULL;
	if (!owner || owner->actor.image.pid || owner->role != REC_ROLE_ACCEPTER)
		return NULL;
	return (struct sock *)key;
}

static __noinline int uring_accept(long fd)
{
	struct task_struct *task = CURRENT_TASK();
	struct sock *sk = unclaimed(task, fd);

	if (!sk || !is_tcp(sk, false))
		return 0;
	COUNT(REC_CLASS_URING_ACCEPT, seen);
	tcp_call_body(sk, task, REC_TCP_ACCEPT, REC_ROLE_ACCEPTER, REC_CLASS_URING_ACCEPT,
		      REC_IO_URING, false);
	return 0;
}

/* Into the ring's own table of files: res is no descriptor then. */
static __always_inline bool into_slot(void *req, uint32_t opcode)
{
	if (opcode == URING_ACCEPT)
		return READ((struct io_accept *)req, file_slot);
	return READ((struct io_open *)req, file_slot);
}

/* req: NULL for all but the last completion of an accept that goes on (multishot), and for others that have
 * nothing to do with descriptors: whether it is one shows in the table of owners. */
static __always_inline void uring_done_body(void *req, long res)
{
	uint32_t opcode = URING_ACCEPT;

	if (res < 0)
		return;
	if (req) {
		opcode = READ((struct io_kiocb *)req, opcode);
		if (opcode != URING_ACCEPT && opcode != URING_OPENAT && opcode != URING_OPENAT2)
			return;
		if (into_slot(req, opcode))
			return;
	}
	/* A ring is torn down by a kernel thread, with files of its own. */
	if (LOAD(CURRENT_TASK(), flags) & PF_KTHREAD)
		return;
	if (is_off(opcode == URING_ACCEPT ? REC_CLASS_URING_ACCEPT : REC_CLASS_URING_OPEN))
		return;
	if (opcode == URING_ACCEPT)
		uring_accept(res);
	else
		uring_open(res);
}

#endif
