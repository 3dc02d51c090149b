/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/writer.h"

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
