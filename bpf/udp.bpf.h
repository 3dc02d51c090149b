/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* UDP as flows, one per socket and peer, counted in a table and never sent per packet. The agent
 * sweeps idle flows out (agent/flows.c); a socket that is closed sends its first flow itself, which
 * for most sockets is the only one. */
#ifndef BPF_UDP_BPF_H
#define BPF_UDP_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/emit.bpf.h"
#include "bpf/owner.bpf.h"

#define FLOWS 16384
#define IPV4_MIN 20
#define IPV6_LEN 40
#define UDP_LEN 8

/* A plain hash: an LRU would drop flows without a word. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct rec_flow_key);
	__type(value, struct rec_udp_flow);
} exh_flows SEC(".maps");

struct packet {
	struct rec_flow_key key; /* without socket */
	uint8_t local[16];
	uint64_t bytes; /* payload */
	uint16_t local_port;
	bool outward;
};

static __always_inline bool parse_ip(struct __sk_buff *skb, struct packet *p, uint32_t *ret_header)
{
	uint32_t local_at, remote_at;
	uint8_t first, next;

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		p->key.family = 4;
		*ret_header = (first & 0xf) * 4;
		local_at = p->outward ? 12 : 16;
		remote_at = p->outward ? 16 : 12;
		if (bpf_skb_load_bytes(skb, 9, &next, 1))
			return false;
		if (bpf_skb_load_bytes(skb, local_at, p->local, 4) ||
		    bpf_skb_load_bytes(skb, remote_at, p->key.remote, 4))
			return false;
	} else {
		p->key.family = 6;
		*ret_header = IPV6_LEN;
		local_at = p->outward ? 8 : 24;
		remote_at = p->outward ? 24 : 8;
		if (bpf_skb_load_bytes(skb, 6, &next, 1))
			return false;
		if (bpf_skb_load_bytes(skb, local_at, p->local, 16) ||
		    bpf_skb_load_bytes(skb, remote_at, p->key.remote, 16))
			return false;
	}
	return next == IPPROTO_UDP;
}

/* false: not UDP, or with IPv6 extension headers. The length is the packet's own, not the UDP
 * header's: a segmented send (GSO) is one packet here. */
static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	uint32_t header;
	struct {
		uint16_t source, destination;
	} ports;

	if (!parse_ip(skb, p, &header) || bpf_skb_load_bytes(skb, header, &ports, sizeof(ports)))
		return false;
	ports.source = __builtin_bswap16(ports.source);
	ports.destination = __builtin_bswap16(ports.destination);
	/* Opaque, or clang makes it an index into the stack, which the verifier refuses. */
	OPAQUE(ports.source);
	OPAQUE(ports.destination);
	p->local_port = p->outward ? ports.source : ports.destination;
	p->key.remote_port = p->outward ? ports.destination : ports.source;
	p->bytes = skb->len > header + UDP_LEN ? skb->len - header - UDP_LEN : 0;
	return true;
}

static __always_inline void add_packet(struct rec_udp_flow *flow, const struct packet *p,
				       uint64_t now)
{
	if (p->outward) {
		__sync_fetch_and_add(&flow->bytes_out, p->bytes);
		__sync_fetch_and_add(&flow->packets_out, 1);
	} else {
		__sync_fetch_and_add(&flow->bytes_in, p->bytes);
		__sync_fetch_and_add(&flow->packets_in, 1);
	}
	flow->last_ns = now;
}

