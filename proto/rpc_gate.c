/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_gate.h"

bool rpc_gate_pass(struct rpc_gate *g, unsigned int per_second, uint64_t now_ns, uint64_t *ret_held)
{
	uint64_t second = now_ns / NSEC_PER_SEC;

	if (atomic_exchange(&g->second, second) != second)
		atomic_store(&g->passed, 0);
	if (atomic_fetch_add(&g->passed, 1) < per_second) {
		*ret_held = atomic_exchange(&g->held, 0);
		return true;
	}
	atomic_fetch_sub(&g->passed, 1);
	atomic_fetch_add(&g->held, 1);
	return false;
}
