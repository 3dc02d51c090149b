/* SPDX-License-Identifier: Apache-2.0 */
/* A capture with a packet socket, where the programs of packets_live.h cannot be had: what passes the devices of one network
 * namespace, or one device, in a ring of fixed size (packet(7), TPACKET_V3). Nothing tells whose a packet is. As long as it
 * is open its network namespace stays, though everybody else has left. One thread. */
#ifndef ACQUIRE_PACKETS_SOCKET_H
#define ACQUIRE_PACKETS_SOCKET_H

#include <linux/filter.h>

#include "agent/acquire/packets_ring.h"

struct packets_socket_config {
	int net_fd; /* of the network namespace, borrowed during open */
	uint32_t net_ns; /* its inode */
	uint32_t ifindex; /* 0: all devices */
	bool cooked; /* no link header: one is made */
	const struct sock_filter *filter; /* asked by the kernel, borrowed during open */
	size_t n_filter;
	int64_t wall_less_boot_ns;
};

struct packets_socket;

/* With everything in place; not yet capturing. -EINVAL: the kernel takes no such filter. */
MUST_CHECK int packets_socket_open(const struct packets_socket_config *c,
				   struct packets_socket **ret, struct error *e);
/* From now on packets come. */
MUST_CHECK int packets_socket_start(struct packets_socket *s, struct error *e);
/* The clock's difference from now on. */
void packets_socket_clock(struct packets_socket *s, int64_t wall_less_boot_ns);
/* Hand over what is there. ret_more: so much was there that more is to be expected. */
MUST_CHECK int packets_socket_drain(struct packets_socket *s, packets_take take, void *ctx,
				    bool *ret_more, struct error *e);
/* No more packets come; hand over what is still to come out of the ring. */
MUST_CHECK int packets_socket_finish(struct packets_socket *s, packets_take take, void *ctx,
				     struct error *e);
/* As the kernel counted so far: what the filter refused is not among it. */
void packets_socket_counters(struct packets_socket *s, struct packets_counters *ret);
/* Packets that were handed over after a later one, and by how much at most. */
uint64_t packets_socket_disorder(const struct packets_socket *s, uint64_t *ret_most_ns);
void packets_socket_close(struct packets_socket *s); /* NULL allowed */

#endif
