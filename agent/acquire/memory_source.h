/* SPDX-License-Identifier: Apache-2.0 */
/* Where an acquirer of physical memory gets the bytes from. Sources are tried in the order of the table in
 * memory_source.c; the first that opens serves the whole acquisition. */
#ifndef ACQUIRE_MEMORY_SOURCE_H
#define ACQUIRE_MEMORY_SOURCE_H

#include "agent/acquire/acquire.h"
#include "agent/acquire/memory_map.h"

#define MEMORY_PAGE 4096U

struct memory_source;

struct memory_source_ops {
	const char *name; /* "kcore", "bpf" */
	/* ret: malloc'ed context. An error says why this host has no such source. */
	int (*open)(const struct acquire_request *r, void **ret, struct error *e);
	/* Up to len bytes at phys. Returns how many, > 0; or -EIO: the page at phys cannot be read. */
	int64_t (*read)(void *ctx, uint64_t phys, void *buf, size_t len);
	/* The next address at or above phys that can be asked for, and the last one after it without a hole.
	 * false: none. */
	bool (*next)(void *ctx, uint64_t phys, uint64_t *ret_first, uint64_t *ret_last);
	/* VMCOREINFO, borrowed; NULL: this source does not know it. */
	const char *(*note)(void *ctx, size_t *ret_len);
	uint64_t (*direct_map)(void *ctx);
	void (*close)(void *ctx);
};

extern const struct memory_source_ops memory_kcore_ops;
extern const struct memory_source_ops memory_bpf_ops;

/* NULL past the end. */
const struct memory_source_ops *memory_source_at(size_t i);
/* The bracketed word of /sys/kernel/security/lockdown; "" where there is none. buf: 32 bytes. */
const char *memory_lockdown(const struct acquire_request *r, char buf[static 32]);

#endif
