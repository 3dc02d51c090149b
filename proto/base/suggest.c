/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/suggest.h"

#include <string.h>

#define WORD_MAX 64
#define DISTANCE_MAX 3

static size_t min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Levenshtein with one row. Both words are at most WORD_MAX long. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t row[WORD_MAX + 1];

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t replaced = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = min_of(replaced, min_of(row[j], row[j - 1]) + 1);
		}
	}
	return row[b_len];
}

void suggest(struct suggestion *s, const char *typed, size_t len, const char *word)
{
	size_t word_len = strlen(word);
	size_t limit = min_of(DISTANCE_MAX, word_len / 2), d;

	if (len > WORD_MAX || word_len > WORD_MAX)
		return;
	d = distance(typed, len, word, word_len);
	if (d > limit || (s->word && d >= s->distance))
		return;
	*s = (struct suggestion){ .word = word, .distance = d };
}
