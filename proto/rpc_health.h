/* SPDX-License-Identifier: Apache-2.0 */
/* What of grpc.health.v1 is parsed by hand. */
#ifndef PROTO_RPC_HEALTH_H
#define PROTO_RPC_HEALTH_H

#include "proto/base/base.h"

/* The service asked for in a HealthCheckRequest (grpc/doc/health-checking.md): borrowed from data, "" and 0 for
 * the server itself; the last one where it is repeated, as protobuf has it. false: not such a message; unknown
 * fields count as that. Fuzzed. */
MUST_CHECK bool rpc_health_parse(const uint8_t *data, size_t len, const char **ret_name,
				 size_t *ret_len);

#endif
