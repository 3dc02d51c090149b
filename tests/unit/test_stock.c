/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stock.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/rows.h"

#define H sizeof(struct rec_header)

struct seen {
	size_t n, bytes;
	int result;
};

static int note(void *ctx, const void *record, size_t len)
{
	struct seen *seen = ctx;

	assert_int_equal((uintptr_t)record % 8, 0);
	seen->n++;
	seen->bytes += len;
	return seen->result;
}

static const struct split_row {
	const char *name;
	size_t sizes[4]; /* what each record says that it is */
	size_t len; /* bytes there are */
	int result; /* of the callback */
	int want;
	size_t want_used, want_n;
} split_rows[] = {
	{ "a length of zero", { 0 }, H, 0, -EBADMSG, 0, 0 },
	{ "a length below the header's", { H - 1 }, H, 0, -EBADMSG, 0, 0 },
	{ "a length above the maximum", { REC_MAX + 1 }, H, 0, -EBADMSG, 0, 0 },
	{ "the second is bad", { H, 3 }, 2 * H, 0, -EBADMSG, 0, 1 },
	{ "the callback stops", { H, H }, 2 * H, -EIO, -EIO, 0, 1 },
	{ "nothing", { 0 }, 0, 0, 0, 0, 0 },
	{ "half a header", { H }, H / 2, 0, 0, 0, 0 },
	{ "one byte short", { H + 8 }, H + 7, 0, 0, 0, 0 },
	{ "one", { H + 8 }, H + 8, 0, 0, H + 8, 1 },
	{ "odd lengths, and a beginning",
	  { H + 1, H + 3, H + 5 },
	  2 * H + 4 + 20,
	  0,
	  0,
	  2 * H + 4,
	  2 },
};

static void split(void **state)
{
	const struct split_row *row = *state;
	uint8_t bytes[4 * H] = { 0 };
	struct seen seen = { .result = row->result };
	size_t at = 0, used = 0;

	for (size_t i = 0; i < 4 && at + 4 <= sizeof(bytes); at += row->sizes[i++]) {
		uint32_t size = (uint32_t)row->sizes[i];

		memcpy(bytes + at, &size, sizeof(size));
	}
	assert_int_equal(stock_split(bytes, row->len, note, &seen, &used), row->want);
	assert_int_equal(used, row->want_used);
	assert_int_equal(seen.n, row->want_n);
}

static const struct stat_row {
	const char *name;
	const char *text;
	uint64_t want;
} stat_rows[] = {
	{ "empty", "", 0 },
	{ "no name", "1 2 3 4", 0 },
	{ "cut", "17 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", 0 },
	{ "plain", "17 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20", 4711 },
	{ "a name that lies", "17 (a) S 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 42 0",
	  42 },
};

static void start_ticks(void **state)
{
	const struct stat_row *row = *state;

	assert_int_equal(stock_start_ticks(row->text, strlen(row->text)), row->want);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, split, split_rows);
	ADD_ROWS(&t, start_ticks, stat_rows);
	return tests_run(&t, "stock");
}
