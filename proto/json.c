/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/json.h"

#include <inttypes.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

struct json json_init(FILE *out)
{
	return (struct json){ .out = out };
}

static void put(struct json *j, const char *s, size_t len)
{
	(void)fwrite_unlocked(s, 1, len, j->out);
}

static void put_char(struct json *j, uint32_t code, const uint8_t *at, size_t n)
{
	static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
	char escape[8];

	for (size_t i = 0; code < 0x80 && i + 1 < sizeof(names); i += 2) {
		if ((uint32_t)names[i] == code) {
			(void)putc_unlocked('\\', j->out);
			(void)putc_unlocked(names[i + 1], j->out);
			return;
		}
	}
	/* U+2028 and U+2029 end a line for some readers: a name with one would break a line of JSON in two. */
	if (code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x2028 || code == 0x2029) {
		(void)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned int)code);
		put(j, escape, 6);
		return;
	}
	put(j, (const char *)at, n);
}

static bool plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Returns whether data was valid UTF-8. */
static bool put_string(struct json *j, const uint8_t *data, size_t len)
{
	bool valid = true;

	(void)putc_unlocked('"', j->out);
	for (size_t at = 0, n = 0; at < len; at += n) {
		uint32_t code;

		for (n = 0; at + n < len && plain(data[at + n]); n++)
			;
		if (n) {
			put(j, (const char *)data + at, n);
			continue;
		}
		n = utf8_decode(data + at, len - at, &code);
		if (n == 0) {
			put(j, REPLACEMENT, strlen(REPLACEMENT));
			valid = false;
			n = code;
			continue;
		}
		put_char(j, code, data + at, n);
	}
	(void)putc_unlocked('"', j->out);
	return valid;
}

static void put_base64(struct json *j, const uint8_t *data, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	(void)putc_unlocked('"', j->out);
	for (size_t at = 0; at < len; at += 3) {
		size_t n = len - at < 3 ? len - at : 3;
		uint32_t v = (uint32_t)data[at] << 16;
		char out[4];

		if (n > 1)
			v |= (uint32_t)data[at + 1] << 8;
		if (n > 2)
			v |= data[at + 2];
		out[0] = digits[v >> 18];
		out[1] = digits[v >> 12 & 63];
		out[2] = n > 1 ? digits[v >> 6 & 63] : '=';
		out[3] = n > 2 ? digits[v & 63] : '=';
		put(j, out, sizeof(out));
	}
	(void)putc_unlocked('"', j->out);
}

/* What stands before any value: comma, key. false: nothing may be written. */
static bool begin(struct json *j, const char *key, size_t key_len, const char *suffix)
{
	uint32_t bit = 1u << j->depth;

	if (j->bad)
		return false;
	if (j->filled & bit)
		(void)putc_unlocked(',', j->out);
	if (j->depth)
		j->filled |= bit;
	if (key) {
		(void)putc_unlocked('"', j->out);
		put(j, key, key_len);
		put(j, suffix, strlen(suffix));
		put(j, "\":", 2);
	}
	return true;
}

static bool begin_key(struct json *j, const char *key)
{
	return begin(j, key, key ? strlen(key) : 0, "");
}

void json_open(struct json *j, const char *key, size_t key_len, char bracket)
{
	if (j->depth + 1 >= JSON_DEPTH_MAX)
		j->bad = true;
	if (!begin(j, key, key_len, ""))
		return;
	(void)putc_unlocked(bracket, j->out);
	j->depth++;
	j->filled &= ~(1u << j->depth);
}

void json_close(struct json *j, char bracket)
{
	if (j->depth == 0)
		j->bad = true;
	if (j->bad)
		return;
	j->depth--;
	(void)putc_unlocked(bracket, j->out);
}

void json_u64(struct json *j, const char *key, uint64_t v)
{
	if (begin_key(j, key))
		(void)fprintf(j->out, "%" PRIu64, v);
}

void json_i64(struct json *j, const char *key, int64_t v)
{
	if (begin_key(j, key))
		(void)fprintf(j->out, "%" PRId64, v);
}

void json_bool(struct json *j, const char *key, bool v)
{
	if (begin_key(j, key))
		put(j, v ? "true" : "false", v ? 4 : 5);
}

void json_none(struct json *j, const char *key)
{
	if (begin_key(j, key))
		put(j, "null", 4);
}

void json_text(struct json *j, const char *key, const char *text)
{
	if (begin_key(j, key))
		(void)put_string(j, (const uint8_t *)text, strlen(text));
}

void json_bytes(struct json *j, const char *key, const void *data, size_t len)
{
	if (!begin_key(j, key) || put_string(j, data, len) || !key)
		return;
	if (begin(j, key, strlen(key), "_base64"))
		put_base64(j, data, len);
}

static void put_comma(struct json *j, size_t i)
{
	if (i)
		(void)putc_unlocked(',', j->out);
}

void json_list(struct json *j, const char *key, const struct json_item *items, size_t n)
{
	bool valid = true;

	if (!begin_key(j, key))
		return;
	(void)putc_unlocked('[', j->out);
	for (size_t i = 0; i < n; i++) {
		put_comma(j, i);
		valid &= put_string(j, items[i].data, items[i].len);
	}
	(void)putc_unlocked(']', j->out);
	if (valid || !key || !begin(j, key, strlen(key), "_base64"))
		return;
	(void)putc_unlocked('[', j->out);
	for (size_t i = 0; i < n; i++) {
		put_comma(j, i);
		if (utf8_valid(items[i].data, items[i].len))
			put(j, "null", 4);
		else
			put_base64(j, items[i].data, items[i].len);
	}
	(void)putc_unlocked(']', j->out);
}

void json_time(struct json *j, const char *key, int64_t wall_ns)
{
	char text[CLOCK_TEXT_MAX];

	json_text(j, key, clock_format(wall_ns, text));
}

void json_line(struct json *j)
{
	(void)putc_unlocked('\n', j->out);
}
