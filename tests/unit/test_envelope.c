/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/envelope.h"
#include "tests/unit/rows.h"

#define BYTES(...) .data = { __VA_ARGS__ }, .len = sizeof((const uint8_t[]){ __VA_ARGS__ })

static const struct open_row {
	const char *name;
	uint8_t data[24];
	size_t len;
	int want; /* result */
	uint32_t field;
	size_t body_at, body_len;
} open_rows[] = {
	{ "nothing", .len = 0, .want = -ENOMSG },
	{ "a tag alone", BYTES(0x12), .want = -EBADMSG },
	{ "body one byte short", BYTES(0x12, 3, 'a', 'b'), .want = -EBADMSG },
	{ "length beyond all memory",
	  BYTES(0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), .want = -EBADMSG },
	{ "a group", BYTES(0x0b, 0x0c), .want = -EBADMSG },
	{ "only a later protocol's field", BYTES(0x7a, 1, 'x'), .want = -ENOMSG },
	{ "unknown varint, then a batch", BYTES(0x78, 0x96, 0x01, 0x12, 1, 'b'), .field = 2,
	  .body_at = 5, .body_len = 1 },
	{ "unknown fixed fields, then a batch",
	  BYTES(0x7d, 1, 2, 3, 4, 0x79, 1, 2, 3, 4, 5, 6, 7, 8, 0x12, 1, 'b'), .field = 2,
	  .body_at = 16, .body_len = 1 },
	{ "ours as a varint is not ours", BYTES(0x10, 5), .want = -ENOMSG },
	{ "empty body", BYTES(0x0a, 0), .field = 1, .body_at = 2 },
	{ "the last one counts", BYTES(0x0a, 1, 'h', 0x22, 2, 'i', 'd'), .field = 4, .body_at = 5,
	  .body_len = 2 },
};

static void opens(void **state)
{
	const struct open_row *row = *state;
	uint32_t field = 0;
	const uint8_t *body = NULL;
	size_t len = 0;

	assert_int_equal(envelope_open(row->data, row->len, ENVELOPE_IDLE, &field, &body, &len),
			 row->want);
	assert_int_equal(field, row->field);
	assert_int_equal(len, row->body_len);
	if (row->want == 0)
		assert_ptr_equal(body, row->data + row->body_at);
}

static void what_is_made_opens(void **state)
{
	uint8_t big[70000];
	size_t len, body_len;
	uint32_t field;
	const uint8_t *body;

	(void)state;
	memset(big, 'x', sizeof(big));
	uint8_t *message = envelope_make(ENVELOPE_BATCH, big, sizeof(big), &len);

	assert_non_null(message);
	assert_int_equal(envelope_open(message, len, ENVELOPE_IDLE, &field, &body, &body_len), 0);
	assert_int_equal(field, ENVELOPE_BATCH);
	assert_int_equal(body_len, sizeof(big));
	assert_memory_equal(body, big, sizeof(big));
	free(message);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, opens, open_rows);
	ADD_TEST(&t, what_is_made_opens);
	return tests_run(&t, "envelope");
}
