/* SPDX-License-Identifier: Apache-2.0 */
/* One lane's frames that were sent and are not acknowledged yet, and which frame to ask for next. Pure
 * state; owned by the uplink's main thread. */
#ifndef AGENT_WINDOW_H
#define AGENT_WINDOW_H

#include "proto/batch.h"

#define WINDOW_MAX 8

/* What a collector's acknowledgement names. */
struct window_id {
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	uint64_t number;
	struct seal_hash hash;
};

struct window {
	uint64_t next; /* position to ask for; 0: the oldest that is not acknowledged */
	bool asked; /* an answer to a question of this round is under way from sense */
	uint16_t round; /* counts resets: an answer to an earlier round's question is thrown away */
	size_t head, n;
	struct {
		uint64_t position;
		struct window_id id;
	} sent[WINDOW_MAX];
};

/* The connection is new: everything unacknowledged has to be sent again, from the oldest on. */
void window_reset(struct window *w);
/* Whether to ask sense for a frame now. */
bool window_wants(const struct window *w);
/* A frame came from sense, for the question of this round. false: nobody asks that any more, drop it. */
MUST_CHECK bool window_accepts(struct window *w, uint16_t round);
/* It was handed to the connection. */
void window_sent(struct window *w, uint64_t position, const struct window_id *id);
/* The collector has everything up to id. ret_position: to tell sense. false: not one of ours. */
MUST_CHECK bool window_acknowledge(struct window *w, const struct window_id *id,
				   uint64_t *ret_position);

#endif
