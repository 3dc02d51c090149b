/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of people with one question and a stream of answers: who may ask, reading the question, sending while the
 * reader is slow, the end. What differs is a table of methods and who answers: query_service.c, vault_service.c. */
#ifndef COLLECTOR_CALL_H
#define COLLECTOR_CALL_H

#include <protobuf-c/protobuf-c.h>
#include <stdatomic.h>

#include "collector/row.h"
#include "proto/base/error.h"
#include "proto/base/queue.h"
#include "proto/identity.h"
#include "proto/rpc_server.h"
#include "proto/rpc_stream.h"

struct call;

/* Method x role. Deny by default: a method without a row does not exist. */
struct call_method {
	const char *path;
	unsigned int allow;
	const char *const *roles; /* one of these is needed; NULL ends */
	const char *need; /* the same for a sentence */
	const ProtobufCMessageDescriptor *request;
	/* On a thread of the service; 0, or negative with e set. */
	int (*answer)(struct call *c, struct error *e);
};

struct call_config {
	const struct call_method *methods;
	size_t n_methods;
	size_t question_max; /* bytes */
	uint64_t deadline_ms; /* of one question; 0: none */
	uint64_t stall_ms; /* a reader that takes nothing for so long is given up; 0: never */
	/* The question is read: see to it that some thread calls call_answer. NULL, or why it is refused. */
	const char *(*start)(struct call *c);
	void *owner; /* the service */
};

struct call_slot {
	struct calls *calls;
	const struct call_method *method;
};

/* All calls of one service. */
struct calls {
	struct call_config c;
	atomic_bool closing;
	struct call_slot *slots; /* contexts of the registered rows */
};

/* Two owners: the stream until it is closed, and the thread that answers. */
struct call {
	atomic_uint users;
	struct calls *calls;
	const struct call_method *method;
	struct rpc_stream *stream; /* a reference of ours */
	struct batch_name tenant;
	char subject[IDENTITY_SPIFFE_MAX];
	ProtobufCMessage *question;
	struct queue *room; /* a token when there is room to send; closed: the asker left */
	uint64_t deadline_ns; /* monotonic; 0: none */
};

MUST_CHECK int calls_init(struct calls *s, const struct call_config *c, struct error *e);
void calls_release(struct calls *s);
/* Before rpc_server_start. */
MUST_CHECK int calls_register(struct calls *s, struct rpc_server *server, struct error *e);
/* New calls are refused, those that run notice within 200 ms. Idempotent; whether it was the first time. */
bool calls_close(struct calls *s);

/* Answer, and end the call; c is gone. */
void call_answer(struct call *c);
/* The asker left, the time is up, or the service closes. */
MUST_CHECK bool call_over(const struct call *c);
/* Waits for room. data: malloc'ed, taken in any case. -ECANCELED: nobody takes it; -ETIMEDOUT. */
MUST_CHECK int call_send(struct call *c, uint8_t *data, size_t len);

#endif
