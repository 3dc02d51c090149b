// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A capture that was ordered: whole packets into a ring that is read every few milliseconds, never with a wake-up
 * (which costs ten times the record). At the root of the cgroups it sees every network namespace from the network
 * layer up; on one device (tcx) what passes there, with its link header. Needs Linux 5.12. */
#define EXH_NO_TYPED_TASK /* hooks of cgroups may not have it */
#include "bpf/packets_users.bpf.h"

#define ETH_HEADER 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd
#define IPV6_LEN 40
#define AF_UNSPEC 0
#define TCX_NEXT (-1)

/* What is asked for; 0 and false: everything. */
const volatile uint32_t want_net_ns = 0;
const volatile bool only_net_ns = false; /* else want_net_ns is asked of packets without a user */
const volatile uint32_t want_pid = 0;
const volatile uint64_t want_start_ns = 0; /* it started in want_start_ns .. + span - 1 */
const volatile uint64_t want_start_span_ns = 0;
const volatile bool want_cgroups = false;
const volatile uint32_t device_net_ns = 0; /* of the device that tcx is attached to */
const volatile uint32_t copy_bytes = PACKETS_BYTES_MAX;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} exh_pkt_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct packets_counters);
} exh_pkt_count SEC(".maps");

/* Lost on this CPU since the last packet that got through. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint64_t);
} exh_pkt_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PACKETS_CGROUPS_MAX);
	__type(key, uint64_t);
	__type(value, uint8_t);
} exh_pkt_cgroups SEC(".maps");

/* Processes whose packets are left out: our own way to the collector. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PACKETS_SKIP_MAX);
	__type(key, uint32_t);
	__type(value, uint8_t);
} exh_pkt_skip SEC(".maps");

/* ---- is it wanted? -------------------------------------------------------------------------------------- */

static __always_inline bool is_wanted_cgroup(const struct packets_user *user)
{
	/* Ids are unique within one hierarchy only. */
	uint64_t v2 = user->cgroup_id << 1, v1 = user->cgroup_v1_id << 1 | 1;

	return bpf_map_lookup_elem(&exh_pkt_cgroups, &v2) ||
	       bpf_map_lookup_elem(&exh_pkt_cgroups, &v1);
}

static __always_inline bool is_wanted_process(const struct packets_user *user)
{
	return user->pid == want_pid && user->start_ns - want_start_ns < want_start_span_ns;
}

static __always_inline bool is_wanted(const struct seen *seen)
{
	const struct packets_users *users = seen->users;

	if (users && bpf_map_lookup_elem(&exh_pkt_skip, &users->creator.pid))
		return false;
	if (only_net_ns && seen->net_ns != want_net_ns)
		return false;
	if (want_pid)
		return users &&
		       (is_wanted_process(&users->creator) || is_wanted_process(&users->last));
	if (want_cgroups)
		return users ? is_wanted_cgroup(&users->creator) || is_wanted_cgroup(&users->last) :
			       want_net_ns && seen->net_ns == want_net_ns;
	return true;
}

/* ---- into the ring ---------------------------------------------------------------------------------------- */

static __always_inline void count_lost(struct packets_counters *counters)
{
	uint32_t zero = 0;
	uint64_t *lost = bpf_map_lookup_elem(&exh_pkt_lost, &zero);

	__sync_fetch_and_add(&counters->lost, 1);
	if (lost)
		__sync_fetch_and_add(lost, 1);
}

static __always_inline uint64_t take_lost(void)
{
	uint32_t zero = 0;
	uint64_t *lost = bpf_map_lookup_elem(&exh_pkt_lost, &zero);

	return lost && *lost ? __sync_lock_test_and_set(lost, 0) : 0;
}

/* room: constant, as the ring wants it. */
static __always_inline void send_packet(const struct seen *seen, struct packets_counters *counters,
					uint64_t number, uint32_t room)
{
	struct packets_head *h = bpf_ringbuf_reserve(&exh_pkt_ring, sizeof(*h) + room, 0);

	if (!h) {
		count_lost(counters);
		return;
	}
	fill_head(h, seen);
	h->number = number;
	h->lost_before = take_lost();
	h->caplen = load_bytes(seen->skb, h + 1, room, copy_bytes);
	if (!h->caplen && h->len)
		__sync_fetch_and_add(&counters->unread, 1);
	bpf_ringbuf_submit(h, BPF_RB_NO_WAKEUP);
}

