/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_shared.h"

#include <string.h>

#include "agent/acquire/pagemap.h"

#define PROBES_MAX 32

struct page {
	uint64_t frame, inode, offset, device; /* frame 0: none */
	uint64_t at;
};

struct core_shared {
	size_t mask;
	struct page pages[];
};

struct core_shared *core_shared_new(uint64_t pages)
{
	size_t n = 64;

	while (n < 2 * pages)
		n *= 2;
	struct core_shared *s = calloc(1, sizeof(*s) + n * sizeof(s->pages[0]));

	if (s == NULL)
		return NULL;
	s->mask = n - 1;
	/* Touched now, not while something is held. */
	for (size_t i = 0; i < n; i++)
		*(volatile uint64_t *)&s->pages[i].frame = 0;
	return s;
}

void core_shared_free(struct core_shared *s)
{
	free(s);
}

static struct page key_of(uint64_t entry, const struct core_map *map, uint64_t into_map)
{
	return (struct page){ .frame = entry & PAGEMAP_PRESENT ? entry & PAGEMAP_FRAME : 0,
			      .inode = map->inode,
			      .offset = map->offset + into_map,
			      .device = (uint64_t)map->major << 32 | map->minor };
}

static bool same(const struct page *a, const struct page *b)
{
	return a->frame == b->frame && a->inode == b->inode && a->offset == b->offset &&
	       a->device == b->device;
}

static size_t place(const struct core_shared *s, const struct page *key)
{
	return (size_t)(key->frame * 0x9e3779b97f4a7c15ULL >> 20) & s->mask;
}

void core_shared_put(struct core_shared *s, uint64_t entry, const struct core_map *map,
		     uint64_t into_map, uint64_t at)
{
	struct page key = key_of(entry, map, into_map);
	size_t i = place(s, &key);

	if (key.frame == 0)
		return;
	key.at = at;
	for (int probe = 0; probe < PROBES_MAX; probe++, i = (i + 1) & s->mask) {
		if (s->pages[i].frame != 0)
			continue;
		s->pages[i] = key;
		return;
	}
}

uint64_t core_shared_get(const struct core_shared *s, uint64_t entry, const struct core_map *map,
			 uint64_t into_map)
{
	struct page key = key_of(entry, map, into_map);
	size_t i = place(s, &key);

	if (key.frame == 0)
		return UINT64_MAX;
	for (int probe = 0; probe < PROBES_MAX && s->pages[i].frame != 0;
	     probe++, i = (i + 1) & s->mask)
		if (same(&s->pages[i], &key))
			return s->pages[i].at;
	return UINT64_MAX;
}
