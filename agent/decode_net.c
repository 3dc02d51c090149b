/* SPDX-License-Identifier: Apache-2.0 */
#include <netinet/in.h>
#include <string.h>

#include "agent/decode_types.h"
#include "proto/actions.h"

#define TCP_STATE_LISTEN 10 /* include/net/tcp_states.h */

/* Both ends as the kernel has them; source is who opened the connection or sent first. */
struct ends {
	const uint8_t *local, *remote; /* 16 bytes each */
	uint16_t local_port, remote_port;
	uint64_t bytes_out, bytes_in, packets_out, packets_in;
	uint8_t family, role;
};

static bool all_zero(const uint8_t *at, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= at[i];
	return !any;
}

static struct event_net outbound(const struct ends *e, struct event_net n)
{
	memcpy(n.source_ip, e->local, n.ip_len);
	memcpy(n.destination_ip, e->remote, n.ip_len);
	n.source_port = e->local_port;
	n.destination_port = e->remote_port;
	n.source_bytes = e->bytes_out;
	n.destination_bytes = e->bytes_in;
	n.source_packets = e->packets_out;
	n.destination_packets = e->packets_in;
	return n;
}

static struct event_net inbound(const struct ends *e, struct event_net n)
{
	struct ends turned = *e;

	turned.local = e->remote;
	turned.remote = e->local;
	turned.local_port = e->remote_port;
	turned.remote_port = e->local_port;
	turned.bytes_out = e->bytes_in;
	turned.bytes_in = e->bytes_out;
	turned.packets_out = e->packets_in;
	turned.packets_in = e->packets_out;
	n.inbound = true;
	return outbound(&turned, n);
}

/* NULL and d's details, or why the record is false. alone: there is no other end. */
static const char *take_ends(struct decoded *d, const struct ends *e, uint32_t transport,
			     bool alone)
{
	struct event_net n = {
		.transport = transport,
		.net_ns = d->facts.net_ns,
		.ip_len = e->family == 4 ? 4 : 16,
		.has_destination = !alone,
		.listening = alone,
	};

	if (e->family != 4 && e->family != 6)
		return "a network record's address family is unknown";
	if (e->role > REC_ROLE_ACCEPTER)
		return "a network record's role is unknown";
	d->event.u.net = !alone && e->role == REC_ROLE_ACCEPTER ? inbound(e, n) : outbound(e, n);
	/* The socket's namespace is the event's; the process may have joined another since. */
	d->facts.net_ns = 0;
	return NULL;
}

static const struct {
	uint32_t action;
	bool alone, bytes;
} tcp_rows[] = {
	[REC_TCP_CONNECT] = { ACTION_CONNECT, false, false },
	[REC_TCP_ACCEPT] = { ACTION_ACCEPT, false, false },
	[REC_TCP_LISTEN] = { ACTION_LISTEN, true, false },
	[REC_TCP_DISCONNECT] = { ACTION_DISCONNECT, false, true },
};

static uint8_t tcp_role(const struct rec_tcp *x)
{
	if (x->op == REC_TCP_CONNECT)
		return REC_ROLE_OPENER;
	return x->op == REC_TCP_ACCEPT ? REC_ROLE_ACCEPTER : x->role;
}

const char *decode_tcp(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_tcp x;
	struct ends e;
	const char *why;

	DECODE_FIXED(r, h, &x);
	if (x.op >= ARRAY_LEN(tcp_rows) || !tcp_rows[x.op].action)
		return "a TCP record's operation is unknown";
	e = (struct ends){
		.local = x.local,
		.remote = x.remote,
		.local_port = x.local_port,
		.remote_port = x.remote_port,
		.bytes_out = x.bytes_out,
		.bytes_in = x.bytes_in,
		.family = x.family,
		.role = tcp_role(&x),
	};
	d->event.action = tcp_rows[x.op].action;
	d->event.class = CLASS_TCP;
	d->event.error = x.error > 0 ? (uint32_t)x.error : 0;
	d->socket = x.socket;
	why = take_ends(d, &e, IPPROTO_TCP, tcp_rows[x.op].alone);
	if (why)
		return why;
	d->event.u.net.has_bytes = tcp_rows[x.op].bytes;
	if (x.op == REC_TCP_DISCONNECT && x.opened_ns && x.opened_ns <= h->boottime_ns) {
		d->event.u.net.has_duration = true;
		d->event.u.net.duration_ns = h->boottime_ns - x.opened_ns;
	}
	return NULL;
}

const char *decode_udp_flow(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_udp_flow x;
	struct ends e;
	const char *why;

	DECODE_FIXED(r, h, &x);
	if (x.last_ns < x.first_ns)
		return "a UDP flow ends before it begins";
	e = (struct ends){
		.local = x.local,
		.remote = x.remote,
		.local_port = x.local_port,
		.remote_port = x.remote_port,
		.bytes_out = x.bytes_out,
		.bytes_in = x.bytes_in,
		.packets_out = x.packets_out,
		.packets_in = x.packets_in,
		.family = x.family,
		.role = x.role,
	};
	d->event.action = ACTION_UDP_FLOW;
	d->event.class = CLASS_UDP;
	d->socket = x.socket;
	why = take_ends(d, &e, IPPROTO_UDP, false);
	if (why)
		return why;
	d->event.u.net.has_bytes = true;
	d->event.u.net.has_duration = true;
	d->event.u.net.duration_ns = x.last_ns - x.first_ns;
	return NULL;
}

const char *decode_socket(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_socket x;
	struct ends e;
	bool alone;
	const char *why;

	DECODE_FIXED(r, h, &x);
	if (x.protocol != IPPROTO_TCP && x.protocol != IPPROTO_UDP)
		return "a socket record's protocol is unknown";
	/* An unconnected UDP socket receives from everybody: a listening port. */
	alone = x.protocol == IPPROTO_TCP ? x.state == TCP_STATE_LISTEN :
					    !x.remote_port && all_zero(x.remote, sizeof(x.remote));
	e = (struct ends){
		.local = x.local,
		.remote = x.remote,
		.local_port = x.local_port,
		.remote_port = x.remote_port,
		.bytes_out = x.bytes_out,
		.bytes_in = x.bytes_in,
		.family = x.family,
		.role = x.role,
	};
	d->event.action = ACTION_SOCKET;
	d->event.class = x.protocol == IPPROTO_TCP ? CLASS_TCP : CLASS_UDP;
	d->event.flags |= EVENT_EXISTING;
	d->socket = x.socket;
	why = take_ends(d, &e, x.protocol, alone);
	if (why)
		return why;
	d->event.u.net.has_bytes = x.protocol == IPPROTO_TCP && !alone;
	return NULL;
}
