/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs that keep the users of sockets, for the object that includes this. Which kernels have the two
 * tracepoints differs (6.18 does, 6.1 does not): an object loads without them, and then a socket that was handed on
 * keeps its creator's name. */
#ifndef BPF_PACKETS_USERS_BPF_H
#define BPF_PACKETS_USERS_BPF_H

#include "bpf/packets.bpf.h"

SEC("cgroup/sock_create")
int exh_pkt_create(struct bpf_sock *ctx)
{
	users_create_body(ctx);
	return 1;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(exh_pkt_sent, struct sock *sk, int len, int flags)
{
	users_call_body(sk, PACKETS_SENT);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(exh_pkt_received, struct sock *sk, int len, int flags)
{
	users_call_body(sk, PACKETS_RECEIVED);
	return 0;
}

SEC("iter/task_file")
int exh_pkt_stock(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file) /* each may be NULL at the end */
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	if (sk)
		users_stock_body(task, sk);
	return 0;
}

#endif
