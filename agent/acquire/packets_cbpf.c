/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_cbpf.h"

#include "agent/acquire/packets_block.h"

#define COOKED_TYPE 0 /* offsets in the header */
#define COOKED_PROTOCOL 14
#define PASS_TAGGED 3 /* instructions */

/* As libpcap does it for its device "any". */
static bool move_load(struct sock_filter *at)
{
	if (BPF_MODE(at->code) == BPF_LEN)
		return false;
	if (BPF_MODE(at->code) != BPF_ABS && BPF_MODE(at->code) != BPF_IND &&
	    BPF_MODE(at->code) != BPF_MSH)
		return true;
	if (at->k >= PACKETS_COOKED_LEN && at->k <= INT32_MAX)
		at->k -= PACKETS_COOKED_LEN;
	else if (at->k == COOKED_PROTOCOL && BPF_MODE(at->code) == BPF_ABS)
		at->k = (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL);
	else if (at->k == COOKED_TYPE && BPF_MODE(at->code) == BPF_ABS &&
		 BPF_SIZE(at->code) == BPF_H)
		at->k = (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE);
	else
		return false;
	return true;
}

static bool convert(struct sock_filter *at, bool cooked, uint32_t bytes)
{
	int class = BPF_CLASS(at->code);

	if (class == BPF_RET) {
		if (BPF_RVAL(at->code) != BPF_K)
			return false;
		at->k = at->k == 0 ? 0 : bytes;
		return true;
	}
	return !cooked || (class != BPF_LD && class != BPF_LDX) || move_load(at);
}

size_t packets_cbpf(const struct sock_filter *from, size_t n, bool cooked, uint32_t bytes,
		    struct sock_filter ret[static PACKETS_CBPF_MAX])
{
	const struct sock_filter pass = BPF_STMT(BPF_RET | BPF_K, bytes);

	if (n == 0) {
		ret[0] = pass;
		return 1;
	}
	if (n > PACKETS_CBPF_MAX - PASS_TAGGED)
		return 0;
	ret[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_B | BPF_ABS,
					      (uint32_t)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT));
	ret[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
	ret[2] = pass;
	for (size_t i = 0; i < n; i++) {
		ret[PASS_TAGGED + i] = from[i];
		if (!convert(&ret[PASS_TAGGED + i], cooked, bytes))
			return 0;
	}
	return PASS_TAGGED + n;
}
