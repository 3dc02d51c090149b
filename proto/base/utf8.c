/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/utf8.h"

/* Table 3-7: what may follow each first byte. */
static const struct {
	uint8_t first, last, second_min, second_max, more; /* more: bytes after the second */
} forms[] = {
	{ 0xc2, 0xdf, 0x80, 0xbf, 0 }, { 0xe0, 0xe0, 0xa0, 0xbf, 1 }, { 0xe1, 0xec, 0x80, 0xbf, 1 },
	{ 0xed, 0xed, 0x80, 0x9f, 1 }, { 0xee, 0xef, 0x80, 0xbf, 1 }, { 0xf0, 0xf0, 0x90, 0xbf, 2 },
	{ 0xf1, 0xf3, 0x80, 0xbf, 2 }, { 0xf4, 0xf4, 0x80, 0x8f, 2 },
};

size_t utf8_decode(const uint8_t *data, size_t len, uint32_t *ret_code)
{
	uint8_t first = data[0];
	uint32_t code;

	if (first < 0x80) {
		*ret_code = first;
		return 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		size_t want = 2u + forms[i].more;

		if (first < forms[i].first || first > forms[i].last)
			continue;
		*ret_code = 1;
		if (len < 2 || data[1] < forms[i].second_min || data[1] > forms[i].second_max)
			return 0;
		code = (uint32_t)(first & (0x3f >> (want - 1))) << 6 | (data[1] & 0x3fu);
		for (size_t n = 2; n < want; n++) {
			*ret_code = (uint32_t)n;
			if (n >= len || (data[n] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (data[n] & 0x3fu);
		}
		*ret_code = code;
		return want;
	}
	*ret_code = 1;
	return 0;
}

bool utf8_valid(const uint8_t *data, size_t len)
{
	uint32_t code;

	for (size_t at = 0, n; at < len; at += n) {
		n = utf8_decode(data + at, len - at, &code);
		if (n == 0)
			return false;
	}
	return true;
}
