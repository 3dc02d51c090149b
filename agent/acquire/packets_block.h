/* SPDX-License-Identifier: Apache-2.0 */
/* A block of a packet socket's ring (TPACKET_V3, linux/if_packet.h) as packets. Pure: bytes that the kernel wrote and that
 * are believed only within the block. */
#ifndef ACQUIRE_PACKETS_BLOCK_H
#define ACQUIRE_PACKETS_BLOCK_H

#include "agent/acquire/packets_ring.h"

#define PACKETS_COOKED_LEN 16

/* What is the same for all packets of a ring. */
struct packets_block_facts {
	bool cooked; /* the bytes begin behind the link header: one is made */
	uint32_t net_ns;
	int64_t wall_less_boot_ns; /* the kernel's stamps are of the wall clock, ours of the other */
};

struct packets_block {
	struct packets_block_facts facts;
	const uint8_t *at;
	size_t len;
	size_t next; /* of the next packet, from at */
	uint32_t left; /* packets */
	uint8_t *room; /* PACKETS_COOKED_LEN + PACKETS_BYTES_MAX: borrowed */
};

/* One packet: number, cpu and users are not known here. data: head.caplen bytes, when cooked after a header of
 * PACKETS_COOKED_LEN that caplen does not count; valid until the next. */
struct packets_block_packet {
	struct packets_head head;
	const uint8_t *data;
	bool after_loss; /* some before it found no room */
};

/* -EBADMSG: this is no block of packets. */
MUST_CHECK int packets_block_open(struct packets_block *b, struct error *e);
/* 1: a packet; 0: no more; -EBADMSG: what lies there leads out of the block. */
MUST_CHECK int packets_block_next(struct packets_block *b, struct packets_block_packet *ret,
				  struct error *e);

#endif
