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
} rows[] = {
	{ "enrolled and never heard of",
	  { HOST("a", false, 0) },
	  1,
	  {},
	  0,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  1,
	  0,
	  "never sent anything" },
	{ "not connected",
	  { HOST("a", false, 10) },
	  1,
	  { LANES("a", 10, 500) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  2,
	  SEC(500),
	  "not connected: its critical lane is known only up to 1970-01-01T00:08:20" },
	{ "connected but far behind",
	  { HOST("a", true, 10) },
	  1,
	  { LANES("a", 10, 900) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  2,
	  SEC(900),
	  "the host is behind" },
	{ "one lane is stalled",
	  { HOST("a", true, 10) },
	  1,
	  { STREAM("a", BATCH_LANE_CRITICAL, 10, 995), STREAM("a", BATCH_LANE_BULK, 10, 100) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  1,
	  SEC(100),
	  "its bulk lane" },
	{ "one of two hosts is silent",
	  { HOST("a", true, 10), HOST("b", false, 10) },
	  2,
	  { LANES("a", 10, 999), LANES("b", 10, 600) },
	  4,
	  0,
	  OPEN,
	  BOTH,
	  2,
	  2,
	  SEC(600),
	  "not connected" },
	{ "a batch has not arrived",
	  { HOST("a", true, 10) },
	  1,
	  { { .host_id = NAME("a"),
	      .lane = BATCH_LANE_CRITICAL,
	      .contiguous = 4,
	      .newest = 9,
	      .first_wall_ns = SEC(10),
	      .watermark_wall_ns = SEC(990),
	      .received_ns = SEC(990) },
	    STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  1,
	  SEC(990),
	  "batch 5 and perhaps others up to 8 of the critical lane" },
	{ "conflicts",
	  { HOST("a", true, 10) },
	  1,
	  { { .host_id = NAME("a"),
	      .lane = BATCH_LANE_CRITICAL,
	      .contiguous = 9,
	      .newest = 9,
	      .conflicts = 2,
	      .first_wall_ns = SEC(10),
	      .watermark_wall_ns = SEC(990),
	      .received_ns = SEC(990) },
	    STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  1,
	  SEC(990),
	  "a number that was taken" },
	{ "broken chain",
	  { HOST("a", true, 10) },
	  1,
	  { { .host_id = NAME("a"),
	      .lane = BATCH_LANE_CRITICAL,
	      .contiguous = 9,
	      .newest = 9,
	      .chain_breaks = 1,
	      .first_wall_ns = SEC(10),
	      .watermark_wall_ns = SEC(990),
	      .received_ns = SEC(990) },
	    STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  1,
	  SEC(990),
	  "chain of the critical lane" },
	{ "the past reaches beyond a silent host",
	  { HOST("a", false, 10) },
	  1,
	  { LANES("a", 10, 500) },
	  2,
	  SEC(100),
	  SEC(501),
	  BOTH,
	  1,
	  2,
	  SEC(500),
	  "not connected" },
	/* Complete from here on. */
	{ "no host at all", {}, 0, {}, 0, 0, OPEN, BOTH, 0, 0, NOW, NULL },
	{ "the past of a silent host",
	  { HOST("a", false, 10) },
	  1,
	  { LANES("a", 10, 500) },
	  2,
	  SEC(100),
	  SEC(500),
	  BOTH,
	  1,
	  0,
	  SEC(500),
	  NULL },
	{ "connected, seconds behind",
	  { HOST("a", true, 10) },
	  1,
	  { LANES("a", 10, 990) },
	  2,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  0,
	  SEC(990),
	  NULL },
	{ "the stalled lane is not asked about",
	  { HOST("a", true, 10) },
	  1,
	  { STREAM("a", BATCH_LANE_CRITICAL, 10, 995), STREAM("a", BATCH_LANE_BULK, 10, 100) },
	  2,
	  0,
	  OPEN,
	  1u << BATCH_LANE_CRITICAL,
	  1,
	  0,
	  SEC(995),
	  NULL },
	{ "enrolled after the time asked for",
	  { HOST("a", true, 10), HOST("b", true, 600) },
	  2,
	  { LANES("a", 10, 999) },
	  2,
	  SEC(100),
	  SEC(500),
	  BOTH,
	  1,
	  0,
	  SEC(500),
	  NULL },
	{ "an older boot ended long ago",
	  { HOST("a", true, 10) },
	  1,
	  { LANES("a", 10, 300), LANES("a", 310, 999) },
	  4,
	  0,
	  OPEN,
	  BOTH,
	  1,
	  0,
	  SEC(999),
	  NULL },
	{ "the hole lies in an older boot",
	  { HOST("a", true, 10) },
	  1,
	  { { .host_id = NAME("a"),
	      .lane = BATCH_LANE_CRITICAL,
	      .contiguous = 4,
	      .newest = 9,
	      .first_wall_ns = SEC(10),
	      .watermark_wall_ns = SEC(200),
	      .received_ns = SEC(300) },
	    LANES("a", 310, 999) },
	  3,
	  SEC(400),
	  OPEN,
	  BOTH,
	  1,
	  0,
	  SEC(999),
	  NULL },
	{ "the hole lies after the time asked for",
	  { HOST("a", true, 10) },
	  1,
	  { { .host_id = NAME("a"),
	      .lane = BATCH_LANE_CRITICAL,
	      .contiguous = 4,
	      .newest = 9,
	      .first_wall_ns = SEC(10),
	      .watermark_wall_ns = SEC(800),
	      .received_ns = SEC(990) },
	    STREAM("a", BATCH_LANE_BULK, 10, 990) },
	  2,
	  SEC(100),
	  SEC(700),
	  BOTH,
	  1,
	  0,
	  SEC(700),
	  NULL },
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
	};
	struct missing_list missing = { 0 };
	struct completeness c;

	completeness_compute(&q, &c, &missing);
	assert_int_equal(c.hosts, row->counted);
	assert_int_equal(missing.total, row->missing);
	assert_true(c.until_ns == row->complete_until);
	if (row->reason && !strstr(missing.items[0].reason, row->reason))
		fail_msg("%s", missing.items[0].reason);
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
