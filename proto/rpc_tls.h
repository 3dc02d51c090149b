/* SPDX-License-Identifier: Apache-2.0 */
/* The certificates of a server or client as they were last found good in their files, and core's
 * credentials made from them. Loading and checking happen here, outside the handshake: core's hooks only
 * look at what is ready. Any thread. */
#ifndef PROTO_RPC_TLS_H
#define PROTO_RPC_TLS_H

#include "proto/authorities.h"
#include "proto/rpc_core.h"
#include "proto/rpc_deny.h"

#include <stdatomic.h>

struct rpc_tls_files {
	/* Each may be NULL; cert and key both or neither: a client that shows none. */
	const char *cert, *key, *fleet_ca, *order_ca, *deny;
};

/* One good state of the files; immutable, counted. */
struct rpc_trust {
	atomic_uint refs;
	uint64_t generation;
	struct authorities *authorities;
	struct rpc_deny *deny;
	struct identity_pair pair;
};

struct rpc_tls;

/* Copies the strings and loads for the first time. */
MUST_CHECK int rpc_tls_new(const struct rpc_tls_files *files, struct rpc_tls **ret,
			   struct error *e);
void rpc_tls_free(struct rpc_tls *t); /* NULL allowed; credentials made from it must be gone */
/* On failure what was there stays. */
MUST_CHECK int rpc_tls_reload(struct rpc_tls *t, struct error *e);
struct rpc_trust *rpc_tls_current(struct rpc_tls *t); /* a reference of the caller's */
void rpc_trust_unref(struct rpc_trust *t);

/* New connections use what rpc_tls_current is then. t outlives the server that gets it. anonymous: clients are
 * not asked for a certificate. NULL: failed. */
grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls *t, bool anonymous);
/* verify, ctx: called in each handshake with the server's leaf (PEM); non-zero refuses. destroy(ctx) once core
 * no longer needs it, on failure at once. NULL: failed. */
grpc_channel_credentials *rpc_tls_channel_credentials(struct rpc_tls *t,
						      int (*verify)(const char *target,
								    const char *pem, void *ctx),
						      void *ctx, void (*destroy)(void *ctx));

#endif
