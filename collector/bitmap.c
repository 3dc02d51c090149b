/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/bitmap.h"

#include <string.h>

static size_t words_of(size_t n)
{
	return (n + 63) / 64;
}

bool bitmap_init(struct bitmap *b, size_t n, bool set)
{
	b->n = n;
	b->words = calloc(words_of(n) + 1, sizeof(*b->words));
	if (b->words && set)
		bitmap_fill(b);
	return b->words != NULL;
}

void bitmap_release(struct bitmap *b)
{
	free(TAKE(b->words));
}

void bitmap_fill(struct bitmap *b)
{
	memset(b->words, 0xff, words_of(b->n) * sizeof(*b->words));
	if (b->n % 64)
		b->words[b->n / 64] = (1ULL << (b->n % 64)) - 1;
}

void bitmap_and(struct bitmap *a, const struct bitmap *b)
{
	for (size_t i = 0; i < words_of(a->n); i++)
		a->words[i] &= b->words[i];
}

size_t bitmap_next(const struct bitmap *b, size_t i)
{
	while (i < b->n) {
		uint64_t word = b->words[i / 64] >> (i % 64);

		if (word)
			return i + (size_t)__builtin_ctzll(word);
		i = (i / 64 + 1) * 64;
	}
	return b->n;
}
