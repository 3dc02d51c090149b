/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's symbols as its /proc/kallsyms told them, and the few facts of VMCOREINFO that place them.
 * Both are hostile bytes. Pure. */
#ifndef COLLECTOR_ISF_SYMBOLS_H
#define COLLECTOR_ISF_SYMBOLS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define ISF_KALLSYMS_MAX MiB(64)
#define ISF_SYMBOLS_MAX (1U << 20)
#define ISF_VMCOREINFO_MAX KiB(64)
#define ISF_TEXT_BASE 0xffffffff80000000ULL /* addresses below are offsets into per-CPU memory */

struct isf_symbol {
	uint64_t address; /* as it was in memory, with the kernel's random offset */
	const char *name; /* printable ASCII that needs no escape in JSON */
	char type; /* as nm's */
};

struct isf_symbols;

/* Lines with a fourth column (modules, BPF) are left out; of equal names the first counts. vmcoreinfo adds the
 * kallsyms_* symbols that kallsyms does not list; it may be empty. -EBADMSG: malformed, with the line;
 * -ENODATA: no addresses (kptr_restrict), with what to do; -ENOMEM. */
MUST_CHECK int isf_symbols_new(const void *kallsyms, size_t len, const void *vmcoreinfo,
			       size_t vmcoreinfo_len, struct isf_symbols **ret, struct error *e);
void isf_symbols_free(struct isf_symbols *s); /* NULL allowed */
static inline void isf_symbols_free_ptr(struct isf_symbols **s)
{
	isf_symbols_free(*s);
}
/* What KASLR added to every address above ISF_TEXT_BASE. */
uint64_t isf_symbols_shift(const struct isf_symbols *s);
/* Ordered by name, each once; NULL past the end. */
const struct isf_symbol *isf_symbols_at(const struct isf_symbols *s, size_t i);
/* NULL: none. */
const struct isf_symbol *isf_symbols_find(const struct isf_symbols *s, const char *name);
/* Bytes from this symbol's address to the next higher one; 0: it is the last. */
uint64_t isf_symbols_room(const struct isf_symbols *s, const struct isf_symbol *symbol);

#endif
