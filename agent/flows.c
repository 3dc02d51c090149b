/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/flows.h"

#include <bpf/bpf.h>
#include <errno.h>

#define BATCH 256
#define ENOTSUPP_KERNEL 524 /* what bpf(2) returns for an operation that the map does not know */

struct sweep {
	struct rec_flow_key key[BATCH];
	struct rec_udp_flow flow[BATCH];
};

static uint64_t age(uint64_t now_ns, uint64_t then_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

bool flows_due(const struct rec_udp_flow *flow, const struct flows_policy *policy, uint64_t now_ns)
{
	return age(now_ns, flow->last_ns) >= policy->idle_ns ||
	       age(now_ns, flow->first_ns) >= policy->active_ns;
}

/* Take it out with the counts that it has at that instant. -ENOENT: its socket was closed
 * meanwhile. */
static int take(int fd, const struct rec_flow_key *key, struct rec_udp_flow *ret)
{
	if (bpf_map_lookup_and_delete_elem(fd, key, ret) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOTSUPP_KERNEL && errno != EOPNOTSUPP)
		return -errno;
	if (bpf_map_lookup_elem(fd, key, ret) < 0 ||
	    bpf_map_delete_elem(fd, key) < 0) /* before 5.14 */
		return -errno;
	return 0;
}

static int flush(int fd, const struct rec_flow_key *key, uint64_t now_ns, ring_fn fn, void *ctx)
{
	struct rec_udp_flow flow;
	int r = take(fd, key, &flow);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	flow.h.len = sizeof(flow);
	flow.h.ring = REC_RING_NONE;
	flow.h.seq = 0;
	flow.h.boottime_ns = now_ns;
	r = fn(ctx, &flow, sizeof(flow));
	return r < 0 ? r : 1;
}

int flows_sweep(const struct hooks *h, const struct flows_policy *policy, uint64_t now_ns,
		ring_fn fn, void *ctx, struct error *e)
{
	AUTO(free_ptr) struct sweep *s = NULL;
	int fd = hooks_map_fd(h, "exh_flows"), flushed = 0;
	uint32_t at = 0;
	bool first = true, last = false;

	if (fd < 0)
		return 0;
	s = malloc(sizeof(*s));
	if (!s)
		return error_set(e, -ENOMEM, "cannot sweep the UDP flows: %m");
	while (!last) {
		uint32_t n = BATCH;

		if (bpf_map_lookup_batch(fd, first ? NULL : &at, &at, s->key, s->flow, &n, NULL) <
		    0) {
			if (errno != ENOENT)
				return error_set(e, -errno,
						 "cannot read the table of UDP flows: %m");
			last = true;
		}
		first = false;
		for (uint32_t i = 0; i < n; i++) {
			if (!flows_due(&s->flow[i], policy, now_ns))
				continue;
			int r = flush(fd, &s->key[i], now_ns, fn, ctx);

			if (r < 0)
				return error_set(e, r, "cannot flush a UDP flow: %m");
			flushed += r;
		}
	}
	return flushed;
}
