/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": how far apart two words are. */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

#include "proto/base/base.h"

/* The best candidate seen so far; start with { 0 }. */
struct suggestion {
	const char *word; /* borrowed; NULL: none is near */
	size_t distance;
};

/* Offer a word for what somebody typed (len bytes): kept when it is nearer than what is held, and within
 * three insertions, deletions or replacements, fewer for short words. */
void suggest(struct suggestion *s, const char *typed, size_t len, const char *word);

#endif
