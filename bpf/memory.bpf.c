/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Copies kernel memory into a window that the acquirer has mapped, for hosts without /proc/kcore. Run by
 * BPF_PROG_TEST_RUN (Linux 5.14), attached to nothing. What cannot be read ends the copy; it never faults. */
#include "bpf/memory.h"
#include "bpf/kernel.h"

struct window {
	uint8_t bytes[MEMORY_WINDOW];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct window);
} window SEC(".maps");

static __always_inline uint32_t copy_granules(struct window *w, uint64_t address)
{
	for (uint32_t i = 0; i < MEMORY_WINDOW / MEMORY_GRANULE; i++)
		if (READ_BYTES(w->bytes + i * MEMORY_GRANULE, MEMORY_GRANULE,
			       (void *)(address + i * MEMORY_GRANULE)) < 0)
			return i * MEMORY_GRANULE;
	return MEMORY_WINDOW;
}

static __always_inline uint32_t copy_pieces(struct window *w, uint64_t address, uint32_t bytes)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < MEMORY_WINDOW / MEMORY_PIECE; i++) {
		at = i * MEMORY_PIECE;
		if (at >= bytes)
			return bytes;
		uint32_t left = bytes - at;
		long r;

		if (left >= MEMORY_PIECE) {
			r = READ_BYTES(w->bytes + at, MEMORY_PIECE, (void *)(address + at));
		} else {
			OPAQUE(left);
			r = READ_BYTES(w->bytes + at, left & (MEMORY_PIECE - 1),
				       (void *)(address + at));
		}
		if (r < 0)
			return at;
	}
	return bytes;
}

SEC("syscall")
int read_memory(struct memory_ask *ask)
{
	uint32_t zero = 0;
	struct window *w = bpf_map_lookup_elem(&window, &zero);
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	uint32_t bytes = ask->bytes;

	if (w == NULL || bytes == 0 || bytes > MEMORY_WINDOW)
		return 1;
	ask->pgd = (uint64_t)READ(task, mm, pgd);
	ask->good = ask->whole && bytes == MEMORY_WINDOW ? copy_granules(w, ask->address) :
							   copy_pieces(w, ask->address, bytes);
	return 0;
}
