/* SPDX-License-Identifier: Apache-2.0 */
/* What gRPC core lacks to face hostile peers and a hostile environment (transport.md 2.4). */
#ifndef PROTO_RPC_GUARD_H
#define PROTO_RPC_GUARD_H

#include "proto/base/base.h"
#include "proto/base/error.h"

/* First in main, before any thread: removes GRPC_*, *_proxy, OPENSSL_*, SSL_CERT_*, SSLKEYLOGFILE from
 * the environment, and sets what leaves TLS 1.3 as the only version (fact 7: a cipher list that no
 * TLS 1.2 handshake with our ECDSA certificates can use). */
MUST_CHECK int rpc_guard_scrub_environment(struct error *e);

/* Take gRPC core's error lines into our log, at most 5 a second (the rest is counted), instead of its
 * own printing. rpc_loop_new calls it. */
void rpc_guard_capture_log(void);

/* Failed TLS handshakes since start, by the reason that core logs. */
enum rpc_handshake_failure {
	RPC_HANDSHAKE_NO_CERTIFICATE,
	RPC_HANDSHAKE_NOT_VERIFIED,
	RPC_HANDSHAKE_WRONG_VERSION,
	RPC_HANDSHAKE_OTHER,
	RPC_HANDSHAKE_FAILURES,
};
uint64_t rpc_guard_handshake_failures(enum rpc_handshake_failure why);

#endif
