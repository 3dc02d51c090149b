/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the vault's service: vault_service.c has the calls and the methods that list and hold,
 * vault_service_fetch.c those that give bytes. */
#ifndef COLLECTOR_VAULT_SERVICE_INTERNAL_H
#define COLLECTOR_VAULT_SERVICE_INTERNAL_H

#include <stdatomic.h>

#include "collector/vault_service.h"
#include "proto/base/queue.h"
#include "proto/identity.h"

struct vault_method;

struct vault_service {
	struct vault *vault;
	atomic_uint threads, followers;
	atomic_bool closing;
	struct slot {
		struct vault_service *service;
		const struct vault_method *method;
	} * slots;
};

/* Two owners: the stream until on_closed, and the thread that answers. */
struct call {
	atomic_uint users;
	struct vault_service *service;
	const struct vault_method *method;
	struct rpc_stream *stream; /* a reference of ours */
	struct batch_name tenant;
	char subject[IDENTITY_SPIFFE_MAX];
	ProtobufCMessage *question;
	struct queue *room; /* a token when there is room to send; closed: the asker left */
};

/* The asker left, or we stop. */
MUST_CHECK bool vault_call_over(const struct call *c);
/* Waits for room. data: malloc'ed, taken in any case. -ECANCELED: nobody takes it. */
MUST_CHECK int vault_call_send(struct call *c, uint8_t *data, size_t len);
/* The answer to a FetchRequest. */
MUST_CHECK int vault_call_fetch(struct call *c, struct error *e);

#endif
