/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose packet it is, decided by the socket and never by who happens to run: the users of a socket lie in the
 * socket's own storage, written where the process calls and read where its packets pass. */
#ifndef BPF_PACKETS_BPF_H
#define BPF_PACKETS_BPF_H

#include "bpf/actor.bpf.h"
#include "bpf/packets.h"

/* CLONE: the socket of an accepted connection has its listener's users before anybody accepts it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct packets_users);
} exh_pkt_users SEC(".maps");

/* ---- who uses a socket ------------------------------------------------------------------------------ */

static __always_inline uint32_t net_ns_of(struct sock *sk)
{
	return READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline void fill_user(struct packets_user *user, struct task_struct *task,
				      struct sock *sk, uint32_t how)
{
	struct task_struct *leader = READ(task, group_leader);

	user->start_ns = READ(leader, start_boottime);
	user->cgroup_id = READ(task, cgroups, dfl_cgrp, kn, id);
	user->cgroup_v1_id = cgroup_v1_id_of(task);
	user->pid = READ(task, tgid);
	user->exec_id = (uint32_t)READ(leader, self_exec_id);
	user->how = how;
	user->net_ns = net_ns_of(sk);
	READ_INTO(&user->comm, leader, comm);
}

static __always_inline bool is_internet(struct sock *sk)
{
	uint16_t family = READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline void users_create_body(struct bpf_sock *ctx)
{
	struct packets_users *users =
		bpf_sk_storage_get(&exh_pkt_users, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct sock *plain = NULL;

	if (!users)
		return;
	/* The verifier forbids arithmetic on the socket of a context. */
	READ_BYTES(&plain, sizeof(plain), &ctx);
	fill_user(&users->creator, (void *)bpf_get_current_task(), plain, PACKETS_CREATED);
	users->last = users->creator;
}

/* In the context of the process that sends or receives. */
static __always_inline void users_call_body(struct sock *sk, uint32_t how)
{
	struct packets_users *users;

	if (!is_internet(sk))
		return;
	users = bpf_sk_storage_get(&exh_pkt_users, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!users || (users->last.how && users->last.pid == bpf_get_current_pid_tgid() >> 32))
		return;
	fill_user(&users->last, (void *)bpf_get_current_task(), sk, how);
	if (!users->creator.how)
		users->creator = users->last;
}

/* Sockets that are older than we are: their first and their last holder. */
static __always_inline void users_stock_body(struct task_struct *task, struct sock *sk)
{
	struct packets_users *users;

	if (!is_internet(sk))
		return;
	users = bpf_sk_storage_get(&exh_pkt_users, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!users)
		return;
	if (!users->creator.how) {
		fill_user(&users->creator, task, sk, PACKETS_FOUND);
		users->last = users->creator;
	} else if (users->last.how == PACKETS_FOUND) {
		fill_user(&users->last, task, sk, PACKETS_FOUND);
	}
}

/* ---- one packet --------------------------------------------------------------------------------------- */

struct seen {
	struct __sk_buff *skb;
	struct packets_users *users; /* NULL: of no socket, or one that nobody is known of */
	uint64_t socket;
	uint32_t net_ns;
	uint8_t direction;
	uint8_t flags;
};

static __always_inline void fill_head(struct packets_head *h, const struct seen *seen)
{
	struct __sk_buff *skb = seen->skb;

	h->boottime_ns = bpf_ktime_get_boot_ns();
	h->socket = seen->socket;
	h->len = skb->len;
	h->ifindex = skb->ifindex;
	h->net_ns = seen->net_ns;
	h->cpu = (uint16_t)bpf_get_smp_processor_id();
	h->vlan_tci = (uint16_t)skb->vlan_tci;
	h->vlan_protocol = (uint16_t)skb->vlan_proto;
	h->direction = seen->direction;
	h->flags = seen->flags;
	if (skb->vlan_present)
		h->flags |= PACKETS_VLAN;
	if (seen->users)
		h->users = *seen->users;
	else
		__builtin_memset(&h->users, 0, sizeof(h->users));
}

/* The first bytes, at most max (a constant once loaded) and limit. Returns how many; they could not be had: 0. */
static __always_inline uint32_t load_bytes(struct __sk_buff *skb, void *to, uint32_t max,
					   uint32_t limit)
{
	uint32_t len = skb->len;

	if (len > limit)
		len = limit;
	if (len == 0)
		return 0;
	/* Before 6.8 or so "not 0" does not make it at least 1 to the verifier; one less and one more does. */
	len--;
	OPAQUE(len);
	if (len >= max)
		len = max - 1;
	len++;
	return bpf_skb_load_bytes(skb, 0, to, len) ? 0 : len;
}

/* At the root of the cgroups: skb->sk is the local end both ways. */
static __always_inline void see_cgroup(struct seen *seen, struct __sk_buff *skb, uint8_t direction)
{
	struct bpf_sock *sk = skb->sk;
	struct sock *plain = NULL;

	__builtin_memset(seen, 0, sizeof(*seen));
	seen->skb = skb;
	seen->direction = direction;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk)
		return;
	seen->users = bpf_sk_storage_get(&exh_pkt_users, sk, 0, 0);
	if (seen->users && !seen->users->creator.how)
		seen->users = NULL;
	seen->socket = bpf_get_socket_cookie(skb);
	/* Three reads of the kernel's memory are a fifth of what a packet costs here. */
	if (seen->users) {
		seen->net_ns = seen->users->creator.net_ns;
		return;
	}
	READ_BYTES(&plain, sizeof(plain), &sk);
	seen->net_ns = net_ns_of(plain);
}

#endif
