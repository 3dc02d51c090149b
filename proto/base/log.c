/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/utf8.h"

/* A line is one write(2); a pipe takes 4096 bytes (PIPE_BUF) without mixing them with others'. */
#define LINE_MAX_BYTES 4096
#define VALUE_MAX_BYTES 1024
#define TAIL_BYTES 32 /* room for the mark of a cut line and its end */

struct line {
	char text[LINE_MAX_BYTES];
	size_t n;
	bool full; /* the last append did not fit and left nothing */
};

/* Set once, before threads. */
static struct {
	const char *name;
	enum log_level min;
	bool json;
} settings = { .name = "", .min = LOG_LEVEL_INFO };

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_ERROR] = "error",
};

void log_init(const char *name, enum log_level min, bool json)
{
	settings.name = name;
	settings.min = min;
	settings.json = json;
}

int log_level_parse(const char *name, enum log_level *ret_level, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (strcmp(level_names[i], name) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	error_set(e, -EINVAL, "log.level '%s' is none", name);
	error_hint(e, "choose debug, info, warn or error");
	return -EINVAL;
}

PRINTF(2, 3) static void append(struct line *l, const char *fmt, ...)
{
	size_t room = sizeof(l->text) - TAIL_BYTES - l->n;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(l->text + l->n, room, fmt, args);
	va_end(args);
	l->full = n < 0 || (size_t)n >= room;
	if (!l->full)
		l->n += (size_t)n;
}

/* Bytes of the character at s that can be shown as it is, 0: none. C1 controls drive some terminals. */
static size_t utf8_len(const uint8_t *s, size_t left)
{
	uint32_t code;
	size_t len = utf8_decode(s, left, &code);

	return len > 1 && code >= 0xa0 ? len : 0;
}

/* One byte that cannot be shown as it is. JSON has no bytes, so it gets U+FFFD for broken UTF-8. */
static void append_escaped(struct line *l, uint8_t c)
{
	if (c == '"' || c == '\\')
		append(l, "\\%c", c);
	else if (c == '\n')
		append(l, "\\n");
	else if (c == '\t')
		append(l, "\\t");
	else if (settings.json)
		append(l, c < 0x80 ? "\\u%04x" : "\\ufffd", c);
	else
		append(l, "\\x%02x", c);
}

static bool is_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* At most VALUE_MAX_BYTES of data, then "..."; no quotes around. */
static void append_value(struct line *l, const uint8_t *data, size_t len)
{
	size_t shown = len > VALUE_MAX_BYTES ? VALUE_MAX_BYTES : len;

	for (size_t i = 0; i < shown && !l->full;) {
		size_t n = is_plain(data[i]) ? 1 : utf8_len(data + i, len - i);

		if (n) {
			append(l, "%.*s", (int)n, (const char *)data + i);
			i += n;
		} else {
			append_escaped(l, data[i++]);
		}
	}
	if (shown < len && !l->full)
		append(l, "...");
}

/* In the text form a value of letters, digits and the like stands without quotes. */
static bool needs_quotes(const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!is_plain(data[i]) || data[i] == ' ' || data[i] == '=')
			return true;
	return len == 0;
}

static void append_string(struct line *l, const void *data, size_t len)
{
	bool quotes = settings.json || needs_quotes(data, len);

	if (quotes)
		append(l, "\"");
	if (!l->full)
		append_value(l, data, len);
	if (quotes && !l->full)
		append(l, "\"");
}

static void append_field_value(struct line *l, const struct kv *f)
{
	const char *str = f->v.str ? f->v.str : "";

	switch (f->type) {
	case KV_TYPE_END:
		break;
	case KV_TYPE_U64:
		append(l, "%" PRIu64, f->v.u64);
		break;
	case KV_TYPE_I64:
		append(l, "%" PRId64, f->v.i64);
		break;
	case KV_TYPE_STR:
		append_string(l, str, strlen(str));
		break;
	case KV_TYPE_BYTES:
		append_string(l, f->v.bytes ? f->v.bytes : "", f->v.bytes ? f->len : 0);
		break;
	}
}

/* All fields that fit whole, then a mark when some did not. */
static void append_fields(struct line *l, const struct kv *fields)
{
	const struct kv *f = fields;
	size_t before = l->n;

	for (; f->type != KV_TYPE_END && !l->full; f++) {
		before = l->n;
		append(l, settings.json ? ",\"%s\":" : " %s=", f->key);
		if (!l->full)
			append_field_value(l, f);
	}
	if (!l->full)
		return;
	l->n = before;
	l->n += (size_t)snprintf(l->text + l->n, TAIL_BYTES,
				 settings.json ? ",\"cut\":true" : " cut=true");
}

static void append_head(struct line *l, enum log_level level, const char *message)
{
	char when[CLOCK_TEXT_MAX];
	int millis = (int)strlen("2026-11-24T14:00:00.123");

	(void)clock_format(clock_wall_ns(), when);
	if (!settings.json) {
		append(l, "%.*sZ %-5s ", millis, when, level_names[level]);
		append_value(l, (const uint8_t *)message, strlen(message));
		return;
	}
	append(l, "{\"@timestamp\":\"%.*sZ\",\"log.level\":\"%s\",\"message\":", millis, when,
	       level_names[level]);
	append_string(l, message, strlen(message));
	if (settings.name[0])
		append(l, ",\"log.logger\":\"%s\"", settings.name);
}

void log_write(enum log_level level, const char *message, const struct kv *fields)
{
	struct line l;
	ssize_t ignored;

	if (level < settings.min)
		return;
	l.n = 0;
	l.full = false;
	append_head(&l, level, message);
	append_fields(&l, fields);
	l.n += (size_t)snprintf(l.text + l.n, sizeof(l.text) - l.n, settings.json ? "}\n" : "\n");
	/* Nobody is left to tell when standard error is gone. */
	ignored = write(STDERR_FILENO, l.text, l.n);
	(void)ignored;
}

void log_failure(enum log_level level, const char *message, const struct error *e)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	log_at(level, message, KV_STR("error", error_format(e, text, sizeof(text))));
}
