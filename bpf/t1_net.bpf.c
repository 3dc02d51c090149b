// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TCP connect, listen and disconnect. When the state becomes SYN_SENT the local port is not chosen
 * yet; the sockops hook runs right after that, still in the caller's context. Without cgroup v2 the
 * _alone programs report connects with local port 0. */
#include "bpf/tcp.bpf.h"

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(exh_tcp_state, struct sock *sk, int old_state, int new_state)
{
	tcp_state_body(sk, old_state, new_state, true);
	return 0;
}

SEC("sockops")
int exh_tcp_connect(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->sk)
		tcp_connect_body(plain_sock(ctx->sk));
	return 1; /* ctx->reply is left alone: it may be another program's answer */
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(exh_tcp_alone, struct sock *sk, int old_state, int new_state)
{
	tcp_state_body(sk, old_state, new_state, false);
	return 0;
}

#ifdef EXH_PLAIN
SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(exh_tcp_alone_r, struct sock *sk, int old_state, int new_state)
{
	tcp_state_body(sk, old_state, new_state, false);
	return 0;
}
#endif
