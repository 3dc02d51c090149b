/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/accounts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after those */
#include <cmocka.h>

static void finds_homes(void **state)
{
	static const struct {
		const char *line, *home;
	} rows[] = {
		{ "", NULL },
		{ "root", NULL },
		{ "root:x:0:0:root", NULL },
		{ "a:x:0:0:::/bin/sh:more", NULL },
		{ "a:x:1:1::/:/bin/sh", NULL },
		{ "a:x:1:1::///:/bin/sh", NULL },
		{ "a:x:1:1::home/a:/bin/sh", NULL },
		{ "a:x:1:1::/home/../etc:/bin/sh", NULL },
		{ "a:x:1:1::/home/..:/bin/sh", NULL },
		{ "a:x:1:1::/home/..a:/bin/sh", "/home/..a" },
		{ "root:x:0:0:root:/root:/bin/bash", "/root" },
		{ "a:x:1:1::/srv/a//:", "/srv/a" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct account_field home;
		bool there = account_home(reader_init(rows[i].line, strlen(rows[i].line)), &home);

		assert_int_equal(there, rows[i].home != NULL);
		if (!there)
			continue;
		assert_int_equal(home.len, strlen(rows[i].home));
		assert_memory_equal(home.at, rows[i].home, home.len);
	}
}

static void tells_policies(void **state)
{
	static const struct {
		const char *line, *password, *scheme;
		bool behind;
	} rows[] = {
		{ "", NULL, NULL, false },
		{ "root:*:1:2:3:4:5:6", NULL, NULL, false },
		{ ":*:1:2:3:4:5:6:", NULL, NULL, false },
		{ "root:*:1:2:3:4:5:6:7:8", NULL, NULL, false },
		{ "root::1:2:3:4:5:6:", "none", NULL, false },
		{ "root:*:1:2:3:4:5:6:", "locked", NULL, false },
		{ "root:!:1:2:3:4:5:6:", "locked", NULL, false },
		{ "root:!!$6$salt$hash:1:2:3:4:5:6:", "locked", "6", true },
		{ "root:$y$j9T$salt$hash:1:2:3:4:5:6:", "hash", "y", false },
		{ "root:$:1:2:3:4:5:6:", "hash", NULL, false },
		{ "root:$secretsecretsecretsecret$:1:2:3:4:5:6:", "hash", NULL, false },
		{ "root:abCDefGHijKLm:1:2:3:4:5:6:", "hash", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct account_policy p;
		bool there = account_policy(reader_init(rows[i].line, strlen(rows[i].line)), &p);

		assert_int_equal(there, rows[i].password != NULL);
		if (!there)
			continue;
		assert_string_equal(p.password, rows[i].password);
		assert_int_equal(p.locked_hash, rows[i].behind);
		assert_int_equal(p.scheme.len, rows[i].scheme == NULL ? 0 : strlen(rows[i].scheme));
		if (rows[i].scheme != NULL)
			assert_memory_equal(p.scheme.at, rows[i].scheme, p.scheme.len);
		assert_int_equal(p.last_change.at[0], '1');
		assert_int_equal(p.expires.at[0], '6');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_homes),
		cmocka_unit_test(tells_policies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
