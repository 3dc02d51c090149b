/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

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

static const struct row {
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
	uint64_t later; /* wanted: hosts that begin within the time, of host a at most */
} rows[] = {
	{ .name = "enrolled and never heard of",
	  .hosts = { HOST("a", false, 0) },
	  .n_hosts = 1,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = 0,
	  .reason = "never sent anything" },
	{ .name = "not connected",
	  .hosts = { HOST("a", false, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 500) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 2,
	  .complete_until = SEC(500),
	  .reason = "not connected: its critical lane is known only up to 1970-01-01T00:08:20" },
	{ .name = "connected but far behind",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 900) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 2,
	  .complete_until = SEC(900),
	  .reason = "the host is behind" },
	{ .name = "one lane is stalled",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { STREAM("a", BATCH_LANE_CRITICAL, 10, 995),
		       STREAM("a", BATCH_LANE_BULK, 10, 100) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(100),
	  .reason = "its bulk lane" },
	{ .name = "one of two hosts is silent",
	  .hosts = { HOST("a", true, 10), HOST("b", false, 10) },
	  .n_hosts = 2,
	  .streams = { LANES("a", 10, 999), LANES("b", 10, 600) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 2,
	  .missing = 2,
	  .complete_until = SEC(600),
	  .reason = "not connected" },
	{ .name = "a batch has not arrived",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { { .host_id = NAME("a"),
			 .lane = BATCH_LANE_CRITICAL,
			 .contiguous = 4,
			 .newest = 9,
			 .first_wall_ns = SEC(10),
			 .watermark_wall_ns = SEC(990),
			 .received_ns = SEC(990) },
		       STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(990),
	  .reason = "batch 5 and perhaps others up to 8 of the critical lane" },
	{ .name = "conflicts",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { { .host_id = NAME("a"),
			 .lane = BATCH_LANE_CRITICAL,
			 .contiguous = 9,
			 .newest = 9,
			 .conflicts = 2,
			 .first_wall_ns = SEC(10),
			 .watermark_wall_ns = SEC(990),
			 .received_ns = SEC(990) },
		       STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(990),
	  .reason = "a number that was taken" },
	{ .name = "broken chain",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { { .host_id = NAME("a"),
			 .lane = BATCH_LANE_CRITICAL,
			 .contiguous = 9,
			 .newest = 9,
			 .chain_breaks = 1,
			 .first_wall_ns = SEC(10),
			 .watermark_wall_ns = SEC(990),
			 .received_ns = SEC(990) },
		       STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(990),
	  .reason = "chain of the critical lane" },
	{ .name = "the past reaches beyond a silent host",
	  .hosts = { HOST("a", false, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 500) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(501),
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 2,
	  .complete_until = SEC(500),
	  .reason = "not connected" },
	{ .name = "a reboot",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(999),
	  .reason =
		  "from 1970-01-01T00:05:00.000Z to 1970-01-01T00:05:10.000Z, between two boots" },
	{ .name = "another journal",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(1, 2, 310, 999) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(999),
	  .reason = "between two journals of one boot" },
	{ .name = "two reboots",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 400), RUN(3, 1, 405, 999) },
	  .n_streams = 6,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 2,
	  .complete_until = SEC(999),
	  .reason = "to 1970-01-01T00:05:10.000Z" },
	{ .name = "the bulk lane was known less far",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN_LANE(BATCH_LANE_CRITICAL, 1, 1, 10, 300),
		       RUN_LANE(BATCH_LANE_BULK, 1, 1, 10, 250), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(999),
	  .reason = "from 1970-01-01T00:04:10.000Z" },
	{ .name = "asked about the time between boots",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .since = SEC(302),
	  .until = SEC(304),
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(304),
	  .reason = "between two boots" },
	{ .name = "removed by retention",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 999) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .removed = REMOVED,
	  .shown_since = INT64_MIN,
	  .counted = 1,
	  .missing = 1,
	  .complete_until = SEC(999),
	  .reason =
		  "removed by retention (age), 77 events between 1970-01-01T00:00:02.000Z and 1970-01-01T00:00:40.000Z" },
	/* Complete from here on. */
	{ .name = "an agent that restarted within one journal",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 999) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "the hole between boots lies before",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .since = SEC(310),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "the hole between boots lies behind",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .until = SEC(300),
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(300) },
	{ .name = "the other lane began later in the same boot",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN_LANE(BATCH_LANE_CRITICAL, 1, 1, 10, 999),
		       RUN_LANE(BATCH_LANE_BULK, 1, 1, 20, 999) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "boots that overlap",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 400), RUN(2, 1, 350, 999) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "the clock was set back between",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(2, 1, 10, 999), RUN(1, 1, 500, 900) },
	  .n_streams = 4,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "what was removed lies before",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 999) },
	  .n_streams = 2,
	  .since = SEC(41),
	  .until = OPEN,
	  .lanes = BOTH,
	  .removed = REMOVED,
	  .shown_since = INT64_MIN,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "what was removed lies behind",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 999) },
	  .n_streams = 2,
	  .until = SEC(2),
	  .lanes = BOTH,
	  .removed = REMOVED,
	  .shown_since = INT64_MIN,
	  .counted = 0,
	  .complete_until = SEC(2) },
	{ .name = "cut to newer than what was removed",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 999) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .removed = REMOVED,
	  .shown_since = SEC(41),
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "no host at all",
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 0,
	  .complete_until = NOW },
	{ .name = "the past of a silent host",
	  .hosts = { HOST("a", false, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 500) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(500),
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(500) },
	{ .name = "connected, seconds behind",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 990) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(990) },
	{ .name = "the stalled lane is not asked about",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { STREAM("a", BATCH_LANE_CRITICAL, 10, 995),
		       STREAM("a", BATCH_LANE_BULK, 10, 100) },
	  .n_streams = 2,
	  .until = OPEN,
	  .lanes = 1u << BATCH_LANE_CRITICAL,
	  .counted = 1,
	  .complete_until = SEC(995) },
	{ .name = "enrolled after the time asked for",
	  .hosts = { HOST("a", true, 10), HOST("b", true, 600) },
	  .n_hosts = 2,
	  .streams = { LANES("a", 10, 999) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(500),
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(500) },
	{ .name = "a record that begins within the time asked for",
	  .hosts = { HOST("a", true, 11) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 999) },
	  .n_streams = 2,
	  .since = SEC(2),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999),
	  .complete_since = SEC(10) },
	{ .name = "the first of two records that begin within the time asked for",
	  .hosts = { HOST("a", true, 600), HOST("b", true, 10) },
	  .n_hosts = 2,
	  .streams = { LANES("a", 600, 999), LANES("b", 10, 999) },
	  .n_streams = 4,
	  .since = SEC(2),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 2,
	  .complete_until = SEC(999),
	  .complete_since = SEC(10),
	  .later = 1 },
	{ .name = "one of two records that begins within the time asked for",
	  .hosts = { HOST("a", true, 600), HOST("b", true, 10) },
	  .n_hosts = 2,
	  .streams = { LANES("a", 600, 999), LANES("b", 10, 999) },
	  .n_streams = 4,
	  .since = SEC(100),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 2,
	  .complete_until = SEC(999),
	  .later = 1 },
	{ .name = "asked about later than what is known",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 10, 997) },
	  .n_streams = 2,
	  .since = SEC(999),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .missing = 2,
	  .complete_until = SEC(997),
	  .reason = "nothing of the time asked for is known yet" },
	{ .name = "a record that begins after the time asked for",
	  .hosts = { HOST("a", true, 600) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 590, 999) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(500),
	  .lanes = BOTH,
	  .counted = 0,
	  .complete_until = SEC(500) },
	{ .name = "journaled before the collector knew the host",
	  .hosts = { HOST("a", true, 600) },
	  .n_hosts = 1,
	  .streams = { LANES("a", 100, 999) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(500),
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(500) },
	{ .name = "an older boot ended long ago",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { RUN(1, 1, 10, 300), RUN(2, 1, 310, 999) },
	  .n_streams = 4,
	  .since = SEC(310),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "the hole lies in an older boot",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { { .host_id = NAME("a"),
			 .lane = BATCH_LANE_CRITICAL,
			 .contiguous = 4,
			 .newest = 9,
			 .first_wall_ns = SEC(10),
			 .watermark_wall_ns = SEC(200),
			 .received_ns = SEC(300) },
		       LANES("a", 310, 999) },
	  .n_streams = 3,
	  .since = SEC(400),
	  .until = OPEN,
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(999) },
	{ .name = "the hole lies after the time asked for",
	  .hosts = { HOST("a", true, 10) },
	  .n_hosts = 1,
	  .streams = { { .host_id = NAME("a"),
			 .lane = BATCH_LANE_CRITICAL,
			 .contiguous = 4,
			 .newest = 9,
			 .first_wall_ns = SEC(10),
			 .watermark_wall_ns = SEC(800),
			 .received_ns = SEC(990) },
		       STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  .n_streams = 2,
	  .since = SEC(100),
	  .until = SEC(700),
	  .lanes = BOTH,
	  .counted = 1,
	  .complete_until = SEC(700) },
};

static void run_row(void **state)
{
	const struct row *row = *state;
	struct completeness_question q = {
		.hosts = row->hosts,
		.n_hosts = row->n_hosts,
		.streams = row->streams,
		.n_streams = row->n_streams,
		.since_ns = row->since,
		.until_ns = row->until,
		.now_ns = NOW,
		.lanes = row->lanes,
		.removed = row->removed.segments ? &row->removed : NULL,
		.shown_since_ns = row->shown_since,
	};
	struct missing_list missing = { 0 };
	struct completeness c;

	completeness_compute(&q, &c, &missing);
	assert_int_equal(c.hosts, row->counted);
	assert_int_equal(missing.total, row->missing);
	assert_true(c.until_ns == row->complete_until);
	assert_true(c.since_ns == (row->complete_since ? row->complete_since : row->since));
	assert_int_equal(c.later_total, row->later);
	assert_int_equal(c.n_later, row->later);
	if (row->later) {
		assert_memory_equal(c.later[0].host_id.b, "a", 1);
		assert_true(c.later[0].since_ns == SEC(600));
	}
	if (row->reason && !strstr(missing.items[0].reason, row->reason))
		fail_msg("%s", missing.items[0].reason);
	for (size_t i = 0; i < missing.n; i++)
		if (missing.items[i].to_ns)
			assert_true(missing.items[i].from_ns < missing.items[i].to_ns);
	missing_release(&missing);
}

static void more_than_fits_is_counted(void **state)
{
	struct missing_list missing = { 0 };

	(void)state;
	for (int i = 0; i < MISSING_MAX + 5; i++)
		assert_int_equal(missing_add(&missing, NULL, NULL) != NULL, i < MISSING_MAX);
	assert_int_equal(missing.n, MISSING_MAX);
	assert_int_equal(missing.total, MISSING_MAX + 5);
	missing_release(&missing);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(more_than_fits_is_counted);
	return cmocka_run_group_tests_name("completeness", tests, NULL, NULL);
}
