/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs counted, read from the kernel; and what the agent itself counts for them (flows
 * that it sweeps). Any thread, no state. */
#ifndef AGENT_COUNTERS_H
#define AGENT_COUNTERS_H

#include "agent/hooks.h"
#include "bpf/record.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

struct counters {
	struct rec_counters class[REC_CLASSES]; /* all CPUs together */
	uint64_t missed[REC_CLASSES]; /* as hooks_missed: in none of the above, and lost */
	uint64_t ring_sent[REC_RINGS]; /* numbers given on all CPUs: sent and lost_ring */
};

MUST_CHECK int counters_read(const struct hooks *h, struct counters *ret, struct error *e);
/* Numbers given so far on each CPU of a ring: read before a drain that empties it, they tell what
 * the drain must have shown (loss_settle). ret: n entries, one per possible CPU. */
MUST_CHECK int counters_numbers(const struct hooks *h, enum rec_ring ring, uint64_t *ret, size_t n,
				struct error *e);
/* CPUs that the kernel may ever have; at least 1. */
size_t counters_cpus(void);
/* Flows that flows_sweep has flushed, n in all so far. */
void counters_add_swept(struct counters *c, uint64_t n);
/* seen = filtered + aggregated + sent + lost_ring + lost_scratch. Records under way make it untrue
 * for an instant. */
bool counters_balanced(const struct rec_counters *c);
uint64_t counters_lost(const struct counters *c, enum rec_class class);

#endif
