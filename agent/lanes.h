/* SPDX-License-Identifier: Apache-2.0 */
/* From events to closed batches: each event goes into its lane's batch, what is due goes to the sealer.
 * Belongs to the drain thread. */
#ifndef AGENT_LANES_H
#define AGENT_LANES_H

#include "agent/encode.h"
#include "agent/sealer.h"

struct lanes;

struct lanes_config {
	struct enricher *enricher; /* borrowed */
	struct sealer *sealer; /* borrowed */
	size_t n_cpu;
	uint64_t next_sequence[BATCH_LANES + 1]; /* by lane */
	uint64_t max_age_ns; /* an event waits at most that long to be sealed */
};

MUST_CHECK int lanes_new(const struct lanes_config *c, struct lanes **ret_l, struct error *e);
void lanes_free(struct lanes *l); /* NULL allowed */

/* who: NULL for events without a process. What cannot be encoded is counted, see lanes_take_unsaid. */
void lanes_event(struct lanes *l, const struct event *ev, const struct enriched *who,
		 uint64_t now_ns);
void lanes_gap(struct lanes *l, const struct event_gap *gap, uint64_t now_ns);
void lanes_coverage(struct lanes *l, const struct coverage *c,
		    const struct encode_counters *counters, uint64_t now_ns);
void lanes_agent(struct lanes *l, const struct encode_agent *a, uint64_t now_ns);
/* ev: ACTION_ORDER or ACTION_TAMPER. */
void lanes_order(struct lanes *l, const struct event_order *order, uint32_t action, uint32_t error,
		 uint64_t now_ns);
/* This ring and CPU are accounted for up to sequence. */
void lanes_reached(struct lanes *l, enum batch_lane lane, uint32_t cpu, uint64_t sequence);
/* Close what is due. watermark_ns: all events up to it were given to lanes_event. beat: also close a
 * lane without events, so that the sealer learns the watermark. */
void lanes_tick(struct lanes *l, uint64_t watermark_ns, bool beat, uint64_t now_ns);
/* Close everything. */
void lanes_flush(struct lanes *l, uint64_t watermark_ns);
/* Events that could not be encoded (out of memory) since the last call, by class. false: none. */
MUST_CHECK bool lanes_take_unsaid(struct lanes *l, uint64_t counts[static 16]);

#endif
