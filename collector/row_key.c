/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/row_key.h"

#include <string.h>

#define SIGN_BIT (1ULL << 63)

static void put_be(uint8_t *at, uint64_t v, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

struct row_key row_key_of(int64_t time_ns, uint64_t sequence, uint32_t index,
			  const struct store_ref *ref)
{
	struct row_key k;

	put_be(k.b, (uint64_t)time_ns ^ SIGN_BIT, 8);
	put_be(k.b + 8, (uint32_t)ref->lane, 4);
	put_be(k.b + 12, sequence, 8);
	memcpy(k.b + 20, ref->segment, 16);
	put_be(k.b + 36, ref->offset, 8);
	put_be(k.b + 44, index, 4);
	return k;
}

struct row_key row_key_from(int64_t time_ns)
{
	struct row_key k = { 0 };

	put_be(k.b, (uint64_t)time_ns ^ SIGN_BIT, 8);
	return k;
}

int64_t row_key_time(const struct row_key *k)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 8; i++)
		v = v << 8 | k->b[i];
	return (int64_t)(v ^ SIGN_BIT);
}

int row_key_compare(const struct row_key *a, const struct row_key *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}
