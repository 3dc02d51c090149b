/* SPDX-License-Identifier: Apache-2.0 */
/* Which part of the host an order names, as it is now: its processes, and the root that they see. */
#ifndef ACQUIRE_TARGET_H
#define ACQUIRE_TARGET_H

#include "agent/acquire/acquire.h"

#define TARGET_PIDS_MAX 32768

struct target {
	int root; /* O_PATH: "/" in the target's view */
	uint32_t *pids; /* malloc'ed, ascending; of a host: none */
	size_t n_pids;
	bool whole_host;
};

/* -ESRCH: no such process, or another one has its number now, or no process runs in the container; -E2BIG. */
MUST_CHECK int target_open(const struct acquire_request *r, struct target *ret, struct error *e);
void target_release(struct target *t);
/* Open path (absolute, NUL-terminated) as the target sees it: no link leads out of its root, none of /proc's
 * magic links is followed. The last component is never followed. flags: of open(2). Negative errno. */
MUST_CHECK int target_openat(const struct target *t, const char *path, int flags);
/* Every process of the host, ascending. ret: malloc'ed. */
MUST_CHECK int target_all_pids(const struct acquire_request *r, uint32_t **ret, size_t *ret_n,
			       struct error *e);

#endif
