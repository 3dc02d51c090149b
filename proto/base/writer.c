/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/writer.h"

#include <string.h>

struct writer writer_init(void *buf, size_t size)
{
	return (struct writer){ .at = buf, .left = buf ? size : 0 };
}

/* Room for len bytes, or NULL and bad. */
static uint8_t *take(struct writer *w, size_t len)
{
	uint8_t *p = w->at;

	if (w->bad || len > w->left) {
		w->bad = true;
		w->left = 0;
		return NULL;
	}
	if (len > 0)
		w->at += len;
	w->left -= len;
	w->done += len;
	return p;
}

static void write_le(struct writer *w, uint64_t v, size_t len)
{
	uint8_t *p = take(w, len);

	for (size_t i = 0; p && i < len; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

void writer_u8(struct writer *w, uint8_t v)
{
	write_le(w, v, 1);
}

void writer_u16(struct writer *w, uint16_t v)
{
	write_le(w, v, 2);
}

void writer_u32(struct writer *w, uint32_t v)
{
	write_le(w, v, 4);
}

void writer_u64(struct writer *w, uint64_t v)
{
	write_le(w, v, 8);
}

void writer_varint(struct writer *w, uint64_t v)
{
	uint8_t buf[10];
	size_t n = 0;

	while (v >= 0x80) {
		buf[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	buf[n++] = (uint8_t)v;
	writer_bytes(w, buf, n);
}

void writer_bytes(struct writer *w, const void *data, size_t len)
{
	uint8_t *p = take(w, len);

	if (p && len > 0)
		memcpy(p, data, len);
}

void writer_zero(struct writer *w, size_t len)
{
	uint8_t *p = take(w, len);

	if (p && len > 0)
		memset(p, 0, len);
}
