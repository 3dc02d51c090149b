/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose socket it is, and what its two ends are. The table is keyed by the socket's address in the
 * kernel, filled where the owner runs (connect, listen, accept, socket creation, stock-taking) and
 * read where a packet or a timer runs in whatever context. */
#ifndef BPF_OWNER_BPF_H
#define BPF_OWNER_BPF_H

#include "bpf/kernel.h"

#define OWNERS 32768

struct owner {
	struct rec_actor actor; /* image.pid 0: not known (yet); net_ns: the socket's */
	uint64_t opened_ns;
	struct rec_flow_key first; /* UDP: its first flow, flushed when the socket is closed */
	uint16_t flags; /* REC_IO_URING, REC_COMPAT: how it was opened */
	uint8_t role; /* enum rec_role */
	uint8_t pad[5];
};

/* Full: later records say REC_OWNER_NONE, none is missing. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OWNERS);
	__type(key, uint64_t);
	__type(value, struct owner);
} exh_owners SEC(".maps");

struct ends {
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t family; /* 4 or 6 */
};

/* The verifier forbids arithmetic on the socket of a context; as a number it may be read
 * through. */
static __always_inline struct sock *plain_sock(void *context_sock)
{
	struct sock *sk = NULL;

	READ_BYTES(&sk, sizeof(sk), &context_sock);
	return sk;
}

/* Nonzero: there is no room. */
static __always_inline long own_socket(struct sock *sk, const struct rec_actor *actor,
				       uint32_t role, uint64_t opened_ns, uint32_t flags)
{
	uint64_t key = (uint64_t)sk;
	struct owner owner, *old = bpf_map_lookup_elem(&exh_owners, &key);

	if (old) {
		old->actor = *actor;
		old->role = role;
		old->flags = flags;
		return 0;
	}
	__builtin_memset(&owner, 0, sizeof(owner));
	owner.actor = *actor;
	owner.opened_ns = opened_ns;
	owner.role = role;
	owner.flags = flags;
	return bpf_map_update_elem(&exh_owners, &key, &owner, BPF_ANY);
}

static __always_inline void disown_socket(struct sock *sk)
{
	uint64_t key = (uint64_t)sk;

	bpf_map_delete_elem(&exh_owners, &key);
}

static __always_inline bool is_mapped(const uint8_t *a)
{
	const uint32_t *word = (const uint32_t *)a;

	return word[0] == 0 && word[1] == 0 && word[2] == __builtin_bswap32(0xffff);
}

/* An IPv6 socket that speaks IPv4 keeps mapped addresses; a listener on :: is IPv6. skc_num is gone
 * by the time a connection is closed, inet_sport is not. typed: the verifier knows sk's type. */
static __always_inline void fill_ends(struct ends *ends, struct sock *sk, bool typed)
{
	struct inet_sock *inet = (void *)sk;

	ends->local_port = LOAD_IF(typed, sk, __sk_common.skc_num);
	if (!ends->local_port)
		ends->local_port = __builtin_bswap16(READ(inet, inet_sport));
	ends->remote_port = __builtin_bswap16(LOAD_IF(typed, sk, __sk_common.skc_dport));
	ends->family = 4;
	if (LOAD_IF(typed, sk, __sk_common.skc_family) == AF_INET6) {
		READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr);
		READ_INTO(&ends->remote, sk, __sk_common.skc_v6_daddr);
		if (!is_mapped(ends->remote) && !is_mapped(ends->local)) {
			ends->family = 6;
			return;
		}
		__builtin_memset(ends->local, 0, sizeof(ends->local));
		__builtin_memset(ends->remote, 0, sizeof(ends->remote));
	}
	*(uint32_t *)ends->local = LOAD_IF(typed, sk, __sk_common.skc_rcv_saddr);
	*(uint32_t *)ends->remote = LOAD_IF(typed, sk, __sk_common.skc_daddr);
}

#endif
