/* SPDX-License-Identifier: Apache-2.0 */
/* What one decoded record says, before and after enrichment: plain structs, pointers borrowed from
 * the record (or from whoever made the event) for the duration of one call. The words are those of
 * proto/event.proto, whose messages encode.c makes from them. */
#ifndef AGENT_EVENT_H
#define AGENT_EVENT_H

#include "bpf/record.h"
#include "proto/base/base.h"

struct bytes {
	const uint8_t *at; /* NULL with len 0: absent */
	size_t len;
};

/* A process image as exec, fork or stock-taking describe it. */
struct image_facts {
	struct rec_image key, parent;
	struct bytes name, executable, working_directory, cgroup_name;
	struct bytes args; /* NUL-separated as the kernel laid them out */
	uint64_t args_bytes;
	uint32_t uid, gid, mnt_ns, pid_ns, net_ns, user_ns, flags; /* flags: Event.flags bits */
	uint64_t cap_effective, cgroup_id, cgroup_v1_id, inode, device;
};

struct event_file {
	struct bytes path, old_path;
	uint64_t inode, device, size, size_before;
	bool has_size, has_size_before;
	uint32_t mode, uid, gid, open_flags, repeated;
};

struct event_net {
	uint32_t transport, source_port, destination_port, net_ns;
	uint8_t ip_len; /* 4 or 16, both addresses */
	uint8_t source_ip[16], destination_ip[16];
	bool has_destination, inbound, listening;
	bool has_bytes, has_duration;
	uint64_t source_bytes, destination_bytes, source_packets, destination_packets, duration_ns;
};

struct event_gap {
	uint32_t where; /* GAP_* of event.proto */
	uint32_t class;
	bool has_cpu, has_count;
	uint32_t cpu;
	uint64_t count, from_ns, to_ns;
	const char *reason;
};

struct event_order {
	struct bytes order_id, reason, requester, case_id, exhibit_id, manifest_sha256,
		order_sha256, actor, certificate_sha256;
	uint32_t kind, state; /* OrderKind, OrderState of order.proto */
	uint64_t bytes;
	int64_t signed_ns; /* Unix time; 0: not said */
};

struct event_exit {
	uint32_t code, signal;
};

struct event_exec {
	struct rec_image replaced;
	struct bytes filename;
};

struct event {
	uint32_t action; /* ACTION_* of event.proto; decides which member of the union is set */
	uint32_t class, hook, tier, via, flags, error;
	uint64_t boottime_ns;
	struct rec_image image; /* who did it; all zero: nobody */
	uint32_t thread_id;
	union {
		struct event_exec exec;
		struct event_exit exit;
		struct event_file file;
		struct event_net net;
		struct event_gap gap;
		struct event_order order;
	} u;
	const struct image_facts
		*facts; /* exec, fork, stock-taking: the image described; else NULL */
};

#endif
