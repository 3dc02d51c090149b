/* SPDX-License-Identifier: Apache-2.0 */
/* What the time is, for manifests: by this host's clocks, and how far the collector's is from them. */
#include "agent/orders_internal.h"
#include "proto/base/log.h"
#include "proto/base/reader.h"

void orders_take_clock(struct orders *o, const uint8_t *data, size_t len)
{
	struct reader r = reader_init(data, len);
	struct clock_sample s;

	s.sent_ns = (int64_t)reader_u64(&r);
	s.received_ns = (int64_t)reader_u64(&r);
	s.answered_ns = (int64_t)reader_u64(&r);
	s.elapsed_ns = reader_u64(&r);
	s.boottime_ns = reader_u64(&r);
	if (r.bad || clock_offset_take(&o->clock, &s) < 0)
		log_debug("an answer about the collector's clock means nothing");
}

struct manifest_time orders_now(const struct orders *o)
{
	struct manifest_time t = manifest_now();

	t.collector_known = clock_offset_at(&o->clock, t.wall_ns, t.boottime_ns, &t.collector);
	return t;
}
