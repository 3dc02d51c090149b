/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.v1.Vault: which exhibits there are, their bytes, legal hold. A table of methods and roles, deny by
 * default; each answer has a thread of its own, at most VAULT_CALLS_MAX of them. Each fetch is a leaf of the
 * ledger before its first byte leaves. */
#ifndef COLLECTOR_VAULT_SERVICE_H
#define COLLECTOR_VAULT_SERVICE_H

#include "collector/vault.h"
#include "proto/rpc_server.h"

#define VAULT_CALLS_MAX 32
#define VAULT_FOLLOWERS_MAX 16 /* of them, that wait for what arrives */
#define VAULT_QUESTION_MAX KiB(16)

struct vault_service;

MUST_CHECK int vault_service_new(struct vault *v, struct vault_service **ret, struct error *e);
/* Registers every method; before the server starts, or opens when it is held. */
MUST_CHECK int vault_service_register(struct vault_service *s, struct rpc_server *server,
				      struct error *e);
/* Ends running answers. Before the server is freed. Idempotent; NULL allowed. */
void vault_service_close(struct vault_service *s);
void vault_service_free(struct vault_service *s); /* after the server is freed; NULL allowed */

/* The table, for tests: NULL past the end. */
const char *vault_service_path(size_t i);
unsigned int vault_service_allow(size_t i);

#endif
