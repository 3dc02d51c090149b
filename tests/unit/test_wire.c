/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "proto/wire.h"
#include "tests/unit/rows.h"

#define BYTES(...) .bytes = { __VA_ARGS__ }, .len = sizeof((uint8_t[]){ __VA_ARGS__ })

static const struct wire_row {
	const char *name;
	uint8_t bytes[16];
	size_t len;
	size_t fields; /* that come before the end, or before what is bad */
	bool bad;
} rows[] = {
	{ "field number 0", BYTES(0x00, 0x01), .bad = true },
	{ "tag beyond 2^29", BYTES(0x80, 0x80, 0x80, 0x80, 0x10, 0x01), .bad = true },
	{ "group", BYTES(0x0b, 0x0c), .bad = true },
	{ "type 7", BYTES(0x0f, 0x00), .bad = true },
	{ "tag cut", BYTES(0x80), .bad = true },
	{ "varint cut", BYTES(0x08, 0x80), .bad = true },
	{ "bytes one short", BYTES(0x0a, 0x03, 1, 2), .bad = true },
	{ "length of 2^63", BYTES(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
	  .bad = true },
	{ "fixed64 cut", BYTES(0x09, 1, 2, 3, 4, 5, 6, 7), .bad = true },
	{ "second one bad", BYTES(0x08, 0x01, 0x0b), .fields = 1, .bad = true },
	{ "nothing", .len = 0 },
	{ "empty bytes", BYTES(0x0a, 0x00), .fields = 1 },
	{ "one of each", BYTES(0x08, 0x96, 0x01, 0x12, 0x01, 'x', 0x1d, 1, 2, 3, 4, 0x28, 0x00),
	  .fields = 4 },
};

static void message_is_walked(void **state)
{
	const struct wire_row *row = *state;
	struct reader r = reader_init(row->bytes, row->len);
	struct wire_field f;
	size_t n = 0;

	while (wire_next(&r, &f))
		n++;
	assert_int_equal(n, row->fields);
	assert_int_equal(r.bad, row->bad);
}

static void values_come_out(void **state)
{
	static const uint8_t message[] = { 0x08, 0x96, 0x01, 0x12, 0x02, 'h', 'i',
					   0x12, 0x00, 0x1d, 4,    3,    2,   1 };
	struct reader r = reader_init(message, sizeof(message));
	const uint8_t *bytes = NULL;
	struct wire_field f;
	size_t len = 0;

	(void)state;
	assert_true(wire_next(&r, &f));
	assert_int_equal(f.number, 1);
	assert_int_equal(f.value, 150);
	assert_int_equal(wire_once(&f, &bytes, &len), -EBADMSG); /* no bytes */
	assert_true(wire_next(&r, &f));
	assert_int_equal(wire_once(&f, &bytes, &len), 0);
	assert_int_equal(len, 2);
	assert_memory_equal(bytes, "hi", 2);
	assert_true(wire_next(&r, &f));
	assert_int_equal(wire_once(&f, &bytes, &len), -EBADMSG); /* a second time */
	assert_true(wire_next(&r, &f));
	assert_int_equal(f.value, 0x01020304);
	assert_false(wire_next(&r, &f));
	assert_true(reader_done(&r));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, message_is_walked, rows);
	ADD_TEST(&t, values_come_out);
	return tests_run(&t, "wire");
}
