/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/base/arena.h"

#include <protobuf-c/protobuf-c.h>
#include <string.h>

/* Without ASan nothing happens; with it, memory that was not handed out since the last reset is
 * poisoned, and so is a gap behind each piece. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define RED_ZONE 16u
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define RED_ZONE 0u
#endif

#define ALIGN 16u
#define CHUNK_BYTES (64u << 10)

struct chunk {
	struct chunk *next;
	size_t size; /* bytes of data */
	_Alignas(ALIGN) uint8_t data[];
};

struct arena {
	size_t max, keep;
	size_t held; /* bytes of all chunks */
	size_t used; /* bytes handed out since the last reset, rounded up */
	size_t at; /* offset in the first chunk of full */
	struct chunk *full; /* in use, the current one first */
	struct chunk *spare; /* kept by reset */
	ProtobufCAllocator protobuf;
};

static void *protobuf_alloc(void *a, size_t size)
{
	return arena_alloc(a, size);
}

static void protobuf_free(void *a, void *p)
{
	(void)a;
	(void)p;
}

struct arena *arena_new(size_t max, size_t keep)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->max = max;
	a->keep = keep;
	a->protobuf = (ProtobufCAllocator){ protobuf_alloc, protobuf_free, a };
	return a;
}

static void chunk_free(struct arena *a, struct chunk *c)
{
	a->held -= c->size;
	UNPOISON(c->data, c->size);
	free(c);
}

static void free_list(struct arena *a, struct chunk **list)
{
	while (*list) {
		struct chunk *c = *list;

		*list = c->next;
		chunk_free(a, c);
	}
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	free_list(a, &a->full);
	free_list(a, &a->spare);
	free(a);
}

/* A spare chunk of at least size bytes, taken off its list; NULL: none. */
static struct chunk *spare_chunk(struct arena *a, size_t size)
{
	for (struct chunk **p = &a->spare; *p; p = &(*p)->next) {
		struct chunk *c = *p;

		if (c->size < size)
			continue;
		*p = c->next;
		return c;
	}
	return NULL;
}

static struct chunk *new_chunk(struct arena *a, size_t size)
{
	size_t want = size > CHUNK_BYTES ? size : CHUNK_BYTES;
	struct chunk *c;

	/* Near the maximum what is left must do; what is kept but too small gives way. */
	if (want > a->max - a->held)
		free_list(a, &a->spare);
	if (want > a->max - a->held)
		want = a->max - a->held;
	if (want < size)
		return NULL;
	c = malloc(sizeof(*c) + want);
	if (!c)
		return NULL;
	c->size = want;
	a->held += want;
	POISON(c->data, c->size);
	return c;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct chunk *c = a->full;
	size_t need;
	void *p;

	/* One byte at least, so that two pieces never share an address. */
	if (__builtin_add_overflow(size ? size : 1, (size_t)RED_ZONE + ALIGN - 1, &need) ||
	    need > a->max + 2 * ALIGN)
		return NULL;
	need &= ~(size_t)(ALIGN - 1);
	if (!c || need > c->size - a->at) {
		c = spare_chunk(a, need);
		if (!c)
			c = new_chunk(a, need);
		if (!c)
			return NULL;
		c->next = a->full;
		a->full = c;
		a->at = 0;
	}
	p = c->data + a->at;
	a->at += need;
	a->used += need;
	UNPOISON(p, size);
	return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	void *p = arena_alloc(a, size);

	return p ? memset(p, 0, size) : NULL;
}

void *arena_copy(struct arena *a, const void *data, size_t len)
{
	void *p = arena_alloc(a, len);

	if (p && len > 0)
		memcpy(p, data, len);
	return p;
}

void arena_reset(struct arena *a)
{
	while (a->full) {
		struct chunk *c = a->full;

		a->full = c->next;
		if (a->held > a->keep) {
			chunk_free(a, c);
			continue;
		}
		POISON(c->data, c->size);
		c->next = a->spare;
		a->spare = c;
	}
	a->at = 0;
	a->used = 0;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}

struct ProtobufCAllocator *arena_protobuf(struct arena *a)
{
	return &a->protobuf;
}
