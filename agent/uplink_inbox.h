/* SPDX-License-Identifier: Apache-2.0 */
/* What the collector's stream says, carried from the rpc thread to the uplink's main thread: a bounded
 * queue of items. */
#ifndef AGENT_UPLINK_INBOX_H
#define AGENT_UPLINK_INBOX_H

#include "proto/base/queue.h"
#include "proto/rpc_stream.h"

#define INBOX_MAX 1024 /* items; then the rpc thread waits, and the collector behind flow control */
#define INBOX_MESSAGE_MAX KiB(4) /* of events: a collector's longest message is a goodbye */

enum inbox_kind { INBOX_MESSAGE, INBOX_SENDABLE, INBOX_CLOSED };

struct inbox_item {
	enum inbox_kind kind;
	uint64_t stream_no; /* which stream said it: an old one's words are dropped */
	enum rpc_status status; /* INBOX_CLOSED */
	char text[256];
	uint8_t *data; /* INBOX_MESSAGE; malloc'ed */
	size_t len;
};

void inbox_item_free(struct inbox_item *i);

/* The context of one stream with inbox_ops; on_closed frees it. */
struct inbox_call;
extern const struct rpc_stream_ops inbox_ops;

/* to: items go there; closed before it is freed. max_message: a longer one ends the stream. NULL: out of memory. */
struct inbox_call *inbox_call_new(struct queue *to, uint64_t stream_no, size_t max_message);
void inbox_call_free(struct inbox_call *c); /* of a stream that could not begin */

#endif