static __always_inline void take_packet(const struct seen *seen)
{
	uint32_t zero = 0, len = seen->skb->len < copy_bytes ? seen->skb->len : copy_bytes;
	struct packets_counters *counters = bpf_map_lookup_elem(&exh_pkt_count, &zero);
	uint64_t number;

	if (!counters || !is_wanted(seen))
		return;
	number = __sync_fetch_and_add(&counters->seen, 1) + 1;
	if (len <= 128)
		send_packet(seen, counters, number, 128);
	else if (len <= 512)
		send_packet(seen, counters, number, 512);
	else if (len <= 1600)
		send_packet(seen, counters, number, 1600);
	else if (len <= 9216)
		send_packet(seen, counters, number, 9216);
	else
		send_packet(seen, counters, number, PACKETS_BYTES_MAX + 1);
}

/* ---- at the root of the cgroups ------------------------------------------------------------------------------ */

static __always_inline void take_cgroup(struct __sk_buff *skb, uint8_t direction)
{
	struct seen seen;

	see_cgroup(&seen, skb, direction);
	take_packet(&seen);
}

SEC("cgroup_skb/egress")
int exh_pkt_out(struct __sk_buff *skb)
{
	take_cgroup(skb, PACKETS_OUT);
	return 1;
}

SEC("cgroup_skb/ingress")
int exh_pkt_in(struct __sk_buff *skb)
{
	take_cgroup(skb, PACKETS_IN);
	return 1;
}

/* ---- on one device -------------------------------------------------------------------------------------------- */

struct flow {
	struct bpf_sock_tuple tuple;
	uint32_t size; /* of the tuple; 0: no flow that can be looked up */
	uint8_t protocol;
};

static __always_inline void parse_v4(struct __sk_buff *skb, struct flow *flow)
{
	uint8_t first = 0;
	uint16_t fragment = 0;
	uint32_t at;

	if (bpf_skb_load_bytes(skb, ETH_HEADER, &first, 1) ||
	    bpf_skb_load_bytes(skb, ETH_HEADER + 6, &fragment, 2) ||
	    bpf_skb_load_bytes(skb, ETH_HEADER + 9, &flow->protocol, 1) ||
	    bpf_skb_load_bytes(skb, ETH_HEADER + 12, &flow->tuple.ipv4.saddr, 8))
		return;
	at = ETH_HEADER + (first & 0xf) * 4;
	if (__builtin_bswap16(fragment) & 0x1fff ||
	    bpf_skb_load_bytes(skb, at, &flow->tuple.ipv4.sport, 4))
		return;
	flow->size = sizeof(flow->tuple.ipv4);
}

static __always_inline void parse_v6(struct __sk_buff *skb, struct flow *flow)
{
	if (bpf_skb_load_bytes(skb, ETH_HEADER + 6, &flow->protocol, 1) ||
	    bpf_skb_load_bytes(skb, ETH_HEADER + 8, &flow->tuple.ipv6.saddr, 32) ||
	    bpf_skb_load_bytes(skb, ETH_HEADER + IPV6_LEN, &flow->tuple.ipv6.sport, 4))
		return;
	flow->size = sizeof(flow->tuple.ipv6);
}

static __always_inline void parse_flow(struct __sk_buff *skb, struct flow *flow)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	if (skb->protocol == __builtin_bswap16(ETH_P_IP))
		parse_v4(skb, flow);
	else if (skb->protocol == __builtin_bswap16(ETH_P_IPV6))
		parse_v6(skb, flow);
}

static __always_inline void turn_flow(struct flow *flow)
{
	struct flow was = *flow;

	if (flow->size == sizeof(flow->tuple.ipv4)) {
		flow->tuple.ipv4.saddr = was.tuple.ipv4.daddr;
		flow->tuple.ipv4.daddr = was.tuple.ipv4.saddr;
		flow->tuple.ipv4.sport = was.tuple.ipv4.dport;
		flow->tuple.ipv4.dport = was.tuple.ipv4.sport;
	} else {
		__builtin_memcpy(flow->tuple.ipv6.saddr, was.tuple.ipv6.daddr, 16);
		__builtin_memcpy(flow->tuple.ipv6.daddr, was.tuple.ipv6.saddr, 16);
		flow->tuple.ipv6.sport = was.tuple.ipv6.dport;
		flow->tuple.ipv6.dport = was.tuple.ipv6.sport;
	}
}

