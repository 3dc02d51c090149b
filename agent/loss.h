/* SPDX-License-Identifier: Apache-2.0 */
/* Loss, from the numbers that each CPU gives its records before it reserves space: a hole is a
 * loss, and is known exactly. Programs interleave on a CPU, so a record may overtake another: a
 * hole is certain only when LOSS_WINDOW later numbers have been seen, or when the ring was read
 * empty after the kernel had given the number (loss_settle). Which classes lost is in the kernel's
 * counters (loss_shares). Pure; one owner. */
#ifndef AGENT_LOSS_H
#define AGENT_LOSS_H

#include "agent/counters.h"
#include "proto/base/base.h"

#define LOSS_WINDOW 64

struct loss;

struct loss_hole {
	uint32_t cpu;
	uint64_t count; /* records */
	uint64_t from_ns, to_ns; /* boottime of the last record before and the first after */
};

/* One per ring. start_ns: boottime when the programs were attached: numbers begin at 1 then. NULL:
 * out of memory. */
struct loss *loss_new(size_t n_cpu, uint64_t start_ns);
void loss_free(struct loss *l); /* NULL allowed */
static inline void loss_free_ptr(struct loss **l)
{
	loss_free(*l);
}
/* A record arrived. True: records before it are lost for certain, *ret says which (several holes
 * that become certain at once are one, from the first to the last). A CPU that cannot be is
 * ignored. */
bool loss_feed(struct loss *l, uint32_t cpu, uint64_t seq, uint64_t boottime_ns,
	       struct loss_hole *ret);
/* Everything up to seq on that CPU was in the ring or lost, and the ring has been read empty since.
 * Take what counters_numbers said one drain earlier: a program that is interrupted between
 * numbering and sending would else be taken for lost. */
bool loss_settle(struct loss *l, uint32_t cpu, uint64_t seq, uint64_t now_ns,
		 struct loss_hole *ret);
/* Records that came twice or after they had been given up: more than a few hint at tampering. */
uint64_t loss_late(const struct loss *l);

struct loss_share {
	uint32_t class; /* enum rec_class */
	uint32_t where; /* GAP_RING; GAP_SCRATCH: no buffer, skipped run; GAP_TABLE: UDP flows */
	uint64_t count;
};

#define LOSS_SHARES_MAX (2 * REC_CLASSES)

/* What the kernel says was lost between two readings, in ret (LOSS_SHARES_MAX); returns how many
 * rows. */
size_t loss_shares(const struct counters *before, const struct counters *after,
		   struct loss_share *ret);
/* Of the holes' records (holes: their sum between the readings) those that no class lost: records
 * that somebody took out of the ring. 0: all is explained. */
uint64_t loss_unexplained(const struct counters *before, const struct counters *after,
			  uint64_t holes);

#endif
