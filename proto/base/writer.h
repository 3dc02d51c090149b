/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror of reader.h: writes into a caller's buffer, bounded and sticky. Little-endian. Inline: packets are written
 * field by field, and a call for each cost more than the packet. */
#ifndef BASE_WRITER_H
#define BASE_WRITER_H

#include <endian.h>
#include <string.h>

#include "proto/base/base.h"

struct writer {
	uint8_t *at;
	size_t left; /* bytes */
	size_t done; /* bytes written so far */
	bool bad; /* something did not fit; nothing is written after that */
};

static inline struct writer writer_init(void *buf, size_t size)
{
	return (struct writer){ .at = buf, .left = buf ? size : 0 };
}

/* Room for len bytes, or NULL and bad (left is 0 from then on). For the functions below. */
static inline uint8_t *writer_take(struct writer *w, size_t len)
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

static inline void writer_bytes(struct writer *w, const void *data, size_t len)
{
	uint8_t *p = writer_take(w, len);

	if (p && len > 0)
		memcpy(p, data, len);
}

/* len zero bytes. */
static inline void writer_zero(struct writer *w, size_t len)
{
	uint8_t *p = writer_take(w, len);

	if (p && len > 0)
		memset(p, 0, len);
}

static inline void writer_u8(struct writer *w, uint8_t v)
{
	writer_bytes(w, &v, sizeof(v));
}

static inline void writer_u16(struct writer *w, uint16_t v)
{
	v = htole16(v);
	writer_bytes(w, &v, sizeof(v));
}

static inline void writer_u32(struct writer *w, uint32_t v)
{
	v = htole32(v);
	writer_bytes(w, &v, sizeof(v));
}

static inline void writer_u64(struct writer *w, uint64_t v)
{
	v = htole64(v);
	writer_bytes(w, &v, sizeof(v));
}

void writer_varint(struct writer *w, uint64_t v);

#endif
