/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of a capture, read in the order of time. All CPUs write into one ring, and a program that was interrupted
 * between its place and its clock has the later time in the earlier place: records stay where they are until nothing
 * older can come, and are then handed over sorted, without being copied. One thread. */
#ifndef ACQUIRE_PACKETS_RING_H
#define ACQUIRE_PACKETS_RING_H

#include "bpf/packets.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

struct packets_ring;

/* The kernel's side: two positions and the data, which lie there twice in a row. */
struct packets_ring_memory {
	uint64_t *consumer;
	const uint64_t *producer;
	const uint8_t *data;
	uint64_t bytes; /* power of two */
};

/* data: h->caplen bytes, in the ring, valid during the call. Negative: ends it, this packet counts as taken. */
typedef int (*packets_take)(void *ctx, const struct packets_head *h, const uint8_t *data,
			    struct error *e);

/* map_fd: borrowed, a ring of so many bytes. */
MUST_CHECK int packets_ring_open(int map_fd, uint64_t bytes, struct packets_ring **ret,
				 struct error *e);
/* The same over memory that is the caller's. */
MUST_CHECK int packets_ring_over(const struct packets_ring_memory *m, struct packets_ring **ret,
				 struct error *e);
void packets_ring_close(struct packets_ring *r); /* NULL allowed */
/* Find what came. ret_bytes: how much lies in the ring. -EBADMSG: what lies there is no packet of ours. */
MUST_CHECK int packets_ring_look(struct packets_ring *r, uint64_t *ret_bytes, struct error *e);
/* Hand over what was found, up to a time (boottime, inclusive); the rest waits. */
MUST_CHECK int packets_ring_drain(struct packets_ring *r, uint64_t until_ns, packets_take take,
				  void *ctx, struct error *e);
/* Only show what waits, in its order. */
MUST_CHECK int packets_ring_each(const struct packets_ring *r, packets_take take, void *ctx,
				 struct error *e);
/* Packets that were handed over after a later one, and by how much at most: what the waiting was too short for. */
uint64_t packets_ring_disorder(const struct packets_ring *r, uint64_t *ret_most_ns);

#endif
