/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/clock_offset.h"

#include <errno.h>

#define TIME_MAX ((int64_t)1 << 62) /* year 2116; sums of two do not overflow */

static bool is_time(int64_t ns)
{
	return ns > 0 && ns < TIME_MAX;
}

int clock_offset_take(struct clock_offsets *c, const struct clock_sample *s)
{
	if (!is_time(s->sent_ns) || !is_time(s->received_ns) || !is_time(s->answered_ns) ||
	    s->boottime_ns >= (uint64_t)TIME_MAX || s->answered_ns < s->received_ns)
		return -EINVAL;
	uint64_t there = (uint64_t)(s->answered_ns - s->received_ns);

	if (there > s->elapsed_ns || s->elapsed_ns - there > CLOCK_OFFSET_ROUND_TRIP_MAX_NS)
		return -EINVAL;
	uint64_t round_trip = s->elapsed_ns - there;

	/* ((t2 - t1) + (t3 - t4)) / 2, where t4 - t1 = round trip + (t3 - t2) */
	c->at[c->next].offset = (struct clock_offset){
		.offset_ns = s->received_ns - s->sent_ns - (int64_t)(round_trip / 2),
		.round_trip_ns = round_trip,
		.boottime_ns = s->boottime_ns,
	};
	c->at[c->next].wall_minus_boot_ns = s->sent_ns - (int64_t)s->boottime_ns;
	c->next = (c->next + 1) % CLOCK_OFFSET_SAMPLES;
	if (c->n < CLOCK_OFFSET_SAMPLES)
		c->n++;
	return 0;
}

bool clock_offset_at(const struct clock_offsets *c, int64_t wall_ns, uint64_t boottime_ns,
		     struct clock_offset *ret)
{
	bool found = false;

	for (size_t i = 0; i < c->n; i++) {
		struct clock_offset one = c->at[i].offset;

		if (one.boottime_ns > boottime_ns ||
		    boottime_ns - one.boottime_ns > CLOCK_OFFSET_AGE_NS ||
		    (found && one.round_trip_ns >= ret->round_trip_ns))
			continue;
		one.offset_ns -= wall_ns - (int64_t)boottime_ns - c->at[i].wall_minus_boot_ns;
		*ret = one;
		found = true;
	}
	return found;
}