static __always_inline struct rec_udp_flow *new_flow(struct sock *sk, const struct packet *p,
						     uint64_t now)
{
	uint64_t key = (uint64_t)sk;
	struct owner *owner = bpf_map_lookup_elem(&exh_owners, &key);
	struct rec_udp_flow flow;

	__builtin_memset(&flow, 0, sizeof(flow));
	begin(&flow.h, REC_UDP_FLOW, REC_CLASS_UDP, REC_RING_BULK);
	flow.h.flags = REC_OWNER_NONE;
	if (owner && owner->actor.image.pid) {
		flow.h.actor = owner->actor;
		flow.h.flags = REC_OWNER_SOCKET;
	}
	if (owner && !owner->first.socket)
		owner->first = p->key;
	flow.h.actor.net_ns = READ(sk, __sk_common.skc_net.net, ns.inum);
	flow.socket = p->key.socket;
	flow.first_ns = now;
	__builtin_memcpy(flow.local, p->local, sizeof(flow.local));
	__builtin_memcpy(flow.remote, p->key.remote, sizeof(flow.remote));
	flow.local_port = p->local_port;
	flow.remote_port = p->key.remote_port;
	flow.family = p->key.family;
	flow.role = p->outward ? REC_ROLE_OPENER : REC_ROLE_ACCEPTER;
	bpf_map_update_elem(&exh_flows, &p->key, &flow,
			    BPF_NOEXIST); /* lost the race: theirs is used */
	return bpf_map_lookup_elem(&exh_flows, &p->key);
}

static __always_inline bool owned_by_us(struct sock *sk)
{
	uint64_t key = (uint64_t)sk;
	struct owner *owner = bpf_map_lookup_elem(&exh_owners, &key);
	uint32_t tgid = owner ? owner->actor.image.pid : 0;

	return tgid && bpf_map_lookup_elem(&exh_own, &tgid);
}

static __always_inline void udp_packet_body(struct __sk_buff *skb, bool outward)
{
	struct bpf_sock *context_sock = skb->sk;
	struct rec_udp_flow *flow;
	struct packet p;
	struct sock *sk;
	uint64_t now;

	context_sock = context_sock ? bpf_sk_fullsock(context_sock) : NULL;
	if (!context_sock || context_sock->protocol == IPPROTO_TCP) /* most packets */
		return;
	__builtin_memset(&p, 0, sizeof(p));
	p.outward = outward;
	if (!parse(skb, &p))
		return;
	COUNT(REC_CLASS_UDP, seen);
	sk = plain_sock(context_sock);
	if (owned_by_us(sk)) {
		COUNT(REC_CLASS_UDP, filtered);
		return;
	}
	p.key.socket = bpf_get_socket_cookie(skb);
	now = bpf_ktime_get_boot_ns();
	flow = bpf_map_lookup_elem(&exh_flows, &p.key);
	if (!flow)
		flow = new_flow(sk, &p, now);
	if (!flow) {
		COUNT(REC_CLASS_UDP, lost_scratch);
		return;
	}
	add_packet(flow, &p, now);
	COUNT(REC_CLASS_UDP, aggregated);
}

/* Sockets of other protocols pass here too; only datagrams are noted. */
static __always_inline void udp_create_body(struct bpf_sock *ctx)
{
	struct task_struct *task = CURRENT_TASK();
	struct rec_actor actor;
	struct sock *sk;

	if (ctx->type != SOCK_DGRAM)
		return;
	sk = plain_sock(ctx);
	__builtin_memset(&actor, 0, sizeof(actor));
	fill_actor(&actor, task);
	actor.net_ns = READ(sk, __sk_common.skc_net.net, ns.inum);
	own_socket(sk, &actor, REC_ROLE_UNKNOWN, bpf_ktime_get_boot_ns(), 0);
}

static __always_inline void udp_release_body(struct bpf_sock *ctx)
{
	struct rec_udp_flow *flow, sent;
	struct rec_flow_key first;
	struct owner *owner;
	struct sock *sk;
	uint64_t key;

	if (ctx->type != SOCK_DGRAM)
		return;
	sk = plain_sock(ctx);
	key = (uint64_t)sk;
	owner = bpf_map_lookup_elem(&exh_owners, &key);
	if (!owner)
		return;
	first = owner->first;
	disown_socket(sk);
	flow = bpf_map_lookup_elem(&exh_flows, &first);
	if (!flow)
		return;
	__builtin_memcpy(&sent, flow, sizeof(sent));
	if (bpf_map_delete_elem(&exh_flows, &first)) /* the sweep was faster */
		return;
	COUNT(REC_CLASS_UDP, seen);
	begin(&sent.h, REC_UDP_FLOW, REC_CLASS_UDP, REC_RING_BULK);
	sent.closed = 1;
	emit(&sent.h, sizeof(sent), REC_CLASS_UDP, REC_RING_BULK);
}

#endif
