/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a filled record to the ring: numbering, counting, scratch slots. The maps here are shared
 * by all objects (agent/hooks.c makes them once); programs of different kinds may interleave on
 * one CPU, by interrupt and, on preemptible kernels, by the scheduler, so every shared word is
 * atomic. */
#ifndef BPF_EMIT_BPF_H
#define BPF_EMIT_BPF_H

#include "bpf/kernel.h"

#define SLOTS_PER_CPU 3
#define SLOT_TAIL_MASK 0x3fff /* where the last part of a tail may begin */
#define SLOT_PATH_MASK 0x1fff

/* A path is built from its end towards the front. What a step reads lies here rather than on the
 * stack, of which three calls share 512 bytes. */
struct walk {
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root; /* of mount */
	uint64_t name[2]; /* a struct qstr, in one read instead of two */
	uint32_t at; /* its first byte in slot.path, so far */
	uint32_t incomplete;
};

struct slot {
	uint8_t record[REC_MAX];
	uint8_t path[SLOT_PATH_MASK + 1 + 512];
	struct walk walk;
	uint32_t busy; /* taken, by whoever set it from 0 to 1 */
	uint32_t pad;
};

/* Sizes that the agent sets before it makes them are 1 here. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} exh_critical SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} exh_bulk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REC_CLASSES);
	__type(key, uint32_t);
	__type(value, struct rec_counters);
} exh_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REC_RINGS);
	__type(key, uint32_t);
	__type(value, uint64_t);
} exh_seq SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct slot);
} exh_slots SEC(".maps");

/* The agent's own processes: what they do to files and sockets is filtered. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REC_OWN_MAX);
	__type(key, uint32_t);
	__type(value, uint8_t);
} exh_own SEC(".maps");

/* Classes that are switched off though a program that serves them runs for another: a bit each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, uint32_t);
} exh_off SEC(".maps");

#define COUNT(class_, field)                                                                       \
	do {                                                                                       \
		uint32_t class_key_ = (class_);                                                    \
		struct rec_counters *counters_ = bpf_map_lookup_elem(&exh_counters, &class_key_);  \
		if (counters_)                                                                     \
			__sync_fetch_and_add(&counters_->field, 1);                                \
	} while (0)

/* Before 5.12 there is no atomic that returns the old value; those kernels do not preempt tracing
 * programs, and what nests by interrupt is last in, first out, which the plain form of a flag
 * survives. A number may then be given twice: the agent sees it as a duplicate, never as a loss. */
#ifdef EXH_PLAIN
static __always_inline uint64_t next_number(uint64_t *n)
{
	return ++*n;
}

static __always_inline bool take_flag(uint32_t *flag)
{
	if (*flag)
		return false;
	*flag = 1;
	return true;
}
#else
static __always_inline uint64_t next_number(uint64_t *n)
{
	return __sync_fetch_and_add(n, 1) + 1;
}

static __always_inline bool take_flag(uint32_t *flag)
{
	return __sync_val_compare_and_swap(flag, 0, 1) == 0;
}
#endif

/* A scratch slot of this CPU that is ours until slot_give; NULL: all are taken. */
static __always_inline struct slot *slot_take(uint32_t *ret_index)
{
	uint32_t first = bpf_get_smp_processor_id() * SLOTS_PER_CPU;

	for (uint32_t i = 0; i < SLOTS_PER_CPU; i++) {
		uint32_t index = first + i;
		struct slot *slot = bpf_map_lookup_elem(&exh_slots, &index);

		if (slot && take_flag(&slot->busy)) {
			*ret_index = index;
			return slot;
		}
	}
	return NULL;
}

static __always_inline void slot_give(struct slot *slot)
{
	*(volatile uint32_t *)&slot->busy = 0;
}

static __always_inline bool is_own(void)
{
	uint32_t tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&exh_own, &tgid) != NULL;
}

static __always_inline bool is_off(uint32_t class)
{
	uint32_t zero = 0, *off = bpf_map_lookup_elem(&exh_off, &zero);

	return off && *off & (1U << class);
}

/* Everything of the header but the actor and what emit sets; the record is zero before. */
static __always_inline void begin(struct rec_header *h, uint32_t type, uint32_t class,
				  uint32_t ring)
{
	h->type = type;
	h->class = class;
	h->ring = ring;
	h->layout = REC_LAYOUT;
	h->boottime_ns = bpf_ktime_get_boot_ns();
	h->cpu = bpf_get_smp_processor_id();
}

/* Number, send, count. ring and class as in begin. len: bounded by the caller, fixed part and
 * tail. */
static __always_inline void emit(struct rec_header *h, uint32_t len, uint32_t class, uint32_t ring)
{
	uint64_t *seq = bpf_map_lookup_elem(&exh_seq, &ring);
	long r;

	h->len = len;
	if (seq)
		h->seq = next_number(seq);
	if (ring == REC_RING_CRITICAL)
		r = bpf_ringbuf_output(&exh_critical, h, len, BPF_RB_NO_WAKEUP);
	else
		r = bpf_ringbuf_output(&exh_bulk, h, len, BPF_RB_NO_WAKEUP);
	if (r == 0)
		COUNT(class, sent);
	else
		COUNT(class, lost_ring);
}

#endif
