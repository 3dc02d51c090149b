/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the vault's service: vault_service.c has the methods that list and hold, vault_service_fetch.c those that
 * give bytes. */
#ifndef COLLECTOR_VAULT_SERVICE_INTERNAL_H
#define COLLECTOR_VAULT_SERVICE_INTERNAL_H

#include <stdatomic.h>

#include "collector/call.h"
#include "collector/threads.h"
#include "collector/vault_service.h"

struct vault_service {
	struct vault *vault;
	struct calls calls;
	struct threads threads; /* one for each call */
	atomic_uint followers;
};

static inline struct vault_service *vault_service_of(const struct call *c)
{
	return c->calls->c.owner;
}

static inline struct vault *vault_of(const struct call *c)
{
	return vault_service_of(c)->vault;
}

/* The answer to a FetchRequest. */
MUST_CHECK int vault_call_fetch(struct call *c, struct error *e);

#endif
