/* SPDX-License-Identifier: Apache-2.0 */
/* Who is refused although the certificate is good: a text file, a line each, '#' begins a comment:
 *   serial 5f3a...        a certificate, by its serial in hex (leading zeros do not matter)
 *   host ID               a host, by its id
 * Immutable once loaded. */
#ifndef PROTO_RPC_DENY_H
#define PROTO_RPC_DENY_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/identity.h"

#define RPC_DENY_MAX 65536 /* lines that deny somebody */

struct rpc_deny;

/* path NULL: an empty list. Unknown words and malformed lines are errors with their line number: a list
 * that cannot be read must not let anybody in. */
MUST_CHECK int rpc_deny_load(const char *path, struct rpc_deny **ret, struct error *e);
void rpc_deny_free(struct rpc_deny *d); /* NULL allowed */
MUST_CHECK bool rpc_deny_matches(const struct rpc_deny *d, const struct identity *id);

#endif
