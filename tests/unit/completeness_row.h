/* SPDX-License-Identifier: Apache-2.0 */
/* One question about completeness and what is wanted of the answer, as a row. */
#ifndef TESTS_UNIT_COMPLETENESS_ROW_H
#define TESTS_UNIT_COMPLETENESS_ROW_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "collector/completeness.h"

#define SEC(n) ((int64_t)(n) * (int64_t)NSEC_PER_SEC)
#define NOW SEC(1000)
#define OPEN INT64_MAX
#define BOTH (1u << BATCH_LANE_CRITICAL | 1u << BATCH_LANE_BULK)
#define NAME(text)                                                                                 \
	{                                                                                          \
		.len = sizeof(text) - 1, .b = text                                                 \
	}
#define HOST(id, conn, first)                                                                      \
	{                                                                                          \
		.host_id = NAME(id), .registered = true, .connected = (conn),                      \
		.first_seen_ns = SEC(first)                                                        \
	}
/* A stream of host id from second first, complete up to second mark, received at that time. */
#define STREAM(id, l, first, mark)                                                                 \
	{                                                                                          \
		.host_id = NAME(id), .lane = (l), .contiguous = 9, .newest = 9,                    \
		.first_wall_ns = SEC(first), .watermark_wall_ns = SEC(mark),                       \
		.received_ns = SEC(mark)                                                           \
	}
/* Both lanes of boot b, epoch e; as STREAM. */
#define RUN_LANE(l, b, e, first, mark)                                                             \
	{                                                                                          \
		.host_id = NAME("a"), .boot_id = { (b) }, .epoch = { (e) }, .lane = (l),           \
		.contiguous = 9, .newest = 9, .first_wall_ns = SEC(first),                         \
		.watermark_wall_ns = SEC(mark), .received_ns = SEC(mark)                           \
	}
#define RUN(b, e, first, mark)                                                                     \
	RUN_LANE(BATCH_LANE_CRITICAL, b, e, first, mark),                                          \
		RUN_LANE(BATCH_LANE_BULK, b, e, first, mark)
#define REMOVED                                                                                    \
	{                                                                                          \
		.segments = 3, .events = 77, .first_wall_ns = SEC(2), .last_wall_ns = SEC(40),     \
		.reason = "age"                                                                    \
	}
#define LANES(id, first, mark)                                                                     \
	STREAM(id, BATCH_LANE_CRITICAL, first, mark), STREAM(id, BATCH_LANE_BULK, first, mark)

struct completeness_row {
	const char *name;
	struct host_info hosts[3];
	size_t n_hosts;
	struct store_stream streams[6];
	size_t n_streams;
	int64_t since, until;
	uint32_t lanes;
	/* wanted */
	uint64_t counted, missing;
	int64_t complete_until;
	const char *reason; /* in the first row */
	/* asked */
	struct store_removed removed;
	int64_t shown_since;
	int64_t complete_since; /* wanted; 0: as asked */
	uint64_t later; /* wanted: hosts that begin within the time, one at most */
	const char *later_host; /* wanted; NULL: "a" */
	int64_t later_since; /* wanted; 0: second 600 */
};

/* A test of the row that is its state. */
void completeness_run_row(void **state);

#endif
