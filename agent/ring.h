/* SPDX-License-Identifier: Apache-2.0 */
/* One kernel ring, emptied on a timer: programs never wake the reader (a wake-up costs them more
 * than the record), so polling would sleep for ever. One thread per ring. */
#ifndef AGENT_RING_H
#define AGENT_RING_H

#include "proto/base/base.h"
#include "proto/base/error.h"

struct ring;

/* One record: len bytes, borrowed for the call, 8-byte aligned, not yet checked in any way.
 * Negative: stop draining after this record. */
typedef int (*ring_fn)(void *ctx, const void *record, size_t len);

/* map_fd: borrowed (hooks_map_fd); the kernel keeps the ring alive as long as either lives. */
MUST_CHECK int ring_open(int map_fd, ring_fn fn, void *ctx, struct ring **ret, struct error *e);
void ring_close(struct ring *r); /* NULL allowed */
static inline void ring_close_ptr(struct ring **r)
{
	ring_close(*r);
}
/* Hand over what is there, at most max records (a slice, so that a flood does not keep the thread).
 * Returns how many, or what fn returned. max or more: there may be more. Never blocks. */
MUST_CHECK int ring_drain(struct ring *r, size_t max);

#endif
