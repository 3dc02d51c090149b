/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/base/log.h"
#include "tests/unit/rows.h"

#define HEAD_TEXT "2026-11-24T14:00:00.123Z "
#define HEAD_JSON "{\"@timestamp\":\"2026-11-24T14:00:00.123Z\""

static char line[16384];

/* Standard error goes to memory while one call runs. */
static int capture_begin(int *ret_saved)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC);

	assert_true(fd >= 0);
	*ret_saved = dup(STDERR_FILENO);
	assert_true(*ret_saved >= 0);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	return fd;
}

static const char *capture_end(int fd, int saved)
{
	ssize_t n;

	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	n = pread(fd, line, sizeof(line) - 1, 0);
	assert_true(n >= 0);
	line[n] = '\0';
	(void)close(saved);
	(void)close(fd);
	return line;
}

static const char *written(enum log_level level, const char *message, const struct kv *fields)
{
	int saved, fd = capture_begin(&saved);

	log_write(level, message, fields);
	return capture_end(fd, saved);
}

static const struct value_row {
	const char *name;
	const char *bytes;
	size_t len;
	const char *text, *json; /* behind "v=" and "v": */
} value_rows[] = {
	{ "newline", "a\nb", 3, "\"a\\nb\"", "\"a\\nb\"" },
	{ "tab", "a\tb", 3, "\"a\\tb\"", "\"a\\tb\"" },
	{ "quote", "a\"b", 3, "\"a\\\"b\"", "\"a\\\"b\"" },
	{ "backslash", "a\\b", 3, "\"a\\\\b\"", "\"a\\\\b\"" },
	{ "NUL", "a\0b", 3, "\"a\\x00b\"", "\"a\\u0000b\"" },
	{ "escape", "\033[2J", 4, "\"\\x1b[2J\"", "\"\\u001b[2J\"" },
	{ "delete", "\x7f", 1, "\"\\x7f\"", "\"\\u007f\"" },
	{ "broken UTF-8", "\xff", 1, "\"\\xff\"", "\"\\ufffd\"" },
	{ "UTF-8 that is cut", "\xe2\x82", 2, "\"\\xe2\\x82\"", "\"\\ufffd\\ufffd\"" },
	{ "UTF-8 with a wrong third byte", "\xe2\x82x", 3, "\"\\xe2\\x82x\"",
	  "\"\\ufffd\\ufffdx\"" },
	{ "overlong UTF-8", "\xc0\xaf", 2, "\"\\xc0\\xaf\"", "\"\\ufffd\\ufffd\"" },
	{ "surrogate", "\xed\xa0\x80", 3, "\"\\xed\\xa0\\x80\"", "\"\\ufffd\\ufffd\\ufffd\"" },
	{ "past U+10FFFF", "\xf4\x90\x80\x80", 4, "\"\\xf4\\x90\\x80\\x80\"",
	  "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	{ "C1 control", "\xc2\x9b", 2, "\"\\xc2\\x9b\"", "\"\\ufffd\\ufffd\"" },
	{ "UTF-8", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xa9", 9,
	  "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xa9\"", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xa9\"" },
	{ "space", "a b", 3, "\"a b\"", "\"a b\"" },
	{ "equals sign", "a=b", 3, "\"a=b\"", "\"a=b\"" },
	{ "empty", "", 0, "\"\"", "\"\"" },
	{ "plain", "/a-b", 4, "/a-b", "\"/a-b\"" },
};

static void value_is_escaped(void **state)
{
	const struct value_row *row = *state;
	const struct kv fields[] = { KV_BYTES("v", row->bytes, row->len), { .type = KV_TYPE_END } };
	char want[256];

	log_init("test", LOG_LEVEL_DEBUG, false);
	(void)snprintf(want, sizeof(want), "info  m v=%s\n", row->text);
	assert_string_equal(written(LOG_LEVEL_INFO, "m", fields) + strlen(HEAD_TEXT), want);
	log_init("test", LOG_LEVEL_DEBUG, true);
	(void)snprintf(
		want, sizeof(want),
		",\"log.level\":\"info\",\"message\":\"m\",\"log.logger\":\"test\",\"v\":%s}\n",
		row->json);
	assert_string_equal(written(LOG_LEVEL_INFO, "m", fields) + strlen(HEAD_JSON), want);
}

static void below_the_level_is_silent(void **state)
{
	int saved, fd;

	(void)state;
	log_init("test", LOG_LEVEL_WARN, false);
	fd = capture_begin(&saved);
	log_debug("no");
	log_info("no", KV_U64("n", 1));
	log_warn("yes");
	log_error("oh");
	(void)capture_end(fd, saved);
	assert_null(strstr(line, "no"));
	assert_non_null(strstr(line, " warn  yes\n"));
	assert_non_null(strstr(line, " error oh\n"));
}

