/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed parts of an ELF core file (System V ABI; NT_* notes as Linux' fs/binfmt_elf.c writes them): header,
 * program headers, the section header of more than 65,534 segments, notes. Pure. */
#ifndef ACQUIRE_CORE_ELF_H
#define ACQUIRE_CORE_ELF_H

#include <sys/types.h>

#include "agent/acquire/core_maps.h"
#include "agent/acquire/core_threads.h"

/* Bytes that grow, up to a limit. Sticky: bad after the first failure, and nothing is added. */
struct blob {
	uint8_t *data;
	size_t len, room, max;
	bool bad;
};

void blob_add(struct blob *b, const void *data, size_t len);
void blob_u32(struct blob *b, uint32_t v);
void blob_u64(struct blob *b, uint64_t v);
void blob_release(struct blob *b);

/* One PT_LOAD. Addresses and lengths are of whole pages. */
struct core_segment {
	uint64_t start, bytes;
	bool filled; /* all of it is in the file; else none of it */
	bool read, write, execute;
};

/* What a process is, for its notes. */
struct core_identity {
	pid_t pid, parent, group, session;
	uint32_t uid, gid;
	char state; /* as in /proc/PID/stat */
	int nice;
	char name[16]; /* ended by NUL if shorter */
	char args[80];
};

/* All notes, in the order in which gdb wants them. */
void core_elf_notes(struct blob *b, const struct core_identity *id, const struct core_threads *t,
		    const void *auxv, size_t auxv_len, const struct core_maps *maps,
		    uint64_t page_bytes);
/* Everything in front of the first segment's bytes, padded to a page. notes: complete. Returns its length in
 * *ret_len; -ENOMEM. ret: malloc'ed. */
MUST_CHECK int core_elf_head(const struct core_segment *segments, size_t n,
			     const struct blob *notes, uint64_t page_bytes, uint8_t **ret,
			     size_t *ret_len, struct error *e);

#endif
