/* SPDX-License-Identifier: Apache-2.0 */
/* Does the own port still accept? While no connection waits to be accepted there is nothing to find out, and
 * nothing is done that a tracer could see. Else it connects, closes its half, and waits for the server to
 * close the other, or at least to have accepted (a busy server may take its time for the rest): the
 * kernel's backlog alone would answer for a server that never accepts. Core logs nothing of that. Never
 * blocks; holds one descriptor in reserve, so that it can dial when there are none left. One thread. */
#ifndef PROTO_RPC_PROBE_H
#define PROTO_RPC_PROBE_H

#include "proto/base/base.h"
#include "proto/rpc_sockets.h"

#define RPC_PROBE_EVERY_NS (10 * NSEC_PER_SEC)
#define RPC_PROBE_TIMEOUT_NS (6 * NSEC_PER_SEC)
#define RPC_PROBE_FAILURES 3 /* in a row */

struct rpc_probe {
	struct sockaddr_in6 to;
	int fd; /* -1: not dialling */
	int spare_fd;
	bool half_closed;
	uint64_t started_ns, next_ns;
	unsigned int failures;
};

/* host: as in struct rpc_governor_config; a wildcard or a name is dialled on loopback. */
void rpc_probe_init(struct rpc_probe *p, const char *host, uint16_t port);
void rpc_probe_release(struct rpc_probe *p);
/* Go on. true: RPC_PROBE_FAILURES dials in a row were not answered. */
MUST_CHECK bool rpc_probe_step(struct rpc_probe *p, uint64_t now_ns);

#endif
