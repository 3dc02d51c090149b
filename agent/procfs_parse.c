/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "agent/procfs.h"
#include "proto/base/reader.h"

#define STAT_PARENT 4 /* numbers of fields in proc(5), from 1 */
#define STAT_START 22

static bool digit_of(uint8_t c, unsigned int base, unsigned int *ret)
{
	if (c >= '0' && c <= '9')
		*ret = (unsigned int)(c - '0');
	else if (c >= 'a' && c <= 'f')
		*ret = (unsigned int)(c - 'a') + 10;
	else
		return false;
	return *ret < base;
}

/* The number at r, which skips it; r is bad when there is none or it does not fit. */
static uint64_t number(struct reader *r, unsigned int base)
{
	uint64_t value = 0;
	unsigned int digit;
	size_t n = 0;

	for (; r->left && digit_of(r->at[0], base, &digit); n++) {
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			r->bad = true;
		reader_skip(r, 1);
	}
	if (!n)
		r->bad = true;
	return r->bad ? 0 : value;
}

static uint32_t number32(struct reader *r)
{
	uint64_t value = number(r, 10);

	if (value > UINT32_MAX)
		r->bad = true;
	return r->bad ? 0 : (uint32_t)value;
}

static void skip_blanks(struct reader *r)
{
	while (r->left && (r->at[0] == ' ' || r->at[0] == '\t'))
		reader_skip(r, 1);
}

static void skip_word(struct reader *r)
{
	while (r->left && r->at[0] != ' ')
		reader_skip(r, 1);
	skip_blanks(r);
}

/* The name is what lies between the first "(" and the last ")": it may hold either itself. */
bool procfs_parse_stat(struct bytes file, struct procfs_stat *ret)
{
	const uint8_t *open = file.len ? memchr(file.at, '(', file.len) : NULL;
	const uint8_t *close = file.len ? memrchr(file.at, ')', file.len) : NULL;
	struct reader r;

	if (!open || !close || close < open)
		return false;
	ret->name = (struct bytes){ .at = open + 1, .len = (size_t)(close - open) - 1 };
	r = reader_init(close + 1, file.len - (size_t)(close + 1 - file.at));
	skip_blanks(&r);
	for (int field = 3; field < STAT_PARENT; field++)
		skip_word(&r);
	ret->parent_pid = number32(&r);
	skip_blanks(&r);
	for (int field = STAT_PARENT + 1; field < STAT_START; field++)
		skip_word(&r);
	ret->start_ticks = number(&r, 10);
	return !r.bad;
}

/* The second number of a line of ids is the effective one. */
static uint32_t effective(struct reader *r)
{
	skip_blanks(r);
	(void)number32(r);
	skip_blanks(r);
	return number32(r);
}

static bool key_is(struct reader *r, const char *key)
{
	size_t len = strlen(key);

	if (r->left < len || memcmp(r->at, key, len) != 0)
		return false;
	reader_skip(r, len);
	return true;
}

bool procfs_parse_status(struct bytes file, struct procfs_status *ret)
{
	struct reader r = reader_init(file.at, file.len);
	unsigned int seen = 0;

	while (r.left && !r.bad) {
		const uint8_t *end = memchr(r.at, '\n', r.left);
		struct reader line = reader_sub(&r, end ? (size_t)(end - r.at) : r.left);

		reader_skip(&r, end ? 1 : 0);
		if (key_is(&line, "Uid:")) {
			ret->uid = effective(&line);
			seen |= 1;
		} else if (key_is(&line, "Gid:")) {
			ret->gid = effective(&line);
			seen |= 2;
		} else if (key_is(&line, "CapEff:")) {
			skip_blanks(&line);
			ret->cap_effective = number(&line, 16);
			seen |= 4;
		}
		if (line.bad)
			return false;
	}
	return seen == 7;
}

uint32_t procfs_parse_ns(struct bytes link)
{
	const uint8_t *open = link.len ? memchr(link.at, '[', link.len) : NULL;
	struct reader r;
	uint32_t value;

	if (!open)
		return 0;
	r = reader_init(open + 1, link.len - (size_t)(open + 1 - link.at));
	value = number32(&r);
	return reader_u8(&r) == ']' && reader_done(&r) ? value : 0;
}
