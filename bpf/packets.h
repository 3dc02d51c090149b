/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the packet programs and their readers share: who uses a socket, one packet as it was seen, and the
 * recorder's state. Little-endian, no padding that is not named; sizes are asserted by both compilers. */
#ifndef BPF_PACKETS_H
#define BPF_PACKETS_H

#ifdef __bpf__
#include "bpf/record.h"
#else
#include <stdint.h>
#endif

#define PACKETS_COMM_LEN 16
#define PACKETS_BYTES_MAX                                                                          \
	65535 /* of one packet: what a length in IPv4 can say, and a segmented send (GSO) has */
#define PACKETS_SKIP_MAX 64 /* processes that are left out */
#define PACKETS_CGROUPS_MAX 1024 /* of one container */

/* How a process came to be known as a user of a socket. */
enum packets_how {
	PACKETS_UNKNOWN = 0, /* nobody, or not known */
	PACKETS_CREATED = 1,
	PACKETS_SENT = 2,
	PACKETS_RECEIVED = 3,
	PACKETS_FOUND = 4, /* it held the socket when we began */
};

struct packets_user {
	uint64_t start_ns; /* leader's start_boottime; with pid and exec_id the process's key */
	uint64_t cgroup_id; /* v2 */
	uint64_t cgroup_v1_id; /* memory's, else pids'; 0: none */
	uint32_t pid; /* tgid in the first pid namespace */
	uint32_t exec_id;
	uint32_t how; /* enum packets_how */
	uint32_t net_ns; /* the socket's, which never changes: inode */
	char comm[PACKETS_COMM_LEN];
};

/* In the socket's own storage. Two, because a socket may be handed on (fork, SCM_RIGHTS) and the new user is known
 * only after its first call. */
struct packets_users {
	struct packets_user creator;
	struct packets_user last;
};

#define PACKETS_IN 1 /* as epb_flags of pcapng count them */
#define PACKETS_OUT 2

#define PACKETS_VLAN 0x01 /* vlan_tci and vlan_protocol were taken out of the bytes */
#define PACKETS_PARTIAL_SUM 0x02

struct packets_head {
	uint64_t number; /* from 1, for all CPUs; taken before there is room: a hole is a loss */
	uint64_t boottime_ns;
	uint64_t lost_before; /* packets that found no room on this CPU since its last that did */
	uint64_t socket; /* cookie; 0: none */
	uint32_t len; /* on the way */
	uint32_t caplen; /* bytes that follow */
	uint32_t ifindex;
	uint32_t net_ns; /* inode; 0: not known */
	uint16_t cpu;
	uint16_t vlan_tci;
	uint16_t vlan_protocol; /* network order, as in the packet */
	uint8_t direction; /* PACKETS_IN, PACKETS_OUT */
	uint8_t flags; /* PACKETS_VLAN... */
	struct packets_users users; /* how 0: no socket, or one that nobody is known of */
};

/* What a program counts, all CPUs: seen = sent + lost. */
struct packets_counters {
	uint64_t seen; /* of the target */
	uint64_t lost; /* no room in the ring */
	uint64_t unread; /* the bytes could not be had: sent without */
};

/* The flight recorder: slots of one head and slot_bytes - sizeof(head) bytes, slot number % slots. Writing: number
 * 0, the rest, then the number. head: how many numbers were taken. */
#define PACKETS_RECORDER_VERSION 1
struct packets_recorder {
	uint64_t head;
	uint64_t started_ns; /* boottime */
	uint32_t version;
	uint32_t agent_pid; /* in the pid namespace of inode pid_ns */
	uint32_t pid_ns;
	uint32_t slots;
	uint32_t slot_bytes; /* from one slot to the next */
	uint32_t snap; /* bytes of a packet */
	uint32_t slots_map; /* ids */
	uint32_t users_map;
};

_Static_assert(sizeof(struct packets_user) == 56, "layout");
_Static_assert(sizeof(struct packets_users) == 112, "layout");
_Static_assert(sizeof(struct packets_head) == 168, "layout");
_Static_assert(sizeof(struct packets_recorder) == 48, "layout");

#endif
