/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/control.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "rows.h"

#define TEXT(s) ((struct control_bytes){ .data = (const uint8_t *)(s), .len = sizeof(s) - 1 })

static uint8_t buf[CONTROL_MESSAGE_MAX];

static const struct bad {
	const char *name;
	struct control_message m;
} bad_rows[] = {
	{ "item 0", { .kind = CONTROL_ITEM, .u.item = { 0, 0, TEXT("a"), TEXT("raw") } } },
	{ "item 257", { .kind = CONTROL_ITEM, .u.item = { 257, 0, TEXT("a"), TEXT("raw") } } },
	{ "no name", { .kind = CONTROL_ITEM, .u.item = { 1, 0, TEXT(""), TEXT("raw") } } },
	{ "slash", { .kind = CONTROL_ITEM, .u.item = { 1, 0, TEXT("a/b"), TEXT("raw") } } },
	{ "NUL", { .kind = CONTROL_ITEM, .u.item = { 1, 0, TEXT("a\0"), TEXT("raw") } } },
	{ "leading dot", { .kind = CONTROL_ITEM, .u.item = { 1, 0, TEXT(".a"), TEXT("raw") } } },
	{ "format", { .kind = CONTROL_ITEM, .u.item = { 1, 0, TEXT("a"), TEXT("r w") } } },
	{ "key", { .kind = CONTROL_NOTE, .u.note = { true, 1, TEXT("A"), TEXT("") } } },
	{ "no key", { .kind = CONTROL_NOTE, .u.note = { true, 1, TEXT(""), TEXT("") } } },
};

/* Encoding refuses what decoding would. */
static void test_bad(void **state)
{
	const struct bad *row = *state;
	size_t len;

	assert_int_equal(control_encode(&row->m, buf, &len), -EMSGSIZE);
}

static void test_too_long(void **state)
{
	static uint8_t text[ORDER_BYTES_MAX + 1];
	struct control_message m = { .kind = CONTROL_REQUEST };
	size_t len;

	(void)state;
	m.u.request.order = (struct control_bytes){ text, ORDER_BYTES_MAX };
	assert_int_equal(control_encode(&m, buf, &len), 0);
	m.u.request.order.len++;
	assert_int_equal(control_encode(&m, buf, &len), -EMSGSIZE);
}

static const struct good {
	const char *name;
	struct control_message m;
} good_rows[] = {
	{ "request",
	  { .kind = CONTROL_REQUEST, .u.request = { 1, 2, 3, 4, UINT64_MAX, TEXT("order") } } },
	{ "item",
	  { .kind = CONTROL_ITEM, .u.item = { 256, 7, TEXT("memory.lime"), TEXT("lime") } } },
	{ "item end",
	  { .kind = CONTROL_ITEM_END, .u.item_end = { 1, 9, { { 1, 2, 3 } }, TEXT("cut\n") } } },
	{ "note",
	  { .kind = CONTROL_NOTE, .u.note = { false, 0, TEXT("a_b.c9"), TEXT("\xff\0") } } },
	{ "number", { .kind = CONTROL_NOTE, .u.note = { true, 17, TEXT("frozen_ns"), TEXT("") } } },
	{ "warning", { .kind = CONTROL_WARNING, .u.warning = { true, TEXT("x") } } },
	{ "progress", { .kind = CONTROL_PROGRESS, .u.progress = { 1, 2 } } },
	{ "end", { .kind = CONTROL_END, .u.end = { EIO, 1, 2, 3, 4, TEXT("it broke") } } },
};

/* The same bytes again from what was decoded; every shorter message, and a longer one, is refused. */
static void test_good(void **state)
{
	static uint8_t again[CONTROL_MESSAGE_MAX];
	const struct good *row = *state;
	struct control_message m;
	size_t len, len_again;

	assert_int_equal(control_encode(&row->m, buf, &len), 0);
	assert_int_equal(control_decode(buf, len, &m), 0);
	assert_int_equal(m.kind, row->m.kind);
	assert_int_equal(control_encode(&m, again, &len_again), 0);
	assert_int_equal(len_again, len);
	assert_memory_equal(again, buf, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(control_decode(buf, i, &m), -EBADMSG);
	assert_int_equal(control_decode(buf, len + 1, &m), -EBADMSG);
}

static void test_unknown(void **state)
{
	struct control_message m;

	(void)state;
	assert_int_equal(control_decode("", 0, &m), -EBADMSG);
	assert_int_equal(control_decode("\0", 1, &m), -EBADMSG);
	assert_int_equal(control_decode("\x08", 1, &m), -EBADMSG);
	/* A bool that is neither. */
	assert_int_equal(control_decode("\x05\x02\0\0\0\0", 6, &m), -EBADMSG);
	assert_int_equal(control_decode("\x05\x01\0\0\0\0", 6, &m), 0);
}

static void test_socket(void **state)
{
	struct control_message m;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(control_receive(pair[1], buf, &m), 0);
	for (size_t i = 0; i < ARRAY_LEN(good_rows); i++)
		assert_int_equal(control_send(pair[0], &good_rows[i].m), 0);
	for (size_t i = 0; i < ARRAY_LEN(good_rows); i++) {
		assert_int_equal(control_receive(pair[1], buf, &m), 1);
		assert_int_equal(m.kind, good_rows[i].m.kind);
	}
	assert_int_equal(send(pair[0], "x", 1, 0), 1);
	assert_int_equal(control_receive(pair[1], buf, &m), -EBADMSG);
	(void)close(pair[0]);
	assert_int_equal(control_receive(pair[1], buf, &m), -EPIPE);
	assert_int_equal(control_send(pair[1], &good_rows[0].m), -EPIPE);
	(void)close(pair[1]);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_bad, bad_rows);
	ADD_TEST(&t, test_too_long);
	ADD_TEST(&t, test_unknown);
	ADD_ROWS(&t, test_good, good_rows);
	ADD_TEST(&t, test_socket);
	return tests_run(&t, "control");
}
