/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/socket_table.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#define REST " 00000000:00000000 00:00000000 00000000 "

static const struct row {
	const char *line;
	bool bad;
	const char *local, *remote;
	uint16_t local_port, remote_port;
	uint32_t state, uid;
	uint64_t inode;
} rows[] = {
	{ "  sl  local_address rem_address   st tx_queue rx_queue", .bad = true },
	{ "", .bad = true },
	{ "   0:", .bad = true },
	{ "   0: 0100007F:0016", .bad = true },
	{ "   0: 0100007F:0016 00000000:0000 0A" REST "    0        0", .bad = true },
	{ "   0: 0100007F:10016 00000000:0000 0A" REST "    0        0 7", .bad = true },
	{ "   0: 0100007F:0016 00000000000000000000000000000000:0000 0A" REST "0 0 7",
	  .bad = true },
	{ "   0: 0100007:0016 00000000:0000 0A" REST "    0        0 7", .bad = true },
	{ "   0: 0100007F:0016 00000000:0000 0A" REST " 4294967296 0 7", .bad = true },
	{ "   0: 0100007F:0016 00000000:0000 0A" REST " 0 0 99999999999999999999", .bad = true },
	{ "   0: 0100007F:0016 00000000:0000 0A" REST "    0        0 1126 1 0000000000000000 100",
	  false, "127.0.0.1", "0.0.0.0", 22, 0, 10, 0, 1126 },
	{ "12345: 0100007F:FFFF 0201A8C0:01BB 01" REST " 1000        0 4294967297 1", false,
	  "127.0.0.1", "192.168.1.2", 65535, 443, 1, 1000, 4294967297 },
	{ "   1: 00000000000000000000000001000000:0016 B80D0120000000000000000001000000:C350 01" REST
	  "    7        0 9 1",
	  false, "::1", "2001:db8::1", 22, 50000, 1, 7, 9 },
};

static void reads_internet(void **state)
{
	const struct row *want = *state;
	struct socket_row got;
	char text[INET6_ADDRSTRLEN];

	assert_int_equal(socket_row_internet(reader_init(want->line, strlen(want->line)), &got),
			 !want->bad);
	if (want->bad)
		return;
	int family = got.ip_len == 4 ? AF_INET : AF_INET6;

	assert_string_equal(inet_ntop(family, got.local_ip, text, sizeof(text)), want->local);
	assert_string_equal(inet_ntop(family, got.remote_ip, text, sizeof(text)), want->remote);
	assert_int_equal(got.local_port, want->local_port);
	assert_int_equal(got.remote_port, want->remote_port);
	assert_int_equal(got.state, want->state);
	assert_int_equal(got.uid, want->uid);
	assert_int_equal(got.inode, want->inode);
}

static void reads_unix(void **state)
{
	static const struct {
		const char *line, *path;
		bool bad;
	} lines[] = {
		{ "Num       RefCount Protocol Flags    Type St Inode Path", NULL, true },
		{ "", NULL, true },
		{ "00000000: 00000002 00000000 00010000 0001 01", NULL, true },
		{ "00000000: 00000002 00000000 00010000 0001 01 x", NULL, true },
		{ "00000000: 00000002 00000000 00010000 0001 01 77x", NULL, true },
		{ "00000000: 00000002 00000000 00010000 0001 01 77", NULL, false },
		{ "00000000: 00000002 00000000 00010000 0001 01 77 /run/a b: 0", "/run/a b: 0",
		  false },
		{ "ffff8880: 00000002 00000000 00010000 0001 01 77 @\xff\x1b", "@\xff\x1b", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct reader line = reader_init(lines[i].line, strlen(lines[i].line));
		struct socket_row got;

		assert_int_equal(socket_row_unix(line, &got), !lines[i].bad);
		if (lines[i].bad)
			continue;
		assert_int_equal(got.inode, 77);
		assert_int_equal(got.type, 1);
		assert_int_equal(got.path_len, lines[i].path == NULL ? 0 : strlen(lines[i].path));
		if (lines[i].path != NULL)
			assert_memory_equal(got.path, lines[i].path, got.path_len);
	}
}

static void names_states(void **state)
{
	(void)state;
	assert_string_equal(socket_state_name(10), "listening");
	assert_string_equal(socket_state_name(0), "unknown");
	assert_string_equal(socket_state_name(13), "unknown");
	assert_string_equal(socket_state_name(UINT32_MAX), "unknown");
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 2];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].line, reads_internet, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(reads_unix);
	tests[ARRAY_LEN(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(names_states);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
