/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel says of each page (/proc/kpageflags: a u64 of bits for each frame, numbered in
 * Documentation/admin-guide/mm/pagemap.rst), as the side table memory.pageflags.bin: the u64s of one chunk after
 * those of the one before, little endian, as they were read just before the chunk's bytes. */
#ifndef ACQUIRE_MEMORY_FLAGS_H
#define ACQUIRE_MEMORY_FLAGS_H

#include "agent/acquire/output.h"

struct memory_flags;

/* proc: as in acquire_request. A host that does not let them be read is no error: memory_flags_known is false then,
 * and there is no table. */
MUST_CHECK int memory_flags_open(const char *proc, struct memory_flags **ret, struct error *e);
void memory_flags_free(struct memory_flags *f); /* NULL allowed */
bool memory_flags_known(const struct memory_flags *f);

/* The table begins, and ends. */
MUST_CHECK int memory_flags_begin(struct memory_flags *f, struct output *o, struct error *e);
MUST_CHECK int memory_flags_end(struct memory_flags *f, struct output *o, struct error *e);

/* Of the pages that hold first..last, at most one chunk (OUTPUT_CHUNK_BYTES) of bytes. Pages that the kernel says
 * nothing of, and all behind the first such, are not known. */
void memory_flags_read(struct memory_flags *f, uint64_t first, uint64_t last);
/* Why there is nothing to read in the page that holds phys, which was among those read: the kernel gives zeros for
 * it. NULL: it may be read, or nothing is known of it. */
const char *memory_flags_empty(const struct memory_flags *f, uint64_t phys);
/* Those of first..last, which begin as those read did, and how many bytes they are: for the table. Borrowed until
 * the next read. */
const uint8_t *memory_flags_raw(struct memory_flags *f, uint64_t last, size_t *ret_len);
/* The table's item; 0: none. */
uint32_t memory_flags_item(const struct memory_flags *f);

#endif
