/* SPDX-License-Identifier: Apache-2.0 */
/* The seal thread: takes closed batches, gives them number, time and signature, makes them durable in
 * the journal, and serves the uplink from there. It alone touches journal, sealing key and link. */
#ifndef AGENT_SEALER_H
#define AGENT_SEALER_H

#include "agent/batch.h"
#include "agent/journal.h"
#include "agent/mail.h"
#include "proto/base/queue.h"

#define SEALER_QUEUE_MAX                                                                           \
	64 /* closed batches that wait; then the drain thread waits, and the rings fill */

struct sealer_config {
	struct batch_name tenant, host_id, host_name;
	uint8_t boot_id[BATCH_BOOT_LEN];
	struct seal_key *key; /* owned by the sealer from sealer_start on */
	struct journal *journal; /* likewise */
	/* Between the link and the orders thread; borrowed until sealer_stop. NULL: no orders. */
	struct mailbox *mail;
	uint64_t stop_timeout_ms; /* how long sealer_stop waits for acknowledgements */
};

struct sealer;

/* Starts the thread. */
MUST_CHECK int sealer_start(const struct sealer_config *c, struct sealer **ret_s, struct error *e);
/* Hand over a closed batch; blocks while SEALER_QUEUE_MAX wait. A closed batch without entries tells
 * only how far its lane's watermark is. Drain thread. */
void sealer_put(struct sealer *s, struct batch_closed *b);
/* An uplink has started; fd is its link. Any thread. */
void sealer_link(struct sealer *s, int fd);
/* The newest checkpoint of the ledger that this host holds: batches name it from now on. Any thread. */
void sealer_checkpoint(struct sealer *s, const struct seal_hash *hash);
/* What the journal had no room for since the last call, and what gap events among it told of. false:
 * nothing. Tell it by gap events of the critical lane at once: until these are sealed, no watermark of a
 * lane that lost passes the loss. Drain thread. */
struct sealer_losses {
	uint64_t counts[16]; /* events by class */
	bool unknown; /* and some that nobody counted */
	uint64_t from_ns, to_ns; /* boottime; of what is above */
	/* Sealed batches and tombstones that the journal cannot give back any more, and the last of them: its
	 * lane and its position there. */
	uint64_t unread, unread_position;
	enum batch_lane unread_lane;
};
MUST_CHECK bool sealer_take_losses(struct sealer *s, struct sealer_losses *ret);
/* Seal what was put, wait for the collector (bounded), end the uplink, end the thread, free all. */
void sealer_stop(struct sealer *s);

#endif
