/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "collector/entries.h"
#include "proto/actions.h"
#include "tests/unit/rows.h"

#define SAID 2, 0x0a, 0 /* an empty Process */
#define EVENT(seq, action, process) 8, 0x12, 6, 0x08, (seq), 0x18, (action), 0x20, (process)
#define LATER 2, 0x1a, 0 /* a kind that this protocol does not know */

static const struct entries_row {
	const char *name;
	uint64_t first, last;
	uint32_t count, gaps;
	const char *sentence; /* part of it; NULL: fine */
	size_t len;
	uint8_t raw[48];
} entries_rows[] = {
#define RAW(...)                                                                                   \
	sizeof((const uint8_t[]){ __VA_ARGS__ }),                                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
	{ "an event too few", 5, 6, 2, 0, "holds 1 events", RAW(SAID, EVENT(5, 1, 1)) },
	{ "an event too many", 5, 5, 1, 0, "holds 2 events",
	  RAW(SAID, EVENT(5, 1, 1), EVENT(6, 1, 1)) },
	{ "begins too high", 5, 6, 2, 0, "sequence 6 where 5",
	  RAW(SAID, EVENT(6, 1, 1), EVENT(7, 1, 1)) },
	{ "one number twice", 5, 6, 2, 0, "sequence 5 where 6",
	  RAW(SAID, EVENT(5, 1, 1), EVENT(5, 1, 1)) },
	{ "numbers in disorder", 5, 6, 2, 0, "sequence 6 where 5",
	  RAW(SAID, EVENT(6, 1, 1), EVENT(5, 1, 1)) },
	{ "a gap not counted", 5, 5, 1, 0, "holds 1 gaps", RAW(EVENT(5, ACTION_GAP, 0)) },
	{ "a gap that is none", 5, 5, 1, 1, "holds 0 gaps", RAW(SAID, EVENT(5, 1, 1)) },
	{ "process not said", 5, 5, 1, 0, "not said", RAW(EVENT(5, 1, 1)) },
	{ "process said after", 5, 5, 1, 0, "not said", RAW(EVENT(5, 1, 1), SAID) },
	{ "an event cut short", 5, 5, 1, 0, "event of batch 9 cannot",
	  RAW(SAID, 3, 0x12, 1, 0x08) },
	{ "an entry cut short", 5, 5, 1, 0, "entry of batch 9 cannot", RAW(2, 0x12, 6) },
	{ "nothing", 0, 0, 0, 0, NULL, 0, { 0 } },
	{ "two events", 5, 6, 2, 0, NULL, RAW(SAID, EVENT(5, 1, 1), EVENT(6, 2, 1)) },
	{ "an event of nobody", 5, 5, 1, 0, NULL, RAW(EVENT(5, 1, 0)) },
	{ "a gap", 5, 5, 1, 1, NULL, RAW(EVENT(5, ACTION_GAP, 0)) },
	{ "an entry of a later protocol", 5, 5, 1, 0, NULL, RAW(LATER, SAID, EVENT(5, 1, 1)) },
};

static void entries(void **state)
{
	const struct entries_row *row = *state;
	const struct batch_header h = { .number = 9,
					.first_sequence = row->first,
					.last_sequence = row->last,
					.count = row->count,
					.gaps = row->gaps };
	struct error e = { 0 };

	assert_int_equal(entries_check(&h, row->raw, row->len, &e), row->sentence ? -EBADMSG : 0);
	if (row->sentence)
		assert_non_null(strstr(e.text, row->sentence));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, entries, entries_rows);
	return tests_run(&t, "entries");
}