/* Will this host keep it? A listener on any address would else be named for what is only forwarded. */
static __always_inline bool is_for_us(struct __sk_buff *skb, const struct flow *flow)
{
	struct bpf_fib_lookup fib;
	long r;

	__builtin_memset(&fib, 0, sizeof(fib));
	fib.ifindex = skb->ifindex;
	fib.tot_len = 0;
	fib.l4_protocol = flow->protocol;
	if (flow->size == sizeof(flow->tuple.ipv4)) {
		fib.family = AF_INET;
		fib.ipv4_src = flow->tuple.ipv4.saddr;
		fib.ipv4_dst = flow->tuple.ipv4.daddr;
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, flow->tuple.ipv6.saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, flow->tuple.ipv6.daddr, 16);
	}
	r = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	return r == BPF_FIB_LKUP_RET_NOT_FWDED || r == BPF_FIB_LKUP_RET_FWD_DISABLED;
}

static __always_inline struct bpf_sock *look_up(struct __sk_buff *skb, struct flow *flow)
{
	if (flow->protocol == IPPROTO_TCP)
		return flow->size == sizeof(flow->tuple.ipv4) ?
			       bpf_sk_lookup_tcp(skb, &flow->tuple, sizeof(flow->tuple.ipv4),
						 BPF_F_CURRENT_NETNS, 0) :
			       bpf_sk_lookup_tcp(skb, &flow->tuple, sizeof(flow->tuple.ipv6),
						 BPF_F_CURRENT_NETNS, 0);
	if (flow->protocol == IPPROTO_UDP)
		return flow->size == sizeof(flow->tuple.ipv4) ?
			       bpf_sk_lookup_udp(skb, &flow->tuple, sizeof(flow->tuple.ipv4),
						 BPF_F_CURRENT_NETNS, 0) :
			       bpf_sk_lookup_udp(skb, &flow->tuple, sizeof(flow->tuple.ipv6),
						 BPF_F_CURRENT_NETNS, 0);
	return NULL;
}

static __always_inline void take_with(struct seen *seen, struct bpf_sock *sk)
{
	seen->users = bpf_sk_storage_get(&exh_pkt_users, sk, 0, 0);
	if (seen->users && !seen->users->creator.how)
		seen->users = NULL;
	take_packet(seen);
}

static __always_inline void see_device(struct seen *seen, struct __sk_buff *skb, uint8_t direction)
{
	__builtin_memset(seen, 0, sizeof(*seen));
	seen->skb = skb;
	seen->direction = direction;
	seen->net_ns = device_net_ns;
}

/* skb->sk is the sender's, which behind a veth is the other end's: whose it is the addresses tell. */
SEC("tc")
int exh_pkt_device_in(struct __sk_buff *skb)
{
	struct bpf_sock *sk = NULL;
	struct flow flow;
	struct seen seen;

	see_device(&seen, skb, PACKETS_IN);
	parse_flow(skb, &flow);
	if (flow.size && is_for_us(skb, &flow))
		sk = look_up(skb, &flow);
	if (!sk) {
		take_packet(&seen);
		return TCX_NEXT;
	}
	take_with(&seen, sk);
	bpf_sk_release(sk);
	return TCX_NEXT;
}

/* A SYN-ACK has a request in place of a socket: its listener is found by its addresses, turned. */
SEC("tc")
int exh_pkt_device_out(struct __sk_buff *skb)
{
	struct bpf_sock *own = skb->sk, *sk = NULL;
	struct flow flow;
	struct seen seen;

	see_device(&seen, skb, PACKETS_OUT);
	seen.socket = own ? bpf_get_socket_cookie(skb) : 0;
	sk = own ? bpf_sk_fullsock(own) : NULL;
	if (sk) {
		take_with(&seen, sk);
		return TCX_NEXT;
	}
	if (own) {
		parse_flow(skb, &flow);
		if (flow.size) {
			turn_flow(&flow);
			sk = look_up(skb, &flow);
		}
	}
	if (!sk) {
		take_packet(&seen);
		return TCX_NEXT;
	}
	take_with(&seen, sk);
	bpf_sk_release(sk);
	return TCX_NEXT;
}
