/* SPDX-License-Identifier: Apache-2.0 */
/* The flight recorder: the newest packets of the host in memory that the kernel writes and nobody reads, until an
 * order asks for what was before it. Opened and closed by main with what sensing may do; an acquirer finds the maps by
 * their id (nothing is pinned: they end with the agent). */
#ifndef AGENT_RECORDER_H
#define AGENT_RECORDER_H

#include "agent/coverage.h"
#include "agent/recorder_slots.h"

#define RECORDER_WHAT "packets, newest" /* in the coverage */

struct recorder_config {
	uint64_t bytes; /* of all slots */
	uint32_t snap; /* of a packet, 1..RECORDER_SNAP_MAX */
};

struct recorder;

/* -ENOTSUP and others: this kernel cannot, with a sentence. */
MUST_CHECK int recorder_open(const struct recorder_config *c, struct recorder **ret,
			     struct error *e);
void recorder_close(struct recorder *r); /* NULL allowed */
/* Its row of the coverage says how far back it reaches now. One thread at a time. */
void recorder_coverage(const struct recorder *r, uint64_t now_ns, struct coverage *c);

#endif
