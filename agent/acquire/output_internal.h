/* SPDX-License-Identifier: Apache-2.0 */
/* Between output.c, which hashes, cuts and bounds, and the places that things go to. */
#ifndef ACQUIRE_OUTPUT_INTERNAL_H
#define ACQUIRE_OUTPUT_INTERNAL_H

#include "agent/acquire/output.h"

/* One chunk: OUTPUT_CHUNK_BYTES; the last of an item, and what was flushed, perhaps fewer. */
struct output_chunk {
	uint32_t item;
	uint64_t offset; /* in the item */
	const uint8_t *data; /* NULL: zeros */
	uint32_t len;
	struct seal_hash hash; /* when the place wants it */
};

struct output_ending {
	uint32_t item;
	uint64_t bytes;
	struct seal_hash hash;
	const char *status; /* NULL: whole */
};

struct output_fact {
	const char *key;
	const void *data; /* NULL: value counts */
	size_t len;
	uint64_t value;
};

/* A place. All errors are final for the exhibit, but -ECANCELED of ready. */
struct output_place {
	bool wants_hash; /* of each chunk */
	/* May the acquirer go on reading? -ECANCELED: time is up, or it was told to stop. May be NULL. */
	int (*ready)(void *ctx, struct error *e);
	int (*begin)(void *ctx, uint32_t item, const char *name, const char *format,
		     uint64_t expected_bytes, struct error *e);
	int (*chunk)(void *ctx, const struct output_chunk *c, struct error *e);
	int (*end)(void *ctx, const struct output_ending *end, struct error *e);
	int (*note)(void *ctx, const struct output_fact *f, struct error *e);
	int (*warn)(void *ctx, bool lacking, const char *text, struct error *e);
	void (*free)(void *ctx);
};

/* max_bytes: of all items together, 0: no limit. ctx: owned by the output from now on, also on failure. */
MUST_CHECK int output_new(const struct output_place *place, void *ctx, uint64_t max_bytes,
			  struct output **ret, struct error *e);

#endif