static void all_types(void **state)
{
	const struct kv fields[] = { KV_U64("u", UINT64_MAX),
				     KV_I64("i", INT64_MIN),
				     KV_STR("s", NULL),
				     KV_BYTES("b", NULL, 5),
				     { .type = KV_TYPE_END } };

	(void)state;
	log_init("test", LOG_LEVEL_INFO, false);
	assert_string_equal(
		written(LOG_LEVEL_ERROR, "m", fields) + strlen(HEAD_TEXT),
		"error m u=18446744073709551615 i=-9223372036854775808 s=\"\" b=\"\"\n");
	log_init("test", LOG_LEVEL_INFO, true);
	assert_non_null(strstr(
		written(LOG_LEVEL_ERROR, "m", fields),
		",\"u\":18446744073709551615,\"i\":-9223372036854775808,\"s\":\"\",\"b\":\"\"}\n"));
}

static const struct cut_row {
	const char *name;
	bool json;
	char fill;
} cut_rows[] = {
	{ "text", false, 'a' },
	{ "text, escaped", false, '\n' },
	{ "JSON", true, 'a' },
	{ "JSON, escaped", true, '\x01' },
};

/* A value is cut at 1024 bytes; a field that does not fit is left out, and the line says so. */
static void long_line_is_cut(void **state)
{
	const struct cut_row *row = *state;
	static char big[5000];
	struct kv fields[9];

	memset(big, row->fill, sizeof(big));
	for (size_t i = 0; i < 8; i++)
		fields[i] = KV_BYTES("v", big, sizeof(big));
	fields[8] = (struct kv){ .type = KV_TYPE_END };
	log_init("test", LOG_LEVEL_INFO, row->json);
	(void)written(LOG_LEVEL_INFO, "m", fields);
	assert_in_range(strlen(line), 100, 4096);
	assert_string_equal(strstr(line, "cut"), row->json ? "cut\":true}\n" : "cut=true\n");
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void long_value_ends_in_dots(void **state)
{
	static char big[1025];
	const struct kv fields[] = { KV_BYTES("v", big, sizeof(big)), { .type = KV_TYPE_END } };

	(void)state;
	memset(big, 'a', sizeof(big));
	log_init("test", LOG_LEVEL_INFO, false);
	(void)written(LOG_LEVEL_INFO, "m", fields);
	assert_string_equal(line + strlen(line) - 5, "a...\n");
}

static void failure_has_text_and_hint(void **state)
{
	struct error e;
	int saved, fd;

	(void)state;
	log_init("test", LOG_LEVEL_INFO, false);
	(void)error_set(&e, -EACCES, "cannot open '/j': %m");
	error_hint(&e, "check its owner");
	fd = capture_begin(&saved);
	log_failure(LOG_LEVEL_ERROR, "cannot go on", &e);
	assert_string_equal(
		capture_end(fd, saved) + strlen(HEAD_TEXT),
		"error cannot go on error=\"cannot open '/j': Permission denied; check its owner\"\n");
}

static void closed_standard_error_is_survived(void **state)
{
	int saved = dup(STDERR_FILENO);

	(void)state;
	log_init("test", LOG_LEVEL_INFO, false);
	(void)close(STDERR_FILENO);
	log_info("nobody reads this");
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	(void)close(saved);
}

static const struct level_row {
	const char *name; /* of the level, too */
	int want;
	enum log_level level;
} level_rows[] = {
	{ "", -EINVAL, LOG_LEVEL_DEBUG },        { "Info", -EINVAL, LOG_LEVEL_DEBUG },
	{ "warning", -EINVAL, LOG_LEVEL_DEBUG }, { "debug", 0, LOG_LEVEL_DEBUG },
	{ "info", 0, LOG_LEVEL_INFO },           { "warn", 0, LOG_LEVEL_WARN },
	{ "error", 0, LOG_LEVEL_ERROR },
};

static void level_by_name(void **state)
{
	const struct level_row *row = *state;
	enum log_level level = LOG_LEVEL_DEBUG;
	struct error e = { 0 };

	assert_int_equal(log_level_parse(row->name, &level, &e), row->want);
	assert_int_equal(level, row->level);
	assert_int_equal(e.text[0] != '\0', row->want != 0);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_ROWS(&t, value_is_escaped, value_rows);
	ADD_ROWS(&t, level_by_name, level_rows);
	ADD_TEST(&t, below_the_level_is_silent);
	ADD_TEST(&t, all_types);
	ADD_ROWS(&t, long_line_is_cut, cut_rows);
	ADD_TEST(&t, long_value_ends_in_dots);
	ADD_TEST(&t, failure_has_text_and_hint);
	ADD_TEST(&t, closed_standard_error_is_survived);
	return tests_run(&t, "log");
}
