/* SPDX-License-Identifier: Apache-2.0 */
/* Where physical memory is: /proc/iomem says what is RAM, the program headers of /proc/kcore (ELF64 core,
 * fs/proc/kcore.c of the kernel) say where its bytes can be read, its note VMCOREINFO how the kernel was
 * placed. Pure; the bytes come from the kernel and are bounded all the same. */
#ifndef ACQUIRE_MEMORY_MAP_H
#define ACQUIRE_MEMORY_MAP_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define MEMORY_RANGES_MAX 4096
#define MEMORY_IOMEM_MAX MiB(1)
#define MEMORY_HEAD_MAX MiB(1) /* of kcore: its headers and notes */
#define MEMORY_NOTE_MAX KiB(64)

struct memory_range { /* inclusive, as iomem writes them */
	uint64_t first, last;
};

/* System RAM, ascending, not overlapping. ret: malloc'ed. -EPERM: the kernel hid the addresses (zeros);
 * -EBADMSG: malformed or none; -E2BIG. */
MUST_CHECK int memory_ranges_parse(const char *iomem, size_t len, struct memory_range **ret,
				   size_t *ret_n, struct error *e);

struct memory_segment {
	uint64_t first, last; /* physical, inclusive */
	uint64_t offset; /* in kcore */
};

struct memory_kcore {
	struct memory_segment *segments; /* malloc'ed, ascending */
	size_t n;
	uint64_t direct_map; /* virtual address of physical 0 */
	char *note; /* VMCOREINFO as text, malloc'ed, NUL-terminated; NULL: none */
	size_t note_len;
};

/* head: kcore's first bytes (up to MEMORY_HEAD_MAX). -EBADMSG: not such a file, with the reason;
 * -EOPNOTSUPP: physical addresses are not told (kernels before 4.19). */
MUST_CHECK int memory_kcore_parse(const void *head, size_t len, struct memory_kcore *ret,
				  struct error *e);
void memory_kcore_release(struct memory_kcore *k);
/* The segment that holds phys, else the next one above; NULL: none. */
const struct memory_segment *memory_segment_at(const struct memory_kcore *k, uint64_t phys);

/* The text after KEY at the start of a line of VMCOREINFO ("NUMBER(phys_base)="), up to its end. ret_len. NULL:
 * not there. */
const char *memory_note_find(const char *note, size_t len, const char *key, size_t *ret_len);

#endif
