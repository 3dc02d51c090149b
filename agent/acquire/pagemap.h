/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/PID/pagemap says of pages (Documentation/admin-guide/mm/pagemap.rst). Asked before anything is read,
 * so that reading a process neither allocates memory for it nor loads from its disk. */
#ifndef ACQUIRE_PAGEMAP_H
#define ACQUIRE_PAGEMAP_H

#include "agent/acquire/core_maps.h"

#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_SWAPPED (1ULL << 62)
#define PAGEMAP_SHARED (1ULL << 61) /* of a file or of shared memory */
#define PAGEMAP_GUARD (1ULL << 58)
#define PAGEMAP_SOFT_DIRTY (1ULL << 55)
#define PAGEMAP_FRAME ((1ULL << 55) - 1)

enum page_kind {
	PAGE_READ, /* has content of its own */
	PAGE_UNTOUCHED, /* anonymous, reads as zeros */
	PAGE_NOT_RESIDENT, /* of a file or of shared memory, not mapped in by this process */
	PAGE_GUARD,
};

/* Pure. */
enum page_kind pagemap_kind(uint64_t entry, const struct core_map *map);
/* How many of the n entries, from the first on, are of the first one's kind. */
size_t pagemap_run(const uint64_t *entries, size_t n, const struct core_map *map,
		   enum page_kind *ret_kind);

/* Entries of n pages from page number first on. Returns how many were read; the rest, above what the kernel
 * maps, are zeros. */
size_t pagemap_read(int fd, uint64_t first, uint64_t *entries, size_t n);
/* The first address from start on, below end, whose page is present or swapped, where the kernel can tell
 * (PAGEMAP_SCAN, Linux 6.7), else start; end: none. Addresses are of whole pages. */
uint64_t pagemap_skip(int fd, uint64_t start, uint64_t end);
/* Whether this kernel keeps soft-dirty bits (CONFIG_MEM_SOFT_DIRTY), tried on a page of our own. */
bool pagemap_has_soft_dirty(void);

#endif
