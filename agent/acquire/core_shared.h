/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages that processes share lie in the spool already. A page is known by its frame together with file and
 * place in it: a frame alone could be another page by now, when the kernel moves pages about, and inode numbers of
 * shared memory alone are not unique. Fixed size; what does not fit is copied again. */
#ifndef ACQUIRE_CORE_SHARED_H
#define ACQUIRE_CORE_SHARED_H

#include "agent/acquire/core_maps.h"

/* pages: that may be put. NULL: out of memory. */
struct core_shared *core_shared_new(uint64_t pages);
void core_shared_free(struct core_shared *s); /* NULL allowed */
/* entry: of the pagemap; into_map: bytes from the mapping's start. */
void core_shared_put(struct core_shared *s, uint64_t entry, const struct core_map *map,
		     uint64_t into_map, uint64_t at);
/* Where it lies; UINT64_MAX: nowhere. */
uint64_t core_shared_get(const struct core_shared *s, uint64_t entry, const struct core_map *map,
			 uint64_t into_map);

#endif
