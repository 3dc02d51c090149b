/* SPDX-License-Identifier: Apache-2.0 */
/* Core has no call to cut a connection, so we look its socket up among the process's own descriptors.
 * shutdown(2) only, never close(2): core owns the descriptor, and sees the end as the peer's. */
#ifndef PROTO_RPC_SOCKETS_H
#define PROTO_RPC_SOCKETS_H

#include "proto/base/base.h"

#include <netinet/in.h>

/* The other end of a TCP connection; IPv4 as ::ffff:a.b.c.d, so that two ends can be compared. */
struct rpc_endpoint {
	struct in6_addr address;
	uint16_t port;
};

/* From what core calls a peer: "ipv4:127.0.0.1:4711", "ipv6:[::1]:4711", with %5B and %5D as well; a scope
 * ("%eth0") is ignored. */
MUST_CHECK bool rpc_endpoint_parse(const char *remote, struct rpc_endpoint *ret);
bool rpc_endpoint_equal(const struct rpc_endpoint *a, const struct rpc_endpoint *b);
/* Order for qsort and bsearch. */
int rpc_endpoint_compare(const void *a, const void *b);

/* Call fn for each connected TCP socket of this process whose own port is local_port, with an identity of
 * the socket that no later one has (st_ino). -errno when /proc/self/fd cannot be read. */
MUST_CHECK int rpc_sockets_each(uint16_t local_port,
				void (*fn)(int fd, uint64_t inode, const struct rpc_endpoint *peer,
					   void *arg),
				void *arg);
/* Cut the connection to peer. false: no such socket. */
bool rpc_sockets_cut(uint16_t local_port, const struct rpc_endpoint *peer);
/* Whether client_fd, a socket of this same process that is connected to local_port, was accepted. */
bool rpc_sockets_accepted(uint16_t local_port, int client_fd);
/* Whether a connection to local_port waits to be accepted by this process. Also true when that cannot be told, or
 * when nothing listens. */
bool rpc_sockets_waiting(uint16_t local_port);
/* Open descriptors of this process; -errno. */
MUST_CHECK int rpc_sockets_count_fds(void);

#endif
