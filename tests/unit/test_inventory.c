/* SPDX-License-Identifier: Apache-2.0 */
/* The list of hosts that there should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "collector/cli/inventory.h"

static const struct row {
	const char *name, *text;
	size_t len; /* 0: strlen */
	const char *error; /* NULL: good */
	const char *hosts; /* NAME/ID/OWNER@LINE each with ; */
	size_t repeated;
} rows[] = {
	{ "empty", "", .error = "f, line 1: the file is empty" },
	{ "blank lines alone", "\n\r\n", .error = "the file is empty" },
	{ "no column of names", "fqdn,id\na,b\n",
	  .error = "f: its first row names no column 'host' or 'name'" },
	{ "quote does not end", "host\n\"a\nb", .error = "f, line 3: a quoted field does not end" },
	{ "text after a quote", "host\n\"a\"b\n", .error = "f, line 2: text follows" },
	{ "stray quote", "host\na\"b\n", .error = "f, line 2: a quote stands within" },
	{ "too few fields", "host,id\na\n", .error = "f, line 2: 1 fields, but the header has 2" },
	{ "too many fields", "host\na,b\n", .error = "f, line 2: 2 fields, but the header has 1" },
	{ "nameless", "host,id\n,x\n", .error = "f, line 2: the host has no name" },
	{ "NUL", "host\na\0b\n", 9, .error = "f, line 2: there is a NUL byte" },
	{ "NUL in quotes", "host\n\"a\0b\"\n", 11, .error = "f, line 2: there is a NUL byte" },
	{ "header alone", "host\n", .hosts = "" },
	{ "plain", "host\na\nb", .hosts = "a//@2;b//@3;" },
	{ "CRLF, mark, no end", "\xef\xbb\xbfNAME,x,Owner\r\na,1,me\r\nb,2,",
	  .hosts = "a//me@2;b//@3;" },
	{ "host beats name", "name,host,id\nx,a,7\n", .hosts = "a/7/@2;" },
	{ "quotes, commas, lines", "host,owner\r\n\"a\",\"x, \"\"y\"\"\r\nz\"\r\nb,\r\n",
	  .hosts = "a//x, \"y\"\r\nz@2;b//@4;" },
	{ "blank lines", "\nhost\n\na\n\n", .hosts = "a//@4;" },
	{ "carriage return within", "host\na\rb\r", .hosts = "a\rb//@2;" },
	{ "repeated", "host,id\na,\nb,\nA,\na,7\n", .hosts = "a//@2;b//@3;a/7/@5;", .repeated = 1 },
};

static void one_row(void **state)
{
	const struct row *row = *state;
	size_t len = row->len ? row->len : strlen(row->text);
	uint8_t *copy = malloc(len + 1);
	struct inventory v;
	struct error e = { 0 };
	char all[512] = "";
	int r;

	assert_non_null(copy);
	memcpy(copy, row->text, len);
	copy[len] = '\0';
	r = inventory_parse("f", copy, len, &v, &e);
	if (row->error) {
		assert_true(r < 0);
		assert_non_null(strstr(e.text, row->error));
	} else {
		assert_int_equal(r, 0);
		for (size_t i = 0, at = 0; i < v.n; i++)
			at += (size_t)snprintf(all + at, sizeof(all) - at, "%s/%s/%s@%zu;",
					       v.hosts[i].name, v.hosts[i].id, v.hosts[i].owner,
					       v.hosts[i].line);
		assert_string_equal(all, row->hosts);
		assert_int_equal(v.repeated, row->repeated);
	}
	inventory_release(&v);
}

static void too_many(void **state)
{
	size_t n = INVENTORY_HOSTS_MAX + 1, len = 5 + n * 8;
	char *text = malloc(len + 1);
	struct inventory v;
	struct error e = { 0 };

	(void)state;
	assert_non_null(text);
	memcpy(text, "host\n", 5);
	for (size_t i = 0; i < n; i++)
		(void)snprintf(text + 5 + i * 8, 9, "h%06zu\n", i);
	text[len - 8] = '\0';
	assert_int_equal(inventory_parse("f", (uint8_t *)text, len - 8, &v, &e), 0);
	assert_int_equal(v.n, INVENTORY_HOSTS_MAX);
	inventory_release(&v);
	text = malloc(len + 1);
	assert_non_null(text);
	memcpy(text, "host\n", 5);
	for (size_t i = 0; i < n; i++)
		(void)snprintf(text + 5 + i * 8, 9, "h%06zu\n", i);
	assert_true(inventory_parse("f", (uint8_t *)text, len, &v, &e) < 0);
	assert_string_equal(e.text, "f names more than 100000 hosts; split it");
	inventory_release(&v);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, one_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] = (struct CMUnitTest)cmocka_unit_test(too_many);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
