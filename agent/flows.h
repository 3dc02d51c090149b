/* SPDX-License-Identifier: Apache-2.0 */
/* UDP flows leave the kernel's table here, when they have been idle or have lasted long enough;
 * those of a socket that is closed leave by themselves, through the ring. Called by the thread that
 * drains the bulk ring, about once a second. */
#ifndef AGENT_FLOWS_H
#define AGENT_FLOWS_H

#include "agent/hooks.h"
#include "agent/ring.h"

/* What the agent does: with a sweep a second, the first event of a flow comes at most 31 s after its first
 * packet, and the last one at most 16 s after its last. */
#define FLOWS_IDLE_NS (15 * NSEC_PER_SEC)
#define FLOWS_ACTIVE_NS (30 * NSEC_PER_SEC)

struct flows_policy {
	uint64_t idle_ns; /* flush what has had no packet for so long */
	uint64_t active_ns; /* and what began so long ago; 0, 0: everything (at exit) */
};

/* Hands each flushed flow to fn as a struct rec_udp_flow (seq 0, REC_RING_NONE, boottime_ns = now).
 * Returns how many, or a negative errno (fn's own, too). No flows are attached: 0. Each counts as
 * seen and sent, see counters_add_swept. */
MUST_CHECK int flows_sweep(const struct hooks *h, const struct flows_policy *policy,
			   uint64_t now_ns, ring_fn fn, void *ctx, struct error *e);
/* Pure: whether flow is due at now. */
bool flows_due(const struct rec_udp_flow *flow, const struct flows_policy *policy, uint64_t now_ns);

#endif
