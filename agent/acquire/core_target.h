/* SPDX-License-Identifier: Apache-2.0 */
/* One process whose memory is taken: its name in /proc, held open so that a reused pid is not mistaken for it, and
 * what was learned of it. */
#ifndef ACQUIRE_CORE_TARGET_H
#define ACQUIRE_CORE_TARGET_H

#include "agent/acquire/acquire.h"
#include "agent/acquire/core_copy.h"
#include "agent/acquire/core_elf.h"
#include "agent/acquire/core_maps.h"
#include "agent/acquire/core_threads.h"

#define CORE_AUXV_MAX KiB(8)

struct core_target {
	pid_t pid;
	int group; /* PROC/PID */
	int dir; /* the same, or of a thread that lives when the main one has ended */
	int pidfd, mem, pagemap;
	int exe; /* -1: cannot be opened */
	uint64_t start_ticks;
	struct core_identity id;
	struct core_maps known; /* before it was held, with devices marked */
	struct core_maps maps; /* while it was held */
	uint8_t auxv[CORE_AUXV_MAX];
	size_t auxv_len;
	struct core_threads threads;
	struct core_index before, index;
	bool changed; /* another program since it was opened: nothing of it was read */
	bool late; /* came into the container while that was being frozen */
};

/* -ESRCH: no such process; -EINVAL: it has no memory of its own (the kernel's threads, zombies). */
MUST_CHECK int core_target_open(const char *proc, pid_t pid, struct core_target *ret,
				struct error *e);
void core_target_close(struct core_target *t);
/* Read what changes: mappings, auxiliary vector. Its memory is still that which was opened. -ESRCH: not. */
MUST_CHECK int core_target_look(struct core_target *t, struct error *e);
/* Which mappings are devices, and room for what comes; *ret_bytes: how much memory has content now. */
MUST_CHECK int core_target_prepare(struct core_target *t, uint64_t *ret_bytes, struct error *e);
/* The order means this very process: boot and start time. -ESTALE: another. */
MUST_CHECK int core_target_check(const struct acquire_request *r, const struct core_target *t,
				 struct error *e);

#endif
