/* SPDX-License-Identifier: Apache-2.0 */
/* From a struct event and its process to entries of the batch being filled: the process image is said
 * before its first event in a batch, and again when its user, name, cgroup or namespaces changed.
 * No allocation per event. One encoder per builder, on the builder's thread. */
#ifndef AGENT_ENCODE_H
#define AGENT_ENCODE_H

#include "agent/batch_builder.h"
#include "agent/coverage.h"
#include "agent/enrich.h"

struct encoder;

/* Both borrowed. NULL: out of memory. Holds about 300 KiB. */
struct encoder *encoder_new(struct batch_builder *b, struct enricher *en);
void encoder_free(struct encoder *x); /* NULL allowed */

/* who: from enrich_*; NULL: an event without a process (gaps).
 * Errors: -ENOSPC the batch is full, close it and call again; -ENOMEM. Nothing was added then, or
 * only the process. An entry longer than BATCH_ENTRY_MAX cannot come about: texts are cut (marked
 * truncated) to their maxima first. */
MUST_CHECK int encode_event(struct encoder *x, const struct event *ev, const struct enriched *who,
			    uint64_t now_ns);

/* Sums of one coverage row's class, see Counters in event.proto. */
struct encode_counters {
	bool known;
	uint64_t seen, filtered, aggregated, sent, lost;
};
/* counters: one per row, or NULL. */
MUST_CHECK int encode_coverage(struct encoder *x, const struct coverage *c,
			       const struct encode_counters *counters, uint64_t now_ns);

struct encode_agent {
	uint32_t action; /* ACTION_AGENT_START, _STOCK or _STOP */
	const char *version, *kernel, *machine, *reason, *machine_id; /* NULL: absent */
};
MUST_CHECK int encode_agent(struct encoder *x, const struct encode_agent *a, uint64_t now_ns);

/* The event that tells of a gap, for encode_event; it happens at now_ns. */
struct event encode_gap_event(const struct event_gap *gap, uint64_t now_ns);

#endif
