/* SPDX-License-Identifier: Apache-2.0 */
/* Whose packets an order asks for, and where: a process, the cgroups of a container, a network namespace, one
 * device. One thread, which for a moment enters network namespaces. */
#ifndef ACQUIRE_PACKETS_TARGET_H
#define ACQUIRE_PACKETS_TARGET_H

#include <net/if.h>

#include "agent/acquire/acquire.h"
#include "agent/cgroups_tree.h"
#include "bpf/packets.h"

struct packets_target {
	const struct acquire_request *r; /* borrowed */
	uint32_t pid; /* 0: not of one process */
	uint64_t start_ns, start_span_ns; /* its start lies in start_ns .. + span - 1 */
	struct bytes container; /* borrowed from the order; empty: none */
	struct cgroup_tree trees[CGROUP_KINDS];
	uint64_t cgroups[PACKETS_CGROUPS_MAX]; /* packets_cgroup_key */
	size_t n_cgroups;
	bool only_net_ns; /* what is in net_ns; else only packets without a user have to be */
	uint32_t net_ns; /* 0: any, or with a container: that it shares with the host */
	char interface[IF_NAMESIZE]; /* "": any */
	uint32_t ifindex, link_type; /* of interface; link_type of pcapng */
	int net_fd; /* the namespace that interface is in; -1: none */
	uint32_t inside; /* a process in the namespace asked for; 0: not known */
};

/* Ids are unique within one hierarchy only. */
static inline uint64_t packets_cgroup_key(uint64_t id, bool v1)
{
	return id << 1 | (v1 ? 1 : 0);
}

/* -ESRCH: no such process, container or namespace; -ENODEV: no such device. */
MUST_CHECK int packets_target_open(const struct acquire_request *r, struct packets_target *ret,
				   struct error *e);
void packets_target_close(struct packets_target *t);
/* A container's cgroups as they are now; true: there are others than before. */
bool packets_target_refresh(struct packets_target *t);
/* The same question that the kernel's program answers, for packets from the recorder. */
bool packets_target_wants(const struct packets_target *t, const struct packets_head *h);
/* Open the network namespace that everything asked for is in, without anything else. -ENOTSUP: there is none. */
MUST_CHECK int packets_target_place(struct packets_target *t, struct error *e);
bool packets_target_is_host(const struct packets_target *t);
/* Is a process in it still? */
bool packets_target_is_there(const struct packets_target *t);
/* The name of a device; "if7" when it cannot be asked for. pid: a process that may be in net_ns, 0: none. */
const char *packets_device_name(const struct acquire_request *r, uint32_t net_ns, uint32_t ifindex,
				uint32_t pid, char buf[static IF_NAMESIZE]);
/* Run fn within the network namespace of fd. Negative errno: it could not be entered. */
MUST_CHECK int packets_within(int fd, int (*fn)(void *ctx), void *ctx);

#endif
