/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that can be lost between a hook and the journal, made into gap events: rings and kernel
 * tables (by the kernel's counters, per class), records that nobody lost and that are missing all the
 * same, records that cannot be decoded, batches that the journal had no room for. Once a second.
 * Belongs to the drain thread. */
#ifndef AGENT_LOSSES_H
#define AGENT_LOSSES_H

#include "agent/lanes.h"
#include "agent/loss.h"

struct losses;

/* All borrowed. start_ns: boottime when the programs were attached. */
MUST_CHECK int losses_new(const struct hooks *h, struct lanes *l, struct sealer *s,
			  uint64_t start_ns, struct losses **ret_l, struct error *e);
void losses_free(struct losses *l); /* NULL allowed */

/* A record was taken from a ring. */
void losses_record(struct losses *l, const struct decoded *d, uint64_t boottime_ns);
/* ... and could not be decoded. */
void losses_undecoded(struct losses *l, const char *why, uint64_t now_ns);
/* UDP flows that user space flushed: counted as seen and sent. */
void losses_swept(struct losses *l, uint64_t n);
/* Events of this class that user space left out, since they are Exhibit's own. */
void losses_filtered(struct losses *l, uint32_t class);

/* Read the kernel's numbers and say what was lost since the last call. drained: both rings were read
 * empty since the last call. Returns whether something was lost. */
bool losses_check(struct losses *l, bool drained, uint64_t now_ns);
/* Counters for each row of c, as of the last check. ret: c->n entries. */
void losses_counters(const struct losses *l, const struct coverage *c, struct encode_counters *ret);

#endif
