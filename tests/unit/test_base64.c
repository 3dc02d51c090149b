/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "proto/base/base64.h"
#include "tests/unit/rows.h"

static const struct text_row {
	const char *name, *text;
	int want;
} bad_rows[] = {
	{ "not a multiple of four", "Zm9", -EINVAL },
	{ "pad within", "Zm==Zm9v", -EINVAL },
	{ "three pads", "Z===", -EINVAL },
	{ "pad before the last", "Zm=v", -EINVAL },
	{ "a second spelling, two pads", "Zh==", -EINVAL },
	{ "a second spelling, one pad", "Zm9=", -EINVAL },
	{ "url alphabet", "Zm-_", -EINVAL },
	{ "line end", "Zm9\n", -EINVAL },
	{ "too long", "Zm9vYmFyZm9v", -E2BIG },
};

/* RFC 4648 section 10. */
static const struct pair_row {
	const char *name, *plain, *text;
} good_rows[] = {
	{ "nothing", "", "" },           { "one", "f", "Zg==" },
	{ "two", "fo", "Zm8=" },         { "three", "foo", "Zm9v" },
	{ "four", "foob", "Zm9vYg==" },  { "five", "fooba", "Zm9vYmE=" },
	{ "six", "foobar", "Zm9vYmFy" },
};

static void is_refused(void **state)
{
	const struct text_row *row = *state;
	uint8_t out[8];
	size_t len;

	assert_int_equal(base64_decode(row->text, strlen(row->text), out, sizeof(out), &len),
			 row->want);
}

static void goes_there_and_back(void **state)
{
	const struct pair_row *row = *state;
	uint8_t out[8];
	char text[16];
	size_t len;

	assert_int_equal(base64_encode(row->plain, strlen(row->plain), text), strlen(row->text));
	assert_string_equal(text, row->text);
	assert_int_equal(base64_decode(text, strlen(text), out, sizeof(out), &len), 0);
	assert_int_equal(len, strlen(row->plain));
	assert_memory_equal(out, row->plain, len);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, is_refused, bad_rows);
	ADD_ROWS(&t, goes_there_and_back, good_rows);
	return tests_run(&t, "base64");
}
