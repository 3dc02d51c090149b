/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/proc_text.h"

#include <string.h>

struct reader proc_line(struct reader *r)
{
	const uint8_t *end = r->left > 0 ? memchr(r->at, '\n', r->left) : NULL;
	struct reader line = reader_sub(r, end != NULL ? (size_t)(end - r->at) : r->left);

	reader_skip(r, end != NULL ? 1 : 0);
	return line;
}

static bool digit_of(uint8_t c, unsigned int base, unsigned int *ret)
{
	if (c >= '0' && c <= '9')
		*ret = (unsigned int)(c - '0');
	else if (c >= 'a' && c <= 'f')
		*ret = (unsigned int)(c - 'a') + 10;
	else if (c >= 'A' && c <= 'F')
		*ret = (unsigned int)(c - 'A') + 10;
	else
		return false;
	return *ret < base;
}

uint64_t proc_number(struct reader *r, unsigned int base)
{
	uint64_t value = 0;
	unsigned int digit;
	size_t n = 0;

	for (; r->left > 0 && digit_of(r->at[0], base, &digit); n++) {
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			r->bad = true;
		reader_skip(r, 1);
	}
	if (n == 0)
		r->bad = true;
	return r->bad ? 0 : value;
}

void proc_expect(struct reader *r, char c)
{
	if (reader_u8(r) != (uint8_t)c)
		r->bad = true;
}

static bool blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

void proc_blanks(struct reader *r)
{
	while (r->left > 0 && blank(r->at[0]))
		reader_skip(r, 1);
}

size_t proc_word(struct reader *r, const uint8_t **ret_at)
{
	size_t len = 0;

	while (len < r->left && !blank(r->at[len]))
		len++;
	*ret_at = reader_bytes(r, len);
	proc_blanks(r);
	return *ret_at != NULL ? len : 0;
}
