/* SPDX-License-Identifier: Apache-2.0 */
/* Fills the batches of one lane: sequence numbers, which process was already said, counts, bounds.
 * Owned by the lane's drain thread; not thread-safe. It reads no clock.
 *
 * The drain thread, for each event:
 *	index = batch_builder_process(b, &image);
 *	if (!index)
 *		batch_builder_add_process(b, &image, packed, len, &index);
 *	encode the event with sequence batch_builder_next_sequence(b) and process index;
 *	batch_builder_add_event(b, packed, len, &facts);
 * and after each event, and on each tick of its timer:
 *	if (batch_builder_due(b, now))
 *		batch_builder_close(b, &closed), then hands closed to the seal thread.
 * A process and its event must stand in one batch: nothing closes a batch by itself. While the caller
 * closes what is due, a process and an event of BATCH_ENTRY_MAX each always fit. */
#ifndef AGENT_BATCH_BUILDER_H
#define AGENT_BATCH_BUILDER_H

#include "agent/batch.h"
#include "bpf/record.h"

struct batch_builder;

/* max_rings: pairs of ring and CPU that batch_builder_reached will name, at most BATCH_RINGS_MAX.
 * next_sequence: of the next event, from 1 (after a restart in the same boot: the journal's
 * last_sequence + 1). max_age_ns: an event waits at most that long for its batch to be due. */
MUST_CHECK int batch_builder_new(enum batch_lane lane, size_t max_rings, uint64_t next_sequence,
				 uint64_t max_age_ns, struct batch_builder **ret_b,
				 struct error *e);
void batch_builder_free(struct batch_builder *b); /* NULL allowed */

/* The sequence that the next event added must carry in its bytes. */
uint64_t batch_builder_next_sequence(const struct batch_builder *b);
/* Index (from 1) of the process said in this batch; 0: not said yet. */
uint32_t batch_builder_process(const struct batch_builder *b, const struct rec_image *image);

/* Append one packed Entry that describes image. ret_index: what events of this batch name it by;
 * an image said already is added again and gets a new index (it changed).
 * Nothing is added on error. -E2BIG: entry longer than BATCH_ENTRY_MAX; -ENOSPC: the batch is full,
 * close it first; -ENOMEM. */
MUST_CHECK int batch_builder_add_process(struct batch_builder *b, const struct rec_image *image,
					 const void *entry, size_t len, uint32_t *ret_index);

struct batch_event_facts {
	uint32_t class; /* CLASS_* of event.proto */
	bool gap; /* its action is ACTION_GAP; then: */
	uint32_t lost_class; /* CLASS_*, 0: not known */
	bool lost_known; /* lost says how many */
	uint64_t lost, lost_from_ns, lost_to_ns;
	uint64_t boottime_ns; /* of the event */
	uint64_t now_ns; /* boottime; only the first of a batch counts, for its age */
};

/* Append one packed Entry with an event; its sequence is used up. Errors as above (the sequence is
 * not used up then). */
MUST_CHECK int batch_builder_add_event(struct batch_builder *b, const void *entry, size_t len,
				       const struct batch_event_facts *facts);

/* This batch or earlier ones account for everything of this ring and CPU up to sequence (as events,
 * as gaps, or filtered). Lower than before is ignored. -ENOSPC: more than max_rings pairs. */
MUST_CHECK int batch_builder_reached(struct batch_builder *b, uint32_t ring, uint32_t cpu,
				     uint64_t sequence);
/* All events of this lane up to this boottime were added. Lower than before is ignored. */
void batch_builder_watermark(struct batch_builder *b, uint64_t watermark_ns);

/* BATCH_EVENTS_CLOSE, BATCH_RAW_CLOSE or max_age_ns reached. An empty batch is never due. */
bool batch_builder_due(const struct batch_builder *b, uint64_t now_ns);
bool batch_builder_empty(const struct batch_builder *b);
/* Hand out what was filled, empty or not (sealed while idle), and begin the next batch.
 * -ENOMEM: nothing changed, try again later. */
MUST_CHECK int batch_builder_close(struct batch_builder *b, struct batch_closed **ret_closed);

#endif
