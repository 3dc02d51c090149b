/* SPDX-License-Identifier: Apache-2.0 */
/* What all calls of the uplink share. Owned by its main thread. */
#ifndef AGENT_UPLINK_WIRE_H
#define AGENT_UPLINK_WIRE_H

#include "agent/link.h"
#include "agent/uplink_inbox.h"
#include "proto/rpc_client.h"

struct uplink_wire {
	struct link *link; /* to sense */
	struct rpc_client *client;
	struct queue *inbox; /* what streams say */
	uint64_t stream_no; /* of the newest stream: they name what comes through the inbox */
};

/* Begin a call whose messages are at most max_message long. ret_no: its number. NULL: later (logged). */
struct rpc_stream *uplink_open(struct uplink_wire *w, const char *path, size_t max_message,
			       uint64_t *ret_no);
/* When to try again: a thousand agents that lost the same collector must not come back at once. Doubles *backoff_ms up to
 * max_ms. Monotonic ns. */
uint64_t uplink_later(uint64_t *backoff_ms, uint64_t max_ms);

#endif
