/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/filter_value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"

#define SHORT_MAX 64 /* of numbers, times and addresses as text */

/* The value as a C string; false when it is too long for anything but text, or holds a NUL. */
static bool as_string(const struct filter_value *v, char buf[static SHORT_MAX])
{
	if (v->text_len >= SHORT_MAX || (v->text_len && memchr(v->text, '\0', v->text_len)))
		return false;
	if (v->text_len)
		memcpy(buf, v->text, v->text_len);
	buf[v->text_len] = '\0';
	return true;
}

static bool parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return false;
	}
	*ret = n;
	return n <= max;
}

/* ADDRESS or, for FILTER_OP_CIDR, ADDRESS/BITS. IPv4-mapped IPv6 is IPv4, as in events. */
static bool parse_ip(struct filter_value *v, char *text)
{
	char *slash = v->op == FILTER_OP_CIDR ? strchr(text, '/') : NULL;
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint64_t bits;

	if (slash)
		*slash = '\0';
	if (inet_pton(AF_INET, text, v->ip) == 1)
		v->ip_len = 4;
	else if (inet_pton(AF_INET6, text, v->ip) == 1)
		v->ip_len = 16;
	else
		return false;
	bits = v->ip_len * 8u;
	if (slash && !parse_u64(slash + 1, v->ip_len * 8u, &bits))
		return false;
	if (v->ip_len == 16 && memcmp(v->ip, mapped, 12) == 0 && bits >= 96) {
		memmove(v->ip, v->ip + 12, 4);
		v->ip_len = 4;
		bits -= 96;
	}
	v->ip_bits = (uint8_t)bits;
	return true;
}

static int parse_error(struct error *e, const struct filter_value *v, const char *field,
		       const char *want)
{
	int len = (int)(v->text_len < SHORT_MAX ? v->text_len : SHORT_MAX);

	(void)error_set(e, -EINVAL, "'%.*s' is not a value for %s", len,
			v->text ? (const char *)v->text : "", field);
	error_hint(e, "give %s", want);
	return -EINVAL;
}

static bool is_text(enum value_type type)
{
	return type == VALUE_TEXT || type == VALUE_TEXTS;
}

static int check_op(const struct filter_value *v, enum value_type type, const char *field,
		    struct error *e)
{
	bool fits = v->op == FILTER_OP_EQUALS ||
		    (v->op == FILTER_OP_CIDR ? type == VALUE_IP : is_text(type));

	if (fits)
		return 0;
	(void)error_set(e, -EINVAL, "%s cannot be asked in this way", field);
	error_hint(e, v->op == FILTER_OP_CIDR ? "networks are for addresses" :
						"prefixes and substrings are for text");
	return -EINVAL;
}

static bool is_port(const char *field)
{
	size_t n = strlen(field);

	return n >= 5 && strcmp(field + n - 5, ".port") == 0;
}

int filter_value_parse(struct filter_value *v, enum value_type type, const char *field,
		       struct error *e)
{
	char text[SHORT_MAX] = "";
	int r = check_op(v, type, field, e);
	bool fits;

	if (r < 0 || is_text(type))
		return r;
	fits = as_string(v, text);
	switch (type) {
	case VALUE_NUMBER:
		if (!fits || !parse_u64(text, UINT64_MAX, &v->number))
			return parse_error(e, v, field, "a decimal number");
		if (v->number > UINT16_MAX && is_port(field))
			return parse_error(e, v, field, "a port up to 65535");
		return 0;
	case VALUE_IP:
		if (!fits || !parse_ip(v, text))
			return parse_error(
				e, v, field,
				"an address such as 10.0.0.1, or a network such as 10.0.0.0/8");
		return 0;
	case VALUE_TIME:
		if (!fits || clock_parse(text, 0, &v->time_ns) < 0)
			return parse_error(e, v, field, "a time such as 2026-11-24T14:00:00Z");
		return 0;
	case VALUE_BOOL:
		v->truth = strcmp(text, "true") == 0;
		if (!fits || (!v->truth && strcmp(text, "false") != 0))
			return parse_error(e, v, field, "true or false");
		return 0;
	case VALUE_TEXT:
	case VALUE_TEXTS:
		return 0;
	}
	return 0;
}

static bool match_text(const struct filter_value *v, ProtobufCBinaryData row)
{
	if (v->text_len == 0)
		return v->op != FILTER_OP_EQUALS || row.len == 0;
	if (row.len < v->text_len)
		return false;
	switch (v->op) {
	case FILTER_OP_EQUALS:
		return row.len == v->text_len && memcmp(row.data, v->text, row.len) == 0;
	case FILTER_OP_PREFIX:
		return memcmp(row.data, v->text, v->text_len) == 0;
	case FILTER_OP_CONTAINS:
		return memmem(row.data, row.len, v->text, v->text_len) != NULL;
	case FILTER_OP_CIDR:
		return false;
	}
	return false;
}

static bool match_ip(const struct filter_value *v, ProtobufCBinaryData row)
{
	size_t whole = v->ip_bits / 8u, rest = v->ip_bits % 8u;

	if (row.len != v->ip_len || memcmp(row.data, v->ip, whole) != 0)
		return false;
	return rest == 0 || ((row.data[whole] ^ v->ip[whole]) >> (8 - rest)) == 0;
}

bool filter_value_match(const struct filter_value *v, enum value_type type, const struct value *row)
{
	switch (type) {
	case VALUE_TEXT:
		return match_text(v, row->u.text);
	case VALUE_TEXTS:
		for (size_t i = 0; i < row->u.texts.n; i++)
			if (match_text(v, row->u.texts.items[i]))
				return true;
		return false;
	case VALUE_NUMBER:
		return row->u.number == v->number;
	case VALUE_IP:
		return match_ip(v, row->u.ip);
	case VALUE_TIME:
		return row->u.time_ns == v->time_ns;
	case VALUE_BOOL:
		return row->u.truth == v->truth;
	}
	return false;
}
