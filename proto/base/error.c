/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DOTS "..."

/* Append s to out (terminated, size bytes), control bytes as \xNN so that a file name cannot forge a
 * line or drive a terminal. What does not fit ends in "...". */
static void append_visible(char *out, size_t size, const char *s)
{
	size_t n = strlen(out);
	size_t last = size > sizeof(DOTS) ? size - sizeof(DOTS) : 0; /* where dots still fit */
	size_t cut = n < last ? n : last;

	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = c >= 0x20 && c != 0x7f;
		size_t need = plain ? 1 : 4;

		if (n + need + 1 > size) {
			(void)snprintf(out + cut, size - cut, "%s", DOTS);
			return;
		}
		if (plain)
			out[n] = (char)c;
		else
			(void)snprintf(out + n, 5, "\\x%02x", c);
		n += need;
		out[n] = '\0';
		if (n <= last)
			cut = n;
	}
}

PRINTF(4, 0)
static void append_format(char *out, size_t size, int code, const char *fmt, va_list args)
{
	char raw[ERROR_TEXT_MAX + 1]; /* one more, so that what is cut here is cut visibly below */

	errno = code < 0 ? -code : code;
	(void)vsnprintf(raw, sizeof(raw), fmt, args);
	append_visible(out, size, raw);
}

int error_set(struct error *e, int code, const char *fmt, ...)
{
	va_list args;

	if (!e)
		return code;
	*e = (struct error){ .code = code };
	va_start(args, fmt);
	append_format(e->text, sizeof(e->text), code, fmt, args);
	va_end(args);
	return code;
}

int error_wrap(struct error *e, int code, const char *fmt, ...)
{
	char before[ERROR_TEXT_MAX];
	va_list args;

	if (!e)
		return code;
	memcpy(before, e->text, sizeof(before));
	e->code = code;
	e->text[0] = '\0';
	va_start(args, fmt);
	append_format(e->text, sizeof(e->text), code, fmt, args);
	va_end(args);
	if (before[0]) {
		append_visible(e->text, sizeof(e->text), ": ");
		append_visible(e->text, sizeof(e->text), before);
	}
	return code;
}

void error_hint(struct error *e, const char *fmt, ...)
{
	va_list args;

	if (!e)
		return;
	e->hint[0] = '\0';
	va_start(args, fmt);
	append_format(e->hint, sizeof(e->hint), e->code, fmt, args);
	va_end(args);
}

const char *error_format(const struct error *e, char *buf, size_t size)
{
	if (size == 0)
		return buf;
	buf[0] = '\0';
	if (!e)
		return buf;
	append_visible(buf, size, e->text[0] ? e->text : strerror(-e->code));
	if (e->hint[0]) {
		append_visible(buf, size, "; ");
		append_visible(buf, size, e->hint);
	}
	return buf;
}
