/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/reader.h"

#include <string.h>

#define VARINT_BYTES_MAX 10

struct reader reader_init(const void *data, size_t len)
{
	/* Never NULL, so that reader_bytes(r, 0) is not. */
	static const uint8_t nothing[1];

	return (struct reader){ .at = data ? data : nothing,
				.left = data ? len : 0,
				.bad = !data && len > 0 };
}

const uint8_t *reader_bytes(struct reader *r, size_t len)
{
	const uint8_t *p = r->at;

	if (r->bad || len > r->left) {
		r->bad = true;
		r->left = 0;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return p;
}

static uint64_t read_le(struct reader *r, size_t len)
{
	const uint8_t *p = reader_bytes(r, len);
	uint64_t v = 0;

	if (!p)
		return 0;
	for (size_t i = len; i > 0; i--)
		v = v << 8 | p[i - 1];
	return v;
}

uint8_t reader_u8(struct reader *r)
{
	return (uint8_t)read_le(r, 1);
}

uint16_t reader_u16(struct reader *r)
{
	return (uint16_t)read_le(r, 2);
}

uint32_t reader_u32(struct reader *r)
{
	return (uint32_t)read_le(r, 4);
}

uint64_t reader_u64(struct reader *r)
{
	return read_le(r, 8);
}

uint64_t reader_varint_long(struct reader *r)
{
	size_t n = r->left < VARINT_BYTES_MAX ? r->left : VARINT_BYTES_MAX;
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t b = r->at[i];

		/* The tenth byte has room for bit 63 alone. */
		if (i == VARINT_BYTES_MAX - 1 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << (7 * i);
		if (!(b & 0x80)) {
			r->at += i + 1;
			r->left -= i + 1;
			return v;
		}
	}
	r->bad = true;
	r->left = 0;
	return 0;
}

void reader_copy(struct reader *r, void *out, size_t len)
{
	const uint8_t *p = reader_bytes(r, len);

	if (len == 0)
		return;
	if (p)
		memcpy(out, p, len);
	else
		memset(out, 0, len);
}

void reader_skip(struct reader *r, size_t len)
{
	(void)reader_bytes(r, len);
}

struct reader reader_sub(struct reader *r, size_t len)
{
	const uint8_t *p = reader_bytes(r, len);
	struct reader sub = reader_init(p, p ? len : 0);

	sub.bad = !p;
	return sub;
}

bool reader_done(const struct reader *r)
{
	return !r->bad && r->left == 0;
}
