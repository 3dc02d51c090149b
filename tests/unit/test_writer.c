/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "proto/base/writer.h"
#include "tests/unit/rows.h"

static void too_much_is_bad_and_sticky(void **state)
{
	uint8_t buf[8] = { 0 };
	static const uint8_t untouched[8] = { 1 };
	struct writer w = writer_init(buf, 4);

	(void)state;
	writer_u8(&w, 1);
	writer_u32(&w, 0xffffffff);
	assert_true(w.bad);
	writer_u8(&w, 2);
	writer_varint(&w, 3);
	writer_zero(&w, 0);
	assert_true(w.bad);
	assert_int_equal(w.done, 1);
	assert_memory_equal(buf, untouched, sizeof(buf));
}

static void huge_length_is_bad(void **state)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	(void)state;
	writer_zero(&w, SIZE_MAX);
	assert_true(w.bad);
	assert_int_equal(w.done, 0);
}

static void null_buffer_takes_nothing(void **state)
{
	struct writer w = writer_init(NULL, 16);

	(void)state;
	writer_bytes(&w, NULL, 0);
	assert_false(w.bad);
	writer_u8(&w, 1);
	assert_true(w.bad);
}

static void fills_to_the_last_byte(void **state)
{
	static const uint8_t want[] = { 1,  2,  3,  4,  5,  6,   7,   8, 9, 10,
					11, 12, 13, 14, 15, 'a', 'b', 0, 0 };
	uint8_t buf[sizeof(want)];
	struct writer w = writer_init(buf, sizeof(buf));

	(void)state;
	writer_u8(&w, 1);
	writer_u16(&w, 0x0302);
	writer_u32(&w, 0x07060504);
	writer_u64(&w, 0x0f0e0d0c0b0a0908);
	writer_bytes(&w, "ab", 2);
	writer_zero(&w, 2);
	assert_false(w.bad);
	assert_int_equal(w.left, 0);
	assert_int_equal(w.done, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static const struct varint_row {
	const char *name;
	uint64_t v;
	uint8_t want[10];
	size_t len;
} varint_rows[] = {
	{ "zero", 0, { 0 }, 1 },
	{ "largest of one byte", 127, { 0x7f }, 1 },
	{ "smallest of two bytes", 128, { 0x80, 0x01 }, 2 },
	{ "300", 300, { 0xac, 0x02 }, 2 },
	{ "largest",
	  UINT64_MAX,
	  { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 },
	  10 },
};

static void varints(void **state)
{
	const struct varint_row *row = *state;
	uint8_t buf[10];
	struct writer w = writer_init(buf, sizeof(buf)),
		      short_by_one = writer_init(buf, row->len - 1);

	writer_varint(&short_by_one, row->v);
	assert_true(short_by_one.bad);
	assert_int_equal(short_by_one.done, 0);
	writer_varint(&w, row->v);
	assert_false(w.bad);
	assert_int_equal(w.done, row->len);
	assert_memory_equal(buf, row->want, row->len);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_TEST(&t, too_much_is_bad_and_sticky);
	ADD_TEST(&t, huge_length_is_bad);
	ADD_TEST(&t, null_buffer_takes_nothing);
	ADD_TEST(&t, fills_to_the_last_byte);
	ADD_ROWS(&t, varints, varint_rows);
	return tests_run(&t, "writer");
}
