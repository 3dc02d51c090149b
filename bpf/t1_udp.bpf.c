// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* UDP flows, from hooks at the root of cgroup v2: every socket of the host is below it. They always
 * return 1, "let it pass". */
#define EXH_NO_TYPED_TASK /* hooks of cgroups may not have it */
#include "bpf/udp.bpf.h"

SEC("cgroup_skb/egress")
int exh_udp_out(struct __sk_buff *skb)
{
	udp_packet_body(skb, true);
	return 1;
}

SEC("cgroup_skb/ingress")
int exh_udp_in(struct __sk_buff *skb)
{
	udp_packet_body(skb, false);
	return 1;
}

SEC("cgroup/sock_create")
int exh_udp_create(struct bpf_sock *ctx)
{
	udp_create_body(ctx);
	return 1;
}

SEC("cgroup/sock_release")
int exh_udp_release(struct bpf_sock *ctx)
{
	udp_release_body(ctx);
	return 1;
}
