/* SPDX-License-Identifier: Apache-2.0 */
/* A bump allocator with a maximum, reset as a whole; poisoned under ASan between uses.
 * One owner, no locks. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "proto/base/base.h"

struct arena;
struct ProtobufCAllocator;

/* max: bytes that it may ever hold; chunks are taken from malloc as needed and kept on reset
 * (up to keep bytes). NULL: out of memory. */
struct arena *arena_new(size_t max, size_t keep);
void arena_free(struct arena *a); /* NULL allowed */
static inline void arena_free_ptr(struct arena **a)
{
	arena_free(*a);
}
/* 16-byte aligned, not zeroed; NULL when max is reached or malloc fails. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
void *arena_copy(struct arena *a, const void *data, size_t len);
/* Everything allocated since new or the last reset is gone. */
void arena_reset(struct arena *a);
size_t arena_used(const struct arena *a); /* bytes since the last reset */
/* An allocator for protobuf-c that draws from the arena (free does nothing). Lives as long as a. */
struct ProtobufCAllocator *arena_protobuf(struct arena *a);

#endif
