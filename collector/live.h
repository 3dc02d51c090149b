/* SPDX-License-Identifier: Apache-2.0 */
/* The live tail: what the store has just made durable goes to all who follow. live_feed belongs to the
 * writer thread and never waits; each follower has a bounded queue, and one that reads too slowly misses
 * batches, which are counted and told to it.
 * A lock of its own guards the list of followers, held for the copies of one batch's reference. */
#ifndef COLLECTOR_LIVE_H
#define COLLECTOR_LIVE_H

#include "collector/store.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

#define LIVE_FOLLOWERS_MAX 16
#define LIVE_QUEUE_MAX 1024 /* batches that wait for one follower */

struct live;
struct live_follower;

MUST_CHECK int live_new(struct live **ret, struct error *e);
/* After the last follower has left. NULL allowed. */
void live_free(struct live *l);
/* One stored batch. */
void live_feed(struct live *l, const struct store_ref *ref);
/* Followers wake and their pops return NULL at once from now on. */
void live_close(struct live *l);

/* Follow one tenant's batches (tenant is copied). -ENOSPC: LIVE_FOLLOWERS_MAX follow already. */
MUST_CHECK int live_follow(struct live *l, const struct batch_name *tenant,
			   struct live_follower **ret, struct error *e);
void live_leave(struct live *l, struct live_follower *f); /* NULL allowed */
/* The next batch's reference, malloc'ed; NULL after timeout_ms or when live is closed. */
struct store_ref *live_pop(struct live_follower *f, int timeout_ms);
/* Batches that did not fit since the last call. */
uint64_t live_missed(struct live_follower *f);
bool live_closed(const struct live_follower *f);

#endif
