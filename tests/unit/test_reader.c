/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "proto/base/reader.h"
#include "tests/unit/rows.h"

#define BYTES(...) .data = { __VA_ARGS__ }, .len = sizeof((const uint8_t[]){ __VA_ARGS__ })

static const struct int_row {
	const char *name;
	uint8_t data[16];
	size_t len;
	unsigned int width; /* bytes to read */
	uint64_t want;
	bool bad;
} int_rows[] = {
	{ "u8 of nothing", .len = 0, .width = 1, .bad = true },
	{ "u16 one byte short", BYTES(1), .width = 2, .bad = true },
	{ "u32 one byte short", BYTES(1, 2, 3), .width = 4, .bad = true },
	{ "u64 one byte short", BYTES(1, 2, 3, 4, 5, 6, 7), .width = 8, .bad = true },
	{ "u8", BYTES(0xff), .width = 1, .want = 0xff },
	{ "u16", BYTES(0x34, 0x12), .width = 2, .want = 0x1234 },
	{ "u32", BYTES(0x78, 0x56, 0x34, 0xf2), .width = 4, .want = 0xf2345678 },
	{ "u64", BYTES(1, 0, 0, 0, 0, 0, 0, 0x80), .width = 8, .want = 0x8000000000000001 },
};

static uint64_t read_width(struct reader *r, unsigned int width)
{
	switch (width) {
	case 1:
		return reader_u8(r);
	case 2:
		return reader_u16(r);
	case 4:
		return reader_u32(r);
	default:
		return reader_u64(r);
	}
}

static void integers(void **state)
{
	const struct int_row *row = *state;
	struct reader r = reader_init(row->data, row->len);

	assert_int_equal(read_width(&r, row->width), row->want);
	assert_int_equal(r.bad, row->bad);
	assert_int_equal(reader_done(&r), !row->bad);
}

static const struct varint_row {
	const char *name;
	uint8_t data[16];
	size_t len;
	uint64_t want;
	bool bad;
} varint_rows[] = {
	{ "nothing", .len = 0, .bad = true },
	{ "cut after the first byte", BYTES(0x80), .bad = true },
	{ "bit 64", BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
	  .bad = true },
	{ "eleven bytes", BYTES(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00),
	  .bad = true },
	{ "tenth byte continues", BYTES(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81),
	  .bad = true },
	{ "zero", BYTES(0), .want = 0 },
	{ "one byte", BYTES(0x7f), .want = 127 },
	{ "two bytes", BYTES(0xac, 0x02), .want = 300 },
	{ "padded", BYTES(0x81, 0x00), .want = 1 },
	{ "largest", BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01),
	  .want = UINT64_MAX },
};

static void varints(void **state)
{
	const struct varint_row *row = *state;
	struct reader r = reader_init(row->data, row->len);

	assert_int_equal(reader_varint(&r), row->want);
	assert_int_equal(r.bad, row->bad);
	assert_int_equal(reader_done(&r), !row->bad);
}

static void failure_is_sticky(void **state)
{
	static const uint8_t data[] = { 1, 2, 3, 4 };
	struct reader r = reader_init(data, sizeof(data)), sub;
	uint8_t out[2] = { 9, 9 };

	(void)state;
	assert_int_equal(reader_u64(&r), 0);
	assert_true(r.bad);
	assert_int_equal(reader_u8(&r), 0);
	assert_int_equal(reader_varint(&r), 0);
	assert_null(reader_bytes(&r, 0));
	reader_copy(&r, out, sizeof(out));
	assert_int_equal(out[0] | out[1], 0);
	reader_skip(&r, 0);
	sub = reader_sub(&r, 0);
	assert_true(sub.bad);
	assert_false(reader_done(&sub));
	assert_false(reader_done(&r));
}

static void huge_length_is_bad(void **state)
{
	static const uint8_t data[] = { 1, 2 };
	struct reader r = reader_init(data, sizeof(data));

	(void)state;
	assert_null(reader_bytes(&r, SIZE_MAX));
	assert_true(r.bad);
}

static void null_without_length_is_empty(void **state)
{
	struct reader r = reader_init(NULL, 0), lies = reader_init(NULL, 1);

	(void)state;
	assert_non_null(reader_bytes(&r, 0));
	assert_true(reader_done(&r));
	assert_int_equal(reader_u8(&lies), 0);
	assert_true(lies.bad);
}

static void left_over_is_not_done(void **state)
{
	static const uint8_t data[] = { 1, 2 };
	struct reader r = reader_init(data, sizeof(data));

	(void)state;
	assert_int_equal(reader_u8(&r), 1);
	assert_false(reader_done(&r));
	assert_false(r.bad);
}

static void sub_is_bounded(void **state)
{
	static const uint8_t data[] = { 1, 2, 3, 4 };
	struct reader r = reader_init(data, sizeof(data));
	struct reader sub = reader_sub(&r, 2);

	(void)state;
	assert_int_equal(reader_u16(&sub), 0x0201);
	assert_true(reader_done(&sub));
	assert_int_equal(reader_u8(&sub), 0);
	assert_true(sub.bad);
	assert_false(r.bad);
	assert_int_equal(reader_u8(&r), 3);
	sub = reader_sub(&r, 2);
	assert_true(sub.bad);
	assert_true(r.bad);
}

static void bytes_and_copies(void **state)
{
	static const uint8_t data[] = { 1, 2, 3, 4, 5 };
	struct reader r = reader_init(data, sizeof(data));
	uint8_t out[2];

	(void)state;
	assert_ptr_equal(reader_bytes(&r, 2), data);
	reader_copy(&r, out, 2);
	assert_memory_equal(out, data + 2, 2);
	reader_copy(&r, NULL, 0);
	reader_skip(&r, 1);
	assert_true(reader_done(&r));
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, integers, int_rows);
	ADD_ROWS(&t, varints, varint_rows);
	ADD_TEST(&t, failure_is_sticky);
	ADD_TEST(&t, huge_length_is_bad);
	ADD_TEST(&t, null_without_length_is_empty);
	ADD_TEST(&t, left_over_is_not_done);
	ADD_TEST(&t, sub_is_bounded);
	ADD_TEST(&t, bytes_and_copies);
	return tests_run(&t, "reader");
}
