/* SPDX-License-Identifier: Apache-2.0 */
/* How far the collector's clock is from this host's, from exchanges of four timestamps as in NTP (RFC 5905, section
 * 8). Pure; one owner. */
#ifndef AGENT_CLOCK_OFFSET_H
#define AGENT_CLOCK_OFFSET_H

#include "proto/base/base.h"

#define CLOCK_OFFSET_AGE_NS (600 * NSEC_PER_SEC) /* what is older says nothing */
#define CLOCK_OFFSET_ROUND_TRIP_MAX_NS (60 * NSEC_PER_SEC)
#define CLOCK_OFFSET_SAMPLES 16

/* One exchange. Unix time; received and answered by the collector's clock, and thus any number. */
struct clock_sample {
	int64_t sent_ns, received_ns, answered_ns;
	uint64_t elapsed_ns; /* from sending to the answer, by a clock that is not set */
	uint64_t boottime_ns; /* when it was sent */
};

/* The true offset lies within half the round trip of offset_ns, if the way there and back take any time each. */
struct clock_offset {
	int64_t offset_ns; /* the collector's clock minus this host's */
	uint64_t round_trip_ns;
	uint64_t boottime_ns; /* when it was measured */
};

struct clock_offsets {
	size_t n, next;
	struct {
		struct clock_offset offset;
		int64_t wall_minus_boot_ns; /* then: shows when this host's clock was set since */
	} at[CLOCK_OFFSET_SAMPLES];
};

/* -EINVAL: no exchange can have gone so. */
MUST_CHECK int clock_offset_take(struct clock_offsets *c, const struct clock_sample *s);
/* As of now: of the samples that are young enough the one with the shortest round trip. false: none, it is unknown. */
MUST_CHECK bool clock_offset_at(const struct clock_offsets *c, int64_t wall_ns,
				uint64_t boottime_ns, struct clock_offset *ret);

#endif
