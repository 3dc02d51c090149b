/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/rpc_probe.h"

#include "proto/base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>

static void reserve(struct rpc_probe *p)
{
	if (p->spare_fd < 0)
		p->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Everything is dialled as IPv6 (IPv4 mapped): the listening sockets are dual-stack, or match by address. */
void rpc_probe_init(struct rpc_probe *p, const char *host, uint16_t port)
{
	struct rpc_endpoint at;
	char remote[96];

	*p = (struct rpc_probe){ .fd = -1, .spare_fd = -1 };
	(void)snprintf(remote, sizeof(remote), "%s:%s:%u", host[0] == '[' ? "ipv6" : "ipv4", host,
		       port);
	if (!rpc_endpoint_parse(remote, &at) || IN6_IS_ADDR_UNSPECIFIED(&at.address) ||
	    strcmp(host, "0.0.0.0") == 0) {
		(void)snprintf(remote, sizeof(remote), "ipv4:127.0.0.1:%u", port);
		(void)!rpc_endpoint_parse(remote, &at);
	}
	p->to = (struct sockaddr_in6){ .sin6_family = AF_INET6,
				       .sin6_port = htons(port),
				       .sin6_addr = at.address };
	reserve(p);
}

static void hang_up(struct rpc_probe *p)
{
	if (p->fd >= 0)
		(void)close(p->fd);
	p->fd = -1;
	reserve(p);
}

void rpc_probe_release(struct rpc_probe *p)
{
	hang_up(p);
	if (p->spare_fd >= 0)
		(void)close(p->spare_fd);
	p->spare_fd = -1;
}

/* A failed dial is tried again at the next step, a good one after a while. */
static void answered(struct rpc_probe *p, bool good, uint64_t now_ns)
{
	hang_up(p);
	p->failures = good ? 0 : p->failures + 1;
	p->next_ns = good ? now_ns + RPC_PROBE_EVERY_NS : now_ns;
}

static void dial(struct rpc_probe *p, uint64_t now_ns)
{
	if (p->spare_fd >= 0)
		(void)close(p->spare_fd);
	p->spare_fd = -1;
	p->half_closed = false;
	p->started_ns = now_ns;
	p->fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0) {
		/* No IPv6 in this kernel or no descriptor: says nothing about the server. */
		reserve(p);
		p->next_ns = now_ns + RPC_PROBE_EVERY_NS;
	} else if (connect(p->fd, (const struct sockaddr *)&p->to, sizeof(p->to)) < 0 &&
		   errno != EINPROGRESS) {
		answered(p, false, now_ns);
	}
}

static void listen_for_end(struct rpc_probe *p, uint64_t now_ns)
{
	char byte;
	ssize_t n;

	if (!p->half_closed)
		p->half_closed = shutdown(p->fd, SHUT_WR) == 0;
	n = recv(p->fd, &byte, sizeof(byte), MSG_DONTWAIT);
	if (n >= 0 || errno == ECONNRESET)
		answered(p, true, now_ns);
	else if (errno != EAGAIN && errno != ENOTCONN && errno != EINTR)
		answered(p, false, now_ns);
	else if (now_ns - p->started_ns > RPC_PROBE_TIMEOUT_NS)
		answered(p, rpc_sockets_accepted(ntohs(p->to.sin6_port), p->fd), now_ns);
}

/* A port that accepts keeps nobody waiting. Each dial makes events on a host that is traced: an idle one must
 * stay quiet, so there has to be a reason. */
static bool is_suspicious(const struct rpc_probe *p)
{
	return p->failures > 0 || rpc_sockets_waiting(ntohs(p->to.sin6_port));
}

bool rpc_probe_step(struct rpc_probe *p, uint64_t now_ns)
{
	if (p->fd >= 0)
		listen_for_end(p, now_ns);
	else if (now_ns >= p->next_ns && is_suspicious(p))
		dial(p, now_ns);
	else if (now_ns >= p->next_ns)
		p->next_ns = now_ns + RPC_PROBE_EVERY_NS;
	return p->failures >= RPC_PROBE_FAILURES;
}
