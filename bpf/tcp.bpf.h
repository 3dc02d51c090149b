/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP connections from the state machine of the socket itself. Only some transitions run in the
 * caller's context (towards SYN_SENT and LISTEN); the others run wherever a packet arrives, so who
 * owns a socket is kept in a table from connect, listen or accept on, by the socket's address in
 * the kernel. */
#ifndef BPF_TCP_BPF_H
#define BPF_TCP_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/emit.bpf.h"
#include "bpf/owner.bpf.h"

/* typed, here and below: the verifier knows the type of sk. */
static __always_inline bool is_tcp(struct sock *sk, bool typed)
{
	uint16_t family = LOAD_IF(typed, sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline void fill_tcp(struct rec_tcp *rec, struct sock *sk, bool typed)
{
	struct ends ends;

	__builtin_memset(&ends, 0, sizeof(ends));
	fill_ends(&ends, sk, typed);
	__builtin_memcpy(rec->local, ends.local, sizeof(rec->local));
	__builtin_memcpy(rec->remote, ends.remote, sizeof(rec->remote));
	rec->local_port = ends.local_port;
	rec->remote_port = ends.remote_port;
	rec->family = ends.family;
	rec->socket = LOAD_IF(typed, sk, __sk_common.skc_cookie.counter);
	rec->h.actor.net_ns = LOAD_IF(typed, sk, __sk_common.skc_net.net, ns.inum);
}

/* By the record's pid: before 6.10 sockops may not ask which process runs. */
static __always_inline bool is_own_record(const struct rec_header *h)
{
	uint32_t tgid = h->actor.image.pid;

	return bpf_map_lookup_elem(&exh_own, &tgid) != NULL;
}

static __always_inline void send_call(struct rec_tcp *rec, struct sock *sk, uint32_t class,
				      bool typed)
{
	fill_tcp(rec, sk, typed);
	if (is_own_record(&rec->h))
		COUNT(class, filtered);
	else
		emit(&rec->h, sizeof(*rec), class, REC_RING_BULK);
}

/* In the context of the process that calls. */
static __always_inline void tcp_call_body(struct sock *sk, struct task_struct *task, uint32_t op,
					  uint32_t role, uint32_t class, uint32_t flags, bool typed)
{
	struct rec_tcp rec;

	__builtin_memset(&rec, 0, sizeof(rec));
	begin(&rec.h, REC_TCP, class, REC_RING_BULK);
	rec.h.flags = flags;
	rec.op = op;
	rec.role = role;
	fill_actor(&rec.h.actor, task);
	rec.h.actor.net_ns = LOAD_IF(typed, sk, __sk_common.skc_net.net, ns.inum);
	own_socket(sk, &rec.h.actor, role, rec.h.boottime_ns, flags);
	send_call(&rec, sk, class, typed);
}

/* SYN_SENT: only who it is; the record follows with the local port. Nonzero: there is no room to
 * remember it. */
static __always_inline long tcp_connecting(struct sock *sk, struct task_struct *task)
{
	struct rec_actor actor;

	__builtin_memset(&actor, 0, sizeof(actor));
	fill_actor(&actor, task);
	actor.net_ns = LOAD(sk, __sk_common.skc_net.net, ns.inum);
	return own_socket(sk, &actor, REC_ROLE_OPENER, bpf_ktime_get_boot_ns(), io_uring_flag());
}

/* From sockops, still in the context of the process that connects. */
static __always_inline void tcp_connect_body(struct sock *sk)
{
	uint64_t key = (uint64_t)sk;
	struct owner *owner = bpf_map_lookup_elem(&exh_owners, &key);
	struct rec_tcp rec;

	if (!owner) /* no room for it: the change of state was reported instead */
		return;
	COUNT(REC_CLASS_TCP, seen);
	__builtin_memset(&rec, 0, sizeof(rec));
	begin(&rec.h, REC_TCP, REC_CLASS_TCP, REC_RING_BULK);
	rec.op = REC_TCP_CONNECT;
	rec.role = REC_ROLE_OPENER;
	rec.h.actor = owner->actor;
	rec.h.flags = owner->flags;
	send_call(&rec, sk, REC_CLASS_TCP, false);
}

/* Bytes of payload: what was sent less what was sent again; what came in order less the peer's FIN,
 * which the kernel counts as one. */
static __always_inline void fill_bytes(struct rec_tcp *rec, struct sock *sk)
{
	struct tcp_sock *tp = (void *)sk;

	rec->bytes_out = READ(tp, bytes_sent) - READ(tp, bytes_retrans);
	rec->bytes_in = READ(tp, bytes_received);
	if (rec->bytes_in && LOAD(sk, __sk_common.skc_flags) & (1 << SOCK_DONE_BIT))
		rec->bytes_in--;
}

static __always_inline void tcp_close_body(struct sock *sk, int old_state)
{
	uint64_t key = (uint64_t)sk;
	struct owner *owner = bpf_map_lookup_elem(&exh_owners, &key);
	struct rec_tcp rec;

	if (old_state == TCP_LISTEN || old_state == TCP_SYN_RECV || old_state == TCP_CLOSE) {
		COUNT(REC_CLASS_TCP, filtered);
		if (owner)
			bpf_map_delete_elem(&exh_owners, &key);
		return;
	}
	__builtin_memset(&rec, 0, sizeof(rec));
	begin(&rec.h, REC_TCP, REC_CLASS_TCP, REC_RING_BULK);
	rec.op = REC_TCP_DISCONNECT;
	rec.h.flags = REC_OWNER_NONE;
	if (owner) {
		rec.h.actor = owner->actor;
		rec.h.flags = owner->actor.image.pid ? REC_OWNER_SOCKET : REC_OWNER_NONE;
		rec.opened_ns = owner->opened_ns;
		rec.role = owner->role;
		bpf_map_delete_elem(&exh_owners, &key);
	}
	if (is_own_record(&rec.h)) {
		COUNT(REC_CLASS_TCP, filtered);
		return;
	}
	fill_tcp(&rec, sk, true);
	fill_bytes(&rec, sk);
	rec.established = old_state != TCP_SYN_SENT;
	rec.error = LOAD(sk, sk_err);
	emit(&rec.h, sizeof(rec), REC_CLASS_TCP, REC_RING_BULK);
}

/* A connection arrived; who will accept it is not known yet. */
static __always_inline void tcp_arrived(struct sock *sk)
{
	struct owner owner;
	uint64_t key = (uint64_t)sk;

	__builtin_memset(&owner, 0, sizeof(owner));
	owner.opened_ns = bpf_ktime_get_boot_ns();
	owner.role = REC_ROLE_ACCEPTER;
	bpf_map_update_elem(&exh_owners, &key, &owner, BPF_ANY);
	COUNT(REC_CLASS_TCP, filtered);
}

/* Most transitions say nothing. */
static __always_inline bool tcp_matters(int old_state, int new_state)
{
	return new_state == TCP_SYN_SENT || new_state == TCP_LISTEN || new_state == TCP_CLOSE ||
	       (new_state == TCP_ESTABLISHED && old_state == TCP_SYN_RECV);
}

/* ports_later: tcp_connect_body follows, when the local port has been chosen, and counts. */
static __always_inline void tcp_state_body(struct sock *sk, int old_state, int new_state,
					   bool ports_later)
{
	struct task_struct *task;

	if (!tcp_matters(old_state, new_state) || !is_tcp(sk, true))
		return;
	task = CURRENT_TASK();
	if (new_state == TCP_SYN_SENT && ports_later && tcp_connecting(sk, task) == 0)
		return;
	COUNT(REC_CLASS_TCP, seen);
	if (new_state == TCP_SYN_SENT)
		tcp_call_body(sk, task, REC_TCP_CONNECT, REC_ROLE_OPENER, REC_CLASS_TCP,
			      io_uring_flag(), true);
	else if (new_state == TCP_LISTEN)
		tcp_call_body(sk, task, REC_TCP_LISTEN, REC_ROLE_UNKNOWN, REC_CLASS_TCP,
			      io_uring_flag(), true);
	else if (new_state == TCP_CLOSE)
		tcp_close_body(sk, old_state);
	else
		tcp_arrived(sk);
}

#endif
