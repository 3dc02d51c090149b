/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/base64.h"

#include <errno.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t base64_encode(const void *data, size_t len, char *out)
{
	const uint8_t *in = data;
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		size_t have = len - i < 3 ? len - i : 3;
		uint32_t bits = (uint32_t)in[i] << 16;

		if (have > 1)
			bits |= (uint32_t)in[i + 1] << 8;
		if (have > 2)
			bits |= in[i + 2];
		out[n++] = digits[bits >> 18];
		out[n++] = digits[bits >> 12 & 63];
		out[n++] = have > 1 ? digits[bits >> 6 & 63] : '=';
		out[n++] = have > 2 ? digits[bits & 63] : '=';
	}
	out[n] = '\0';
	return n;
}

static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Four characters, pad of them '='. */
static int take_group(const char *at, size_t pad, uint32_t *ret_bits)
{
	uint32_t bits = 0;

	for (size_t k = 0; k < 4; k++) {
		int v = k < 4 - pad ? value_of(at[k]) : 0;

		if (v < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)v;
	}
	/* Bits that no byte takes are zero in the one spelling. */
	if (bits & ((1U << 8 * pad) - 1))
		return -EINVAL;
	*ret_bits = bits;
	return 0;
}

int base64_decode(const char *text, size_t len, uint8_t *out, size_t max, size_t *ret_len)
{
	size_t n = 0;

	if (len % 4)
		return -EINVAL;
	for (size_t i = 0; i < len; i += 4) {
		bool last = i + 4 == len;
		size_t pad = last && text[i + 3] == '=' ? 1 + (size_t)(text[i + 2] == '=') : 0;
		uint32_t bits;
		int r = take_group(text + i, pad, &bits);

		if (r < 0)
			return r;
		if (n + 3 - pad > max)
			return -E2BIG;
		for (size_t k = 0; k < 3 - pad; k++)
			out[n++] = (uint8_t)(bits >> (16 - 8 * k));
	}
	*ret_len = n;
	return 0;
}
