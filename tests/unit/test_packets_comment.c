/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_comment.h"

#include <string.h>

#include "proto/base/reader.h"
#include "tests/unit/rows.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define CURL                                                                                       \
	{                                                                                          \
		.pid = 4242, .start_ns = 7, .how = PACKETS_SENT, .comm = "curl"                    \
	}
#define SHELL                                                                                      \
	{                                                                                          \
		.pid = 77, .start_ns = 6, .how = PACKETS_CREATED, .comm = "sh"                     \
	}

static const struct row {
	const char *name;
	struct packets_users users;
	const char *container, *want;
} rows[] = {
	{ "nobody", { { 0 }, { 0 } }, "", "owner=none;" },
	{ "nobody in a container", { { 0 }, { 0 } }, ID, "owner=none;container=0123456789ab;" },
	{ "one", { CURL, CURL }, "", "pid=4242;name=curl;" },
	{ "in a container", { CURL, CURL }, ID, "pid=4242;name=curl;container=0123456789ab;" },
	{ "handed on",
	  { SHELL, CURL },
	  "",
	  "pid=4242;name=curl;shared;creator=77;creator_name=sh;" },
	{ "the pid of another process",
	  { { .pid = 4242, .start_ns = 6, .how = PACKETS_CREATED, .comm = "curl" }, CURL },
	  "",
	  "pid=4242;name=curl;shared;creator=4242;creator_name=curl;" },
	{ "found",
	  { { .pid = 1, .how = PACKETS_FOUND, .comm = "a" },
	    { .pid = 1, .how = PACKETS_FOUND, .comm = "a" } },
	  "",
	  "pid=1;name=a;how=found;" },
	{ "a name that claims to be a token",
	  { { .pid = 1, .how = PACKETS_SENT, .comm = ";pid=4242;\n" },
	    { .pid = 1, .how = PACKETS_SENT, .comm = ";pid=4242;\n" } },
	  "",
	  "pid=1;name=\\x3bpid\\x3d4242\\x3b\\x0a;" },
	{ "a name of 16 bytes that drives a terminal",
	  { { .pid = 1, .how = PACKETS_SENT, .comm = "\033[2J\xff\xc3\\\"<>'`$&" },
	    { .pid = 1, .how = PACKETS_SENT, .comm = "\033[2J\xff\xc3\\\"<>'`$&" } },
	  "",
	  "pid=1;name=\\x1b\\x5b2J\\xff\\xc3\\x5c\\x22\\x3c\\x3e\\x27\\x60\\x24\\x26;" },
};

static void test_comment(void **state)
{
	const struct row *row = *state;
	char buf[PACKETS_COMMENT_MAX];

	assert_string_equal(packets_comment(&row->users, row->container, buf), row->want);
}

static void test_longest(void **state)
{
	struct packets_user u = { .pid = UINT32_MAX, .start_ns = 1, .how = PACKETS_FOUND };
	struct packets_users users = { u, u };
	char buf[PACKETS_COMMENT_MAX];

	(void)state;
	memset(users.last.comm, 0xff, sizeof(users.last.comm));
	memset(users.creator.comm, 0xff, sizeof(users.creator.comm));
	users.creator.start_ns = 2;
	(void)packets_comment(&users, ID, buf);
	assert_string_equal(buf + strlen(buf) - strlen("how=found;"), "how=found;");
}

static void test_custom(void **state)
{
	const struct packets_head h = { .socket = 0x1122334455667788, .users = { SHELL, CURL } };
	uint8_t bytes[PACKETS_CUSTOM_LEN];

	(void)state;
	packets_custom(&h, bytes);
	struct reader r = reader_init(bytes, sizeof(bytes));

	assert_memory_equal(reader_bytes(&r, 4), "EXHP", 4);
	assert_int_equal(reader_u32(&r), 4242);
	assert_int_equal(reader_u64(&r), 7);
	assert_int_equal(reader_u32(&r), 0);
	assert_int_equal(reader_u32(&r), 77);
	assert_int_equal(reader_u64(&r), 6);
	assert_int_equal(reader_u32(&r), 0);
	assert_int_equal(reader_u8(&r), PACKETS_SENT);
	assert_int_equal(reader_u8(&r), PACKETS_CREATED);
	assert_int_equal(reader_u16(&r), 0);
	assert_int_equal(reader_u64(&r), 0x1122334455667788);
	assert_true(reader_done(&r));
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, test_comment, rows);
	ADD_TEST(&t, test_longest);
	ADD_TEST(&t, test_custom);
	return tests_run(&t, "packets_comment");
}
