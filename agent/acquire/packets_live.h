/* SPDX-License-Identifier: Apache-2.0 */
/* A capture in the kernel (bpf/packets.bpf.c): at the root of the cgroups, or on one device. One thread. */
#ifndef ACQUIRE_PACKETS_LIVE_H
#define ACQUIRE_PACKETS_LIVE_H

#include "agent/acquire/packets_ring.h"
#include "agent/acquire/packets_target.h"

#define PACKETS_RING_BYTES MiB(32)

struct packets_live_config {
	const struct packets_target *target; /* borrowed */
	uint32_t copy_bytes; /* of a packet, at most; 0: all */
	uint64_t ring_bytes; /* power of two, pages */
	int users_fd; /* the recorder's map of sockets' users, borrowed; -1: none, make one */
	const uint32_t *skip; /* processes whose packets are left out */
	size_t n_skip;
};

struct packets_live;

/* Loaded, and every socket that exists has its users; not yet capturing. -ENOTSUP: kernel too old, no BTF. */
MUST_CHECK int packets_live_open(const struct packets_live_config *c, struct packets_live **ret,
				 struct error *e);
/* From now on packets come. */
MUST_CHECK int packets_live_start(struct packets_live *l, struct error *e);
/* Where they come; borrowed. */
struct packets_ring *packets_live_ring(struct packets_live *l);
/* No more packets come; what is in the ring is still to be drained. */
void packets_live_stop(struct packets_live *l);
/* A container's cgroups as the target knows them now. */
MUST_CHECK int packets_live_cgroups(struct packets_live *l, struct error *e);
void packets_live_counters(const struct packets_live *l, struct packets_counters *ret);
/* A sentence of what attribution lacks on this kernel, or NULL. */
const char *packets_live_limit(const struct packets_live *l);
void packets_live_close(struct packets_live *l); /* NULL allowed */

#endif
