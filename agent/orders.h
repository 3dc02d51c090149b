/* SPDX-License-Identifier: Apache-2.0 */
/* The orders thread: takes signed orders from the link, decides again whether each counts, has acquirers run
 * them, writes and signs manifests, tells every step. Owns all state of orders; nothing here delays sealing.
 *
 * What must survive a restart lies in dir: `revocations` (the newest list), `nonces` (orders_nonces.h),
 * `run-ID` (an acquisition that is not over: orders_state.h), `manifest` (hash of the last manifest),
 * `checkpoint` (of the ledger: ledger_watch.h). */
#ifndef AGENT_ORDERS_H
#define AGENT_ORDERS_H

#include "agent/event.h"
#include "agent/mail.h"
#include "agent/manifest.h"
#include "agent/orders_policy.h"

struct orders_config {
	const char *dir; /* made when missing; copied */
	const char *domain; /* of this host's name, as host.tenant and host.host_id are */
	struct manifest_host host; /* borrowed texts */
	struct orders_policy policy;
	uint64_t spool_bytes, freeze_max_ms, clock_skew_ms;
	struct authorities *authorities; /* owned by orders from orders_start on, also on failure */
	struct seal_key *key; /* likewise */
	struct mailbox *mail;
	int control; /* of the launcher; borrowed */
	/* An event about an order: false when it could not be said. */
	bool (*say)(void *ctx, const struct event_order *o, uint32_t action, uint32_t error);
	void *ctx;
	/* This host holds another checkpoint of the ledger; its hash. */
	void (*checkpoint)(void *ctx, const struct seal_hash *hash);
	void *checkpoint_ctx;
};

struct orders;

/* Starts the thread. What was under way when the agent ended last is gone on with, or reported failed. */
MUST_CHECK int orders_start(const struct orders_config *c, struct orders **ret, struct error *e);
/* An acquirer has ended (launch.h). Main thread. */
void orders_ended(struct orders *o, uint32_t token, int status);
/* Whether an exhibit is being acquired or uploaded: a new uplink would cost it what cannot be read again. Any thread. */
bool orders_busy(const struct orders *o);
/* Stops the acquirers (their manifests are written, and sent at the next start when the link is gone before),
 * ends the thread; from now on nobody reads the launcher's reports. NULL allowed. */
void orders_stop(struct orders *o);

#endif
