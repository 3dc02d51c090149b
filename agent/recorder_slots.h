/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the flight recorder while the kernel goes on writing it (bpf/recorder.bpf.c). Every number from the first
 * that is asked for comes out once: as a packet, or counted as lapped. One thread; memory is only read. */
#ifndef AGENT_RECORDER_SLOTS_H
#define AGENT_RECORDER_SLOTS_H

#include "bpf/packets.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

#define RECORDER_SNAP_MAX 1600
#define RECORDER_STUCK_NS                                                                          \
	NSEC_PER_SEC /* a slot that is being written for longer counts as lapped */

struct recorder_slots {
	const uint64_t *head; /* numbers taken so far */
	const uint8_t *base;
	uint32_t slots, slot_bytes, snap;
	uint64_t next; /* the number before the one that comes next */
	uint64_t lapped;
	uint64_t busy_since_ns; /* 0: the next slot is not being written */
};

/* One packet as it was recorded; head.caplen bytes of data count. */
struct recorder_packet {
	struct packets_head head;
	uint8_t data[RECORDER_SNAP_MAX];
};

/* state: what its writer says of itself. -EBADMSG: no recorder as we know them. */
MUST_CHECK int recorder_slots_init(const struct packets_recorder *state, const uint64_t *head,
				   const uint8_t *base, struct recorder_slots *ret,
				   struct error *e);
/* From the oldest that will not be overwritten before it is read. */
void recorder_slots_oldest(struct recorder_slots *s);
/* 1: the next packet; 0: there is none yet. */
int recorder_slots_next(struct recorder_slots *s, uint64_t now_ns, struct recorder_packet *ret);
/* Boottime of the oldest packet that is there; 0: none. Does not move. */
uint64_t recorder_slots_since(const struct recorder_slots *s);

#endif
