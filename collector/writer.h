/* SPDX-License-Identifier: Apache-2.0 */
/* The store's one writer: a thread that takes verified items from a bounded queue, stores as many as
 * wait in one group commit, and reports each when it is durable. */
#ifndef COLLECTOR_WRITER_H
#define COLLECTOR_WRITER_H

#include "collector/store.h"

#define WRITER_QUEUE_MAX 1024

/* One verified message on its way to the disk. Owned by the writer from writer_put on; freed by done. */
struct writer_item {
	bool idle; /* an idle message: item is not used */
	struct store_item item;
	struct batch_view view; /* item.view leads here */
	struct batch_tombstone tombstone; /* item.tombstone leads here; its array is malloc'ed */
	struct batch_idle told; /* the idle message */
	struct batch_name tenant, host_id;
	uint8_t *data; /* malloc'ed: what item.bytes lies in */
	uint64_t *tokens; /* malloc'ed: item.tokens */
	/* result: 0 durable (item.result is set), or the negative errno of the store. Writer thread. */
	void (*done)(struct writer_item *w, int result, const struct error *why, void *ctx);
	void *ctx;
};

/* Frees what w owns, and w. For done. */
void writer_item_free(struct writer_item *w);

struct writer;
struct ledger_feed;

/* Starts the thread. s: borrowed; nobody else may write to it from now on. feed: borrowed, where every frame gets its
 * leaf before done is called; NULL: there is no ledger. */
MUST_CHECK int writer_start(struct store *s, struct ledger_feed *feed, struct writer **ret_w,
			    struct error *e);
/* Blocks while WRITER_QUEUE_MAX wait. false: stopped, w is still the caller's. Any thread. */
MUST_CHECK bool writer_put(struct writer *w, struct writer_item *item);
/* Store what was put, then end the thread. NULL allowed. */
void writer_stop(struct writer *w);

#endif
