/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/base/utf8.h"
#include "proto/json.h"

#define S(text) (text), sizeof(text) - 1
#define FFFD "\xef\xbf\xbd"

static const struct row {
	const char *name;
	const char *bytes;
	size_t len;
	const char *want; /* of {"k":...} without the braces */
} rows[] = {
	{ "lone continuation", S("a\x80z"), "\"k\":\"a" FFFD "z\",\"k_base64\":\"YYB6\"" },
	{ "overlong slash", S("\xc0\xaf"), "\"k\":\"" FFFD FFFD "\",\"k_base64\":\"wK8=\"" },
	{ "surrogate", S("\xed\xa0\x80"), "\"k\":\"" FFFD FFFD FFFD "\",\"k_base64\":\"7aCA\"" },
	{ "above the last code point", S("\xf4\x90\x80\x80"),
	  "\"k\":\"" FFFD FFFD FFFD FFFD "\",\"k_base64\":\"9JCAgA==\"" },
	{ "cut character is one", S("x\xe2\x82"), "\"k\":\"x" FFFD "\",\"k_base64\":\"eOKC\"" },
	{ "control bytes", S("\x01\n\t\x1b[31m\x7f"), "\"k\":\"\\u0001\\n\\t\\u001b[31m\\u007f\"" },
	{ "C1 control",
	  S("\xc2\x9b"
	    "2J"),
	  "\"k\":\"\\u009b2J\"" },
	{ "line and paragraph separators", S("a\u2028b\u2029c"), "\"k\":\"a\\u2028b\\u2029c\"" },
	{ "NUL inside", S("a\0b"), "\"k\":\"a\\u0000b\"" },
	{ "quote and backslash", S("\"\\"), "\"k\":\"\\\"\\\\\"" },
	{ "empty", S(""), "\"k\":\"\"" },
	{ "valid of each length", S("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
	  "\"k\":\"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"" },
};

static void run_row(void **state)
{
	const struct row *row = *state;
	char *out = NULL, want[256];
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	struct json j = json_init(f);

	json_open(&j, NULL, 0, '{');
	json_bytes(&j, "k", row->bytes, row->len);
	json_close(&j, '}');
	assert_int_equal(fclose(f), 0);
	assert_false(j.bad);
	(void)snprintf(want, sizeof(want), "{%s}", row->want);
	assert_string_equal(out, want);
	free(out);
}

static void too_deep_and_unbalanced_are_bad(void **state)
{
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	struct json deep = json_init(f), unbalanced = json_init(f);

	(void)state;
	for (int i = 0; i < JSON_DEPTH_MAX + 1; i++)
		json_open(&deep, NULL, 0, '[');
	assert_true(deep.bad);
	json_close(&unbalanced, '}');
	assert_true(unbalanced.bad);
	assert_int_equal(fclose(f), 0);
	free(out);
}

static void lists_numbers_and_nesting(void **state)
{
	const struct json_item items[] = { { (const uint8_t *)"ok", 2 },
					   { (const uint8_t *)"\xff", 1 } };
	char *out = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&out, &size);
	struct json j = json_init(f);

	(void)state;
	json_open(&j, NULL, 0, '{');
	json_list(&j, "l", items, 2);
	json_open(&j, S("o"), '{');
	json_u64(&j, "n", UINT64_MAX);
	json_i64(&j, "m", -1);
	json_bool(&j, "b", true);
	json_none(&j, "z");
	json_close(&j, '}');
	json_list(&j, "e", items, 1);
	json_time(&j, "t", 0);
	json_close(&j, '}');
	json_line(&j);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(out,
			    "{\"l\":[\"ok\",\"" FFFD
			    "\"],\"l_base64\":[null,\"/w==\"],\"o\":{\"n\":18446744073709551615,"
			    "\"m\":-1,\"b\":true,\"z\":null},\"e\":[\"ok\"],"
			    "\"t\":\"1970-01-01T00:00:00.000000000Z\"}\n");
	free(out);
}

int main(void)
{
	struct CMUnitTest tests[ARRAY_LEN(rows) + 2];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		tests[i] = (struct CMUnitTest){ rows[i].name, run_row, NULL, NULL,
						(void *)(uintptr_t)&rows[i] };
	tests[ARRAY_LEN(rows)] =
		(struct CMUnitTest)cmocka_unit_test(too_deep_and_unbalanced_are_bad);
	tests[ARRAY_LEN(rows) + 1] = (struct CMUnitTest)cmocka_unit_test(lists_numbers_and_nesting);
	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
