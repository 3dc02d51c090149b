/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is there already when the agent starts, as records that an iterator hands out through a
 * seq_file. Its buffer holds 32 KiB: a record that does not fit any more is asked for again, so
 * nothing is counted or remembered before it went in. */
#ifndef BPF_STOCK_BPF_H
#define BPF_STOCK_BPF_H

#include "bpf/exec.bpf.h"
#include "bpf/owner.bpf.h"

#define STOCK_ARGS_MAX 16384

static __always_inline bool is_process(struct task_struct *task)
{
	return READ(task, pid) == READ(task, tgid) && READ(task, signal, live.counter) > 0;
}

static __always_inline void stock_count(uint32_t class, bool written)
{
	if (!written)
		return;
	COUNT(class, seen);
	COUNT(class, sent);
}

/* All but the arguments; returns where those go. */
static __always_inline uint32_t stock_fill(struct slot *slot, uint32_t index,
					   struct task_struct *task)
{
	struct rec_exec *exec = (void *)slot->record;
	struct mm_struct *mm = READ(task, mm);
	uint32_t at;

	__builtin_memset(exec, 0, sizeof(*exec));
	begin(&exec->h, REC_PROCESS, REC_CLASS_STOCK_PROCESS, REC_RING_NONE);
	exec->h.flags = REC_EXISTING;
	fill_actor(&exec->h.actor, task);
	at = fill_image_facts(slot, index, task, READ(mm, exe_file), NULL);
	if (READ(task, flags) & PF_KTHREAD)
		exec->exe_flags |= REC_EXE_KTHREAD;
	return at;
}

/* len of the arguments that the record may carry; the true length is noted. */
static __always_inline uint32_t stock_args(struct rec_exec *exec, struct task_struct *task,
					   unsigned long *ret_start)
{
	exec->args_bytes = args_area(READ(task, mm), ret_start);
	if (exec->args_bytes <= STOCK_ARGS_MAX)
		return exec->args_bytes;
	exec->h.flags |= REC_TRUNCATED;
	return STOCK_ARGS_MAX;
}

static __always_inline void stock_send(struct slot *slot, struct seq_file *seq, uint32_t len)
{
	struct rec_exec *exec = (void *)slot->record;

	OPAQUE(len);
	if (len > REC_MAX)
		len = REC_MAX;
	exec->h.len = len;
	stock_count(REC_CLASS_STOCK_PROCESS, bpf_seq_write(seq, exec, len) == 0);
}

/* Sockets that live hooks already know were reported by those. */
static __always_inline bool is_owned(struct sock *sk)
{
	uint64_t key = (uint64_t)sk;
	struct owner *owner = bpf_map_lookup_elem(&exh_owners, &key);

	return owner && owner->actor.image.pid;
}

static __always_inline bool is_of_interest(struct sock *sk, uint32_t protocol, uint32_t state,
					   uint32_t local_port)
{
	return protocol == IPPROTO_UDP ? local_port != 0 : state != TCP_CLOSE;
}

static __always_inline void stock_socket_body(struct task_struct *task, struct sock *sk,
					      uint32_t fd, struct seq_file *seq)
{
	uint16_t family = READ(sk, __sk_common.skc_family);
	struct tcp_sock *tp = (void *)sk;
	struct rec_socket rec;
	struct ends ends;

	__builtin_memset(&rec, 0, sizeof(rec));
	__builtin_memset(&ends, 0, sizeof(ends));
	rec.protocol = READ(sk, sk_protocol);
	if ((family != AF_INET && family != AF_INET6) || is_owned(sk) ||
	    (rec.protocol != IPPROTO_TCP && rec.protocol != IPPROTO_UDP))
		return;
	begin(&rec.h, REC_SOCKET, REC_CLASS_STOCK_SOCKET, REC_RING_NONE);
	rec.h.flags = REC_EXISTING;
	rec.h.len = sizeof(rec);
	fill_actor(&rec.h.actor, task);
	rec.h.actor.net_ns = READ(sk, __sk_common.skc_net.net, ns.inum);
	fill_ends(&ends, sk, false);
	__builtin_memcpy(rec.local, ends.local, sizeof(rec.local));
	__builtin_memcpy(rec.remote, ends.remote, sizeof(rec.remote));
	rec.local_port = ends.local_port;
	rec.remote_port = ends.remote_port;
	rec.family = ends.family;
	rec.socket = READ(sk, __sk_common.skc_cookie.counter);
	rec.state = READ(sk, __sk_common.skc_state);
	rec.fd = fd;
	if (rec.protocol == IPPROTO_TCP) {
		rec.bytes_out = READ(tp, bytes_sent) - READ(tp, bytes_retrans);
		rec.bytes_in = READ(tp, bytes_received);
	}
	if (is_of_interest(sk, rec.protocol, rec.state, rec.local_port)) {
		if (bpf_seq_write(seq, &rec, sizeof(rec)))
			return;
		stock_count(REC_CLASS_STOCK_SOCKET, true);
	}
	own_socket(sk, &rec.h.actor, REC_ROLE_UNKNOWN, 0, 0);
}

#endif
