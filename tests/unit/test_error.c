/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "proto/base/error.h"
#include "tests/unit/rows.h"

static void null_is_accepted_everywhere(void **state)
{
	char buf[8] = "before";

	(void)state;
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_wrap(NULL, -EPERM, "x"), -EPERM);
	error_hint(NULL, "x");
	assert_string_equal(error_format(NULL, buf, sizeof(buf)), "");
	assert_ptr_equal(error_format(NULL, buf, 0), buf);
}

static const struct set_row {
	const char *name;
	const char *argument, *want;
} set_rows[] = {
	{ "newline cannot forge a line", "a\nb",
	  "cannot open 'a\\x0ab': No such file or directory" },
	{ "escape cannot drive a terminal", "\033[2J",
	  "cannot open '\\x1b[2J': No such file or directory" },
	{ "delete is shown", "\x7f", "cannot open '\\x7f': No such file or directory" },
	{ "percent is not a format", "%s%n", "cannot open '%s%n': No such file or directory" },
	{ "UTF-8 stays", "\xc3\xa4", "cannot open '\xc3\xa4': No such file or directory" },
	{ "plain", "/x", "cannot open '/x': No such file or directory" },
};

static void set_says(void **state)
{
	const struct set_row *row = *state;
	struct error e;

	assert_int_equal(error_set(&e, -ENOENT, "cannot open '%s': %m", row->argument), -ENOENT);
	assert_int_equal(e.code, -ENOENT);
	assert_string_equal(e.text, row->want);
	assert_string_equal(e.hint, "");
}

static const struct long_row {
	const char *name;
	char fill;
	size_t len;
} long_rows[] = {
	{ "just too long", 'a', ERROR_TEXT_MAX },
	{ "much too long", 'a', 5 * ERROR_TEXT_MAX },
	{ "too long when shown", '\n', ERROR_TEXT_MAX - 10 },
	{ "last escape does not fit", '\n', ERROR_TEXT_MAX / 4 },
};

static void long_text_ends_in_dots(void **state)
{
	const struct long_row *row = *state;
	char text[5 * ERROR_TEXT_MAX + 1] = "";
	struct error e;

	memset(text, row->fill, row->len);
	(void)error_set(&e, -EIO, "%s", text);
	assert_in_range(strlen(e.text), ERROR_TEXT_MAX - 8, ERROR_TEXT_MAX - 1);
	assert_string_equal(e.text + strlen(e.text) - 3, "...");
}

static void text_that_just_fits_is_not_cut(void **state)
{
	char text[ERROR_TEXT_MAX] = "";
	struct error e;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	(void)error_set(&e, -EIO, "%s", text);
	assert_string_equal(e.text, text);
}

static void set_replaces_all(void **state)
{
	struct error e;

	(void)state;
	(void)error_set(&e, -EIO, "first");
	error_hint(&e, "old");
	(void)error_set(&e, -EPERM, "second");
	assert_int_equal(e.code, -EPERM);
	assert_string_equal(e.text, "second");
	assert_string_equal(e.hint, "");
}

static void wrap_puts_before_and_keeps_hint(void **state)
{
	struct error e;

	(void)state;
	(void)error_set(&e, -EACCES, "cannot open '%s': %m", "/j");
	error_hint(&e, "check the owner");
	error_hint(&e, "check %s", "journal.dir");
	assert_int_equal(error_wrap(&e, -EACCES, "cannot start the %s", "uplink"), -EACCES);
	assert_string_equal(e.text, "cannot start the uplink: cannot open '/j': Permission denied");
	assert_string_equal(e.hint, "check journal.dir");
}

static void wrap_does_not_escape_twice(void **state)
{
	struct error e;

	(void)state;
	(void)error_set(&e, -EIO, "a\nb");
	(void)error_wrap(&e, -EIO, "p");
	assert_string_equal(e.text, "p: a\\x0ab");
}

static void wrap_of_long_text_is_cut(void **state)
{
	char text[ERROR_TEXT_MAX] = "";
	struct error e;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	(void)error_set(&e, -EIO, "%s", text);
	(void)error_wrap(&e, -EIO, "prefix");
	assert_memory_equal(e.text, "prefix: aaa", 11);
	assert_string_equal(e.text + strlen(e.text) - 3, "...");
}

static void format_joins_hint(void **state)
{
	struct error e;
	char buf[32];

	(void)state;
	(void)error_set(&e, -EIO, "text");
	assert_string_equal(error_format(&e, buf, sizeof(buf)), "text");
	error_hint(&e, "do this");
	assert_string_equal(error_format(&e, buf, sizeof(buf)), "text; do this");
	assert_string_equal(error_format(&e, buf, 9), "text;...");
	assert_string_equal(error_format(&e, buf, 3), "..");
	assert_string_equal(error_format(&e, buf, 1), "");
}

int main(void)
{
	struct tests t = { 0 };

	ADD_TEST(&t, null_is_accepted_everywhere);
	ADD_ROWS(&t, set_says, set_rows);
	ADD_ROWS(&t, long_text_ends_in_dots, long_rows);
	ADD_TEST(&t, text_that_just_fits_is_not_cut);
	ADD_TEST(&t, set_replaces_all);
	ADD_TEST(&t, wrap_puts_before_and_keeps_hint);
	ADD_TEST(&t, wrap_does_not_escape_twice);
	ADD_TEST(&t, wrap_of_long_text_is_cut);
	ADD_TEST(&t, format_joins_hint);
	return tests_run(&t, "error");
}
