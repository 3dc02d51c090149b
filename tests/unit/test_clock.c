/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/unit/rows.h"

#define S INT64_C(1000000000)
#define NOW (INT64_C(1764000000) * S) /* 2025-11-24T16:00:00Z */

static const struct bad_row {
	const char *name;
	const char *text;
} bad_rows[] = {
	{ "empty", "" },
	{ "age without unit", "15" },
	{ "age with unknown unit", "15w" },
	{ "age with more behind", "15mm" },
	{ "negative age", "-5m" },
	{ "unit alone", "m" },
	{ "age past 64 bits", "99999999999999999999s" },
	{ "age past 64 bits of ns", "200000d" },
	{ "date alone", "2026-11-24" },
	{ "no zone", "2026-11-24T14:00:00" },
	{ "no seconds", "2026-11-24T14:00Z" },
	{ "month 0", "2026-00-24T14:00:00Z" },
	{ "month 13", "2026-13-24T14:00:00Z" },
	{ "day 0", "2026-11-00T14:00:00Z" },
	{ "November 31", "2026-11-31T14:00:00Z" },
	{ "February 29 of 2026", "2026-02-29T14:00:00Z" },
	{ "February 29 of 2100", "2100-02-29T14:00:00Z" },
	{ "hour 24", "2026-11-24T24:00:00Z" },
	{ "minute 60", "2026-11-24T14:60:00Z" },
	{ "second 61", "2026-11-24T14:00:61Z" },
	{ "point without digits", "2026-11-24T14:00:00.Z" },
	{ "something behind", "2026-11-24T14:00:00Zz" },
	{ "zone without colon", "2026-11-24T14:00:00+0100" },
	{ "zone of 24 hours", "2026-11-24T14:00:00+24:00" },
	{ "year out of 64 bits", "2263-01-01T00:00:00Z" },
	{ "year too early", "1677-01-01T00:00:00Z" },
	{ "five digits of year", "12026-11-24T14:00:00Z" },
	{ "words", "yesterday" },
};

static void parse_refuses(void **state)
{
	const struct bad_row *row = *state;
	int64_t v = 42;

	assert_int_equal(clock_parse(row->text, NOW, &v), -EINVAL);
	assert_int_equal(v, 42);
}

static const struct good_row {
	const char *name;
	const char *text;
	int64_t want;
} good_rows[] = {
	{ "30s", "30s", NOW - 30 * S },
	{ "15m", "15m", NOW - 900 * S },
	{ "2h", "2h", NOW - 7200 * S },
	{ "7d", "7d", NOW - 604800 * S },
	{ "0s", "0s", NOW },
	{ "epoch", "1970-01-01T00:00:00Z", 0 },
	{ "before the epoch", "1969-12-31T23:59:59.5Z", -S / 2 },
	{ "nanoseconds", "2025-11-24T16:00:00.123456789Z", NOW + 123456789 },
	{ "more digits are cut", "2025-11-24T16:00:00.1234567899Z", NOW + 123456789 },
	{ "one digit", "2025-11-24T16:00:00.1Z", NOW + 100000000 },
	{ "east", "2025-11-24T17:30:00+01:30", NOW },
	{ "west", "2025-11-24T11:00:00-05:00", NOW },
	{ "small letters and a space", "2025-11-24 16:00:00z", NOW },
	{ "February 29 of 2024", "2024-02-29T00:00:00Z", INT64_C(1709164800) * S },
	{ "February 29 of 2040", "2040-02-29T00:00:00Z", INT64_C(2214086400) * S },
	{ "February 29 of 2000", "2000-02-29T00:00:00Z", INT64_C(951782400) * S },
	{ "leap second", "2016-12-31T23:59:60Z", INT64_C(1483228800) * S },
};

static void parse_takes(void **state)
{
	const struct good_row *row = *state;
	int64_t v = 42;

	assert_int_equal(clock_parse(row->text, NOW, &v), 0);
	assert_int_equal(v, row->want);
}

static const struct format_row {
	const char *name;
	int64_t ns;
	const char *want;
} format_rows[] = {
	{ "largest", INT64_MAX, "2262-04-11T23:47:16.854775807Z" },
	{ "smallest", INT64_MIN, "1677-09-21T00:12:43.145224192Z" },
	{ "one before the epoch", -1, "1969-12-31T23:59:59.999999999Z" },
	{ "epoch", 0, "1970-01-01T00:00:00.000000000Z" },
	{ "now", NOW + 7, "2025-11-24T16:00:00.000000007Z" },
};

static void format_says(void **state)
{
	const struct format_row *row = *state;
	char buf[CLOCK_TEXT_MAX];

	assert_string_equal(clock_format(row->ns, buf), row->want);
}

static void clocks_run_forward(void **state)
{
	uint64_t monotonic = clock_monotonic_ns(), boot = clock_boottime_ns();

	(void)state;
	assert_true(boot >= monotonic);
	assert_true(clock_monotonic_ns() >= monotonic);
	assert_true(clock_wall_ns() > NOW - 3650 * 86400 * S);
	(void)clock_synchronised();
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, parse_refuses, bad_rows);
	ADD_ROWS(&t, parse_takes, good_rows);
	ADD_ROWS(&t, format_says, format_rows);
	ADD_TEST(&t, clocks_run_forward);
	return tests_run(&t, "clock");
}
