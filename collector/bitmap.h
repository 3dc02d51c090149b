/* SPDX-License-Identifier: Apache-2.0 */
/* A fixed set of small numbers. */
#ifndef COLLECTOR_BITMAP_H
#define COLLECTOR_BITMAP_H

#include "proto/base/base.h"

struct bitmap {
	uint64_t *words;
	size_t n; /* numbers 0..n-1 */
};

/* All clear, or all set. false: out of memory. */
MUST_CHECK bool bitmap_init(struct bitmap *b, size_t n, bool set);
void bitmap_release(struct bitmap *b);
static inline void bitmap_set(struct bitmap *b, size_t i)
{
	b->words[i / 64] |= 1ULL << (i % 64);
}
static inline bool bitmap_get(const struct bitmap *b, size_t i)
{
	return b->words[i / 64] >> (i % 64) & 1;
}
void bitmap_fill(struct bitmap *b);
/* a = a and b; same n. */
void bitmap_and(struct bitmap *a, const struct bitmap *b);
/* The first member at or after i; n when there is none. */
size_t bitmap_next(const struct bitmap *b, size_t i);

#endif
