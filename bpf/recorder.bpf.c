// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The flight recorder: the newest packets of the host, their first bytes, in slots that a reader maps. Nobody is
 * woken and nobody reads until an order comes. One number for all CPUs, so that traffic on one of them has all of
 * the slots. Needs Linux 5.12: before, no atomic returns the old value. */
#define EXH_NO_TYPED_TASK /* hooks of cgroups may not have it */
#include "bpf/packets_users.bpf.h"

const volatile uint32_t slots = 1;
const volatile uint32_t snap = 1;

/* Sizes are set before it is made. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(uint32_t));
	__uint(value_size, sizeof(struct packets_head) + 8);
} exh_rec_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct packets_recorder);
} exh_recorder SEC(".maps");

#define barrier() asm volatile("" ::: "memory")

static __always_inline void record(struct __sk_buff *skb, uint8_t direction)
{
	uint32_t zero = 0, index;
	struct packets_recorder *recorder = bpf_map_lookup_elem(&exh_recorder, &zero);
	struct packets_head *slot;
	struct seen seen;
	uint64_t number;

	if (!recorder)
		return;
	see_cgroup(&seen, skb, direction);
	number = __sync_fetch_and_add(&recorder->head, 1);
	index = number % slots;
	slot = bpf_map_lookup_elem(&exh_rec_slots, &index);
	if (!slot)
		return;
	*(volatile uint64_t *)&slot->number = 0;
	barrier();
	fill_head(slot, &seen);
	slot->lost_before = 0;
	slot->caplen = load_bytes(skb, slot + 1, snap, snap);
	barrier();
	*(volatile uint64_t *)&slot->number = number + 1;
}

SEC("cgroup_skb/egress")
int exh_rec_out(struct __sk_buff *skb)
{
	record(skb, PACKETS_OUT);
	return 1;
}

SEC("cgroup_skb/ingress")
int exh_rec_in(struct __sk_buff *skb)
{
	record(skb, PACKETS_IN);
	return 1;
}
