/* SPDX-License-Identifier: Apache-2.0 */
/* The mappings of a process: /proc/PID/maps, and of /proc/PID/smaps which of them are device memory. Formats:
 * proc(5). Pure but for core_maps_read. */
#ifndef ACQUIRE_CORE_MAPS_H
#define ACQUIRE_CORE_MAPS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define CORE_MAPS_TEXT_MAX MiB(64)
#define CORE_MAPS_MAX 262144

struct core_map {
	uint64_t start, end; /* bytes; end is exclusive */
	uint64_t offset; /* in its file */
	uint64_t inode; /* 0: anonymous */
	uint32_t major, minor;
	bool read, write, execute, shared;
	bool vdso; /* the kernel's, the same in all processes, and read whole: debuggers want its symbols */
	bool device; /* memory of a device, which reading may disturb: never read */
	const uint8_t *name; /* as the kernel gives it: with " (deleted)", newlines as \012 */
	size_t name_len;
};

struct core_maps {
	struct core_map *all; /* ascending, without overlap */
	size_t n;
	char *text; /* holds the names */
	size_t text_len;
};

/* text: taken over, also on failure; text_len bytes and a NUL. -EBADMSG: not such a file. */
MUST_CHECK int core_maps_parse(char *text, size_t text_len, struct core_maps *ret, struct error *e);
/* Mark as device what smaps calls "io" or "pf" (VmFlags). A range that smaps knows and maps has not is of no
 * account. */
void core_maps_mark(struct core_maps *m, const char *smaps, size_t len);
void core_maps_release(struct core_maps *m);
/* The same ranges are devices here as there. */
void core_maps_mark_as(struct core_maps *m, const struct core_maps *known);

/* PROC/PID/maps; dir: of PROC/PID. */
MUST_CHECK int core_maps_read(int dir, struct core_maps *ret, struct error *e);

#endif
