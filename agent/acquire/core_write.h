/* SPDX-License-Identifier: Apache-2.0 */
/* A process that was copied, as an ELF core that gdb opens: one PT_LOAD for each stretch of a mapping that is in
 * the file, and one without bytes for each that is not. */
#ifndef ACQUIRE_CORE_WRITE_H
#define ACQUIRE_CORE_WRITE_H

#include "agent/acquire/core_facts.h"

struct core_written {
	uint64_t bytes; /* of memory */
	uint64_t later; /* of them read when the target ran again */
	uint64_t gaps; /* bytes with content that are lacking */
};

/* Pure: which parts of the mappings are in the file. Never-touched memory between two of them is, as the zeros that
 * it reads as. *ret: malloc'ed. */
MUST_CHECK int core_segments(const struct core_maps *maps, const struct core_index *index,
			     struct core_segment **ret, size_t *ret_n, struct error *e);
/* The item core.PID.elf, and lines of f's table of gaps. -ECANCELED: told to stop in the middle; it was ended, and
 * what is lacking told. *ret is added to. */
MUST_CHECK int core_write(const struct acquire_request *r, struct core_facts *f,
			  const struct core_target *t, const struct core_spool *spool,
			  struct core_written *ret, struct error *e);

#endif
