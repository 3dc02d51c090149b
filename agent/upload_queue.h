/* SPDX-License-Identifier: Apache-2.0 */
/* One upload's requests that the collector does not have durably yet, in order: what was sent on the call that is open,
 * then what is to be sent. Bounded; when the call breaks everything here is sent again on the next. Pure
 * state; owned by the uplink's main thread. */
#ifndef AGENT_UPLOAD_QUEUE_H
#define AGENT_UPLOAD_QUEUE_H

#include "proto/base/base.h"

#define UPLOAD_QUEUE_BYTES MiB(24)
#define UPLOAD_QUEUE_MESSAGES 4096

struct upload_queue;

struct upload_queue *upload_queue_new(void); /* NULL: out of memory */
void upload_queue_free(struct upload_queue *q); /* NULL allowed */
/* data: an UploadRequest, malloc'ed, the queue's on success. -EBADMSG: not an item, a chunk or an end, which is all that
 * an acquirer may say; -EAGAIN: full. */
MUST_CHECK int upload_queue_push(struct upload_queue *q, uint8_t *data, size_t len);
bool upload_queue_full(const struct upload_queue *q);
/* All is sent, or nothing was there. */
bool upload_queue_idle(const struct upload_queue *q);
/* The next to send, borrowed; false: none. */
MUST_CHECK bool upload_queue_next(struct upload_queue *q, const uint8_t **ret_data,
				  size_t *ret_len);
void upload_queue_sent(struct upload_queue *q); /* that one */
/* A new call has begun. All is to be sent, but for chunks that the collector says it has: those before
 * offset of item, and of items before. */
void upload_queue_rewind(struct upload_queue *q, uint32_t item, uint64_t offset);
/* The first `requests` of what was sent on this call are durable. */
void upload_queue_durable(struct upload_queue *q, uint64_t requests);

#endif
