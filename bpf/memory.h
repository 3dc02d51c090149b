/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Between bpf/memory.bpf.c and the acquirer of physical memory that runs it: what is asked, and the window that
 * the bytes arrive in. */
#ifndef BPF_MEMORY_H
#define BPF_MEMORY_H

#ifdef __bpf__
#include "bpf/record.h"
#else
#include <stdint.h>
#endif

#define MEMORY_WINDOW (1U << 20) /* bytes that one run copies at most */
#define MEMORY_GRANULE                                                                             \
	(256U << 10) /* the copy runs with page faults off: no longer than this at a time */
#define MEMORY_PIECE 4096U

struct memory_ask {
	uint64_t address; /* kernel virtual */
	uint32_t bytes; /* 1..MEMORY_WINDOW */
	uint32_t whole; /* 1: by granules, all or nothing; 0: by pieces */
	uint32_t good; /* answer: bytes copied before the first granule or piece that cannot be read */
	uint32_t unused;
	uint64_t pgd; /* answer: of the task that asks */
};

#endif
