/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the seal thread share: sealer.c (batches into the journal) and sealer_link.c (the journal's
 * frames to the uplink, and what it says). For these two files only. */
#ifndef AGENT_SEALER_INTERNAL_H
#define AGENT_SEALER_INTERNAL_H

#include "agent/link.h"
#include "agent/sealer.h"
#include "proto/base/arena.h"
#include "proto/base/queue.h"

#include <pthread.h>

struct sealer_untold {
	/* Between the seal thread and the drain thread, which both only add and take. */
	pthread_mutex_t lock;
	struct sealer_losses sum;
	bool any;
	uint64_t told_after; /* critical batches that were put when sum was taken last */
};

struct lane_state {
	uint64_t watermark_ns; /* how far all is sealed, or told as a gap that is sealed */
	bool owing; /* something was lost and the gap that tells it is not sealed yet */
	uint64_t sealed_ns, idle_ns; /* when we last sealed, and last told */
	bool wanted; /* the uplink waits for a frame */
	uint64_t want; /* its position; 0: the oldest */
	uint16_t round; /* of that question, for the answer */
};

struct sealer {
	struct sealer_config c;
	struct batch_sealer *seal;
	struct arena *arena, *frame_arena;
	struct batch_dropped *dropped;
	struct queue *in, *links;
	struct link *link;
	struct lane_state lane[BATCH_LANES + 1];
	struct sealer_untold losses;
	bool connected, said_up, failing, unread;
	bool more; /* the uplink said more than was taken in this round */
	uint64_t critical_put; /* batches; the drain thread's */
	uint64_t critical_taken; /* ... the seal thread's */
	uint64_t dropped_batches, dropped_said_ns; /* under tombstones, not said yet */
	uint64_t failed_said_ns, state_said_ns, ack_said_ns;
	struct mail *leaving; /* the link has no room for it yet */
	uint64_t mail_said_ns;
	pthread_mutex_t checkpoint_lock; /* what the orders thread sets */
	bool has_checkpoint;
	struct seal_hash checkpoint;
	pthread_t thread;
};

/* sealer.c */
/* The same is said at most once in 10 s. */
MUST_CHECK bool sealer_may_say(uint64_t *said_ns);
/* A frame was sealed, and nobody will ever see it. */
void sealer_count_unread(struct sealer *s, enum batch_lane lane, uint64_t position,
			 const struct error *why);

/* sealer_link.c */
/* A new uplink instead of the one before, where there is one. */
void sealer_take_links(struct sealer *s);
/* One round: what the uplink says, the frames that it waits for, the mail of the orders thread, and that nothing
 * happens, where nothing does. */
void sealer_serve_link(struct sealer *s);

#endif
