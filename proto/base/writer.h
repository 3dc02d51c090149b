/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror of reader.h: writes into a caller's buffer, bounded and sticky. Little-endian. */
#ifndef BASE_WRITER_H
#define BASE_WRITER_H

#include "proto/base/base.h"

struct writer {
	uint8_t *at;
	size_t left; /* bytes */
	size_t done; /* bytes written so far */
	bool bad; /* something did not fit; nothing is written after that */
};

struct writer writer_init(void *buf, size_t size);
void writer_u8(struct writer *w, uint8_t v);
void writer_u16(struct writer *w, uint16_t v);
void writer_u32(struct writer *w, uint32_t v);
void writer_u64(struct writer *w, uint64_t v);
void writer_varint(struct writer *w, uint64_t v);
void writer_bytes(struct writer *w, const void *data, size_t len);
/* len zero bytes. */
void writer_zero(struct writer *w, size_t len);

#endif
