/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the ledger: ledger.c opens and appends, ledger_thread.c writes tiles and checkpoints, ledger_ask.c answers
 * from them. */
#ifndef COLLECTOR_LEDGER_INTERNAL_H
#define COLLECTOR_LEDGER_INTERNAL_H

#include <pthread.h>

#include "collector/ledger.h"
#include "collector/ledger_index.h"
#include "collector/ledger_pending.h"
#include "collector/ledger_tiles.h"

#define LEDGER_FRESH_MAX MiB(64) /* of leaves that no checkpoint holds: past it appending fails */
#define LEDGER_ROTATE_BYTES                                                                        \
	KiB(64) /* of a file of pending leaves, after which the next one begins */

struct waiter;

struct ledger {
	char *dir;
	int dirfd;
	uint64_t checkpoint_ms;
	struct seal_key *key; /* the thread's */
	struct note_key note_key;
	uint8_t *certificate;
	size_t certificate_len;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed; /* an append is done, a checkpoint is there or failed, or is wanted */
	struct waiter *waiting, **waiting_end;
	bool leading; /* one of them writes for all */
	bool closing;
	struct pending *pending; /* NULL: none yet. Written by who leads; changed under the lock */
	uint64_t next_seq; /* who leads, or the thread while nobody does */
	struct leaves fresh; /* durable, in no checkpoint yet */
	uint64_t fresh_since_ns; /* monotonic; 0: there are none */
	uint64_t wanted; /* somebody waits for a checkpoint of this size */
	uint64_t tries; /* at a checkpoint, failed or not */
	struct error failed; /* of the last one; code 0: it was written */
	uint64_t size; /* of the newest checkpoint */
	char *note; /* NULL: there is none yet */
	struct ledger_index *index;
	int64_t rebuild; /* index of the newest leaf that says so; -1: none */
	/* The thread's alone. */
	struct tiles_edge edge, work;
	pthread_mutex_t told; /* held across on_checkpoint */
	void (*on_checkpoint)(void *ctx);
	void *on_checkpoint_ctx;
};

void *ledger_thread(void *arg);
uint64_t ledger_size(struct ledger *l); /* of the newest checkpoint */

#endif
