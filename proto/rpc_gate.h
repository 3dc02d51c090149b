/* SPDX-License-Identifier: Apache-2.0 */
/* Lets so many through per second and counts the rest: for log lines that a peer can provoke. Any
 * thread; zeroed is ready. Two threads at a second's turn may let one more through. */
#ifndef PROTO_RPC_GATE_H
#define PROTO_RPC_GATE_H

#include "proto/base/base.h"

#include <stdatomic.h>

struct rpc_gate {
	_Atomic(uint64_t) second;
	atomic_uint passed;
	_Atomic(uint64_t) held;
};

/* ret_held: how many were held back since the last one that passed. */
MUST_CHECK bool rpc_gate_pass(struct rpc_gate *g, unsigned int per_second, uint64_t now_ns,
			      uint64_t *ret_held);

#endif
