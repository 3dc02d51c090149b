/* SPDX-License-Identifier: Apache-2.0 */
/* A cursor over hostile bytes: bounded, sticky. After the first failure every read yields zeros
 * (NULL for pointers) and `bad` stays set; ask once at the end. Integers are little-endian. */
#ifndef BASE_READER_H
#define BASE_READER_H

#include "proto/base/base.h"

struct reader {
	const uint8_t *at;
	size_t left; /* bytes */
	bool bad;
};

/* Borrowed: len bytes at data outlive the reader. data may be NULL when len is 0. */
struct reader reader_init(const void *data, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16(struct reader *r);
uint32_t reader_u32(struct reader *r);
uint64_t reader_u64(struct reader *r);
uint64_t reader_varint_long(struct reader *r); /* any; callers take the next one */
/* Unsigned LEB128 as protobuf writes it, at most 10 bytes; overlong 64-bit overflow is bad. One byte, as nearly all
 * tags are, costs no call: searches read millions. */
static inline uint64_t reader_varint(struct reader *r)
{
	if (r->left == 0 || *r->at & 0x80)
		return reader_varint_long(r);
	r->left--;
	return *r->at++;
}
/* len bytes inside the reader's buffer (borrowed from it), or NULL and bad. len 0 is not NULL. */
const uint8_t *reader_bytes(struct reader *r, size_t len);
/* Copy len bytes to out; zeros on failure. */
void reader_copy(struct reader *r, void *out, size_t len);
void reader_skip(struct reader *r, size_t len);
/* A reader of the next len bytes, which r skips; on failure both are bad. */
struct reader reader_sub(struct reader *r, size_t len);
/* Nothing failed and nothing is left over. */
MUST_CHECK bool reader_done(const struct reader *r);

#endif
