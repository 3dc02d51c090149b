/* SPDX-License-Identifier: Apache-2.0 */
/* Counts calls per name and second, in a fixed table. Any thread. The clock is handed in. */
#ifndef PROTO_RPC_LIMIT_H
#define PROTO_RPC_LIMIT_H

#include "proto/base/base.h"

struct rpc_limit;

struct rpc_limit *rpc_limit_new(unsigned int per_second); /* NULL: out of memory */
void rpc_limit_free(struct rpc_limit *l); /* NULL allowed */
/* Count one call of name. false: it is over the limit of this second. With more names in one second than the
 * table holds, some share a count, which can only refuse too much, never too little. */
MUST_CHECK bool rpc_limit_allow(struct rpc_limit *l, const char *name, size_t len, uint64_t now_ns);

#endif
