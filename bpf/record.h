/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* All that the kernel side and the agent both know: what a record looks like, and the shared maps.
 * A record is a fixed part (struct rec_*, which begins with struct rec_header) and a tail: byte
 * strings one after the other, in the order and with the lengths that the fixed part gives, no
 * padding, no terminating NUL. Native byte order, records start 8-byte aligned, nothing here is a
 * pointer. Unused members and padding are 0. Layout changes raise REC_LAYOUT; records never leave
 * the host. */
#ifndef BPF_RECORD_H
#define BPF_RECORD_H

#ifdef __bpf__
#include <linux/types.h>
typedef __u8 uint8_t;
typedef __u16 uint16_t;
typedef __u32 uint32_t;
typedef __u64 uint64_t;
typedef __s32 int32_t;
#define REC_OFFSET(type, member) __builtin_offsetof(type, member)
#else
#include <stddef.h>
#include <stdint.h>
#define REC_OFFSET(type, member) offsetof(type, member)
#endif

#define REC_LAYOUT 1

#define REC_PATH_MAX                                                                               \
	4096 /* bytes of one resolved path, no NUL; longer ones keep their tail (REC_INCOMPLETE) */
#define REC_ARGS_MAX 32768 /* bytes of arguments that a record carries (REC_TRUNCATED beyond) */
#define REC_NAME_MAX 255 /* bytes of one kernfs name */
#define REC_OWN_MAX 64 /* processes of our own whose files and sockets are filtered */
#define REC_COMM_LEN 16 /* NUL-padded, as the kernel keeps it */
#define REC_MAX (48 * 1024) /* no record is longer */

enum rec_ring {
	REC_RING_CRITICAL = 0, /* exec, fork, exit */
	REC_RING_BULK = 1, /* files, network */
	REC_RINGS,
	REC_RING_NONE = 255, /* not from a ring: iterators, the sweep of UDP flows; seq is 0 */
};

enum rec_type {
	REC_EXEC = 1, /* struct rec_exec */
	REC_FORK, /* struct rec_fork */
	REC_EXIT, /* struct rec_exit */
	REC_FILE_OPEN, /* struct rec_file_open */
	REC_TCP, /* struct rec_tcp */
	REC_UDP_FLOW, /* struct rec_udp_flow */
	REC_PROCESS, /* struct rec_exec with REC_EXISTING: was there when the agent started */
	REC_SOCKET, /* struct rec_socket with REC_EXISTING */
	REC_CGROUP, /* struct rec_cgroup */
	REC_TYPES, /* one past the last */
};

/* What is counted, budgeted and covered as one: the index into the counters. */
enum rec_class {
	REC_CLASS_EXEC = 0,
	REC_CLASS_FORK,
	REC_CLASS_EXIT,
	REC_CLASS_FILE_OPEN, /* create, open_write */
	REC_CLASS_TCP, /* connect, listen, disconnect */
	REC_CLASS_TCP_ACCEPT, /* accept */
	REC_CLASS_UDP, /* udp_flow; see struct rec_counters */
	REC_CLASS_STOCK_PROCESS,
	REC_CLASS_STOCK_SOCKET,
	REC_CLASS_URING_OPEN, /* create, open_write, of io_uring's */
	REC_CLASS_URING_ACCEPT, /* accept, likewise */
	REC_CLASS_CGROUP, /* no event: what workloads are named by */
	REC_CLASSES, /* one past the last */
};

/* rec_header.flags */
#define REC_TRUNCATED 0x0001 /* args_len < args_bytes */
#define REC_INCOMPLETE 0x0002 /* a path could not be walked to the root: its head is missing */
#define REC_EXISTING 0x0004 /* not an event: was there at start */
#define REC_COMPAT 0x0008 /* through a 32-bit system call */
#define REC_IO_URING 0x0010 /* an io_uring worker or submission did it */
#define REC_OWNER_SOCKET                                                                           \
	0x0020 /* actor fields are those of the socket's owner, not of the running task */
#define REC_OWNER_NONE 0x0040 /* nobody known did it: image.pid is 0, actor fields are 0 */
#define REC_CWD_INCOMPLETE 0x0080 /* as REC_INCOMPLETE, of the working directory */
#define REC_ARGS_UNREAD 0x0100 /* args_bytes is right, but (some of) the pages could not be read */

/* The process image key, without the boot id. */
struct rec_image {
	uint32_t pid; /* tgid in the initial pid namespace; 0: none or unknown */
	uint32_t exec_id; /* leader's self_exec_id */
	uint64_t start_ns; /* leader's start_boottime */
};

/* Who does something: "actor fields". */
struct rec_actor {
	struct rec_image image;
	struct rec_image parent; /* of the real parent, now */
	uint64_t cgroup_id; /* v2 (default) hierarchy */
	uint64_t cgroup_v1_id; /* on v1 and hybrid hosts: memory's, else pids'; 0: none */
	uint32_t tid;
	uint32_t uid; /* effective ids, initial user namespace */
	uint32_t gid;
	uint32_t mnt_ns; /* inode numbers of namespaces */
	uint32_t pid_ns;
	uint32_t net_ns; /* in socket records: the socket's */
	uint32_t user_ns;
	uint32_t pad;
	char comm[REC_COMM_LEN];
};

struct rec_header {
	uint32_t len; /* of the whole record, fixed part and tail */
	uint16_t type; /* enum rec_type */
	uint16_t flags; /* REC_TRUNCATED... */
	uint64_t seq; /* per CPU and ring, from 1, before space is reserved: a hole is a loss */
	uint64_t boottime_ns;
	uint32_t cpu;
	uint16_t layout; /* REC_LAYOUT */
	uint8_t ring; /* enum rec_ring */
	uint8_t class; /* enum rec_class */
	struct rec_actor actor;
};

/* rec_exec.exe_flags */
#define REC_EXE_MEMFD 0x01 /* the executable is a memfd: path is "memfd:NAME" */
#define REC_EXE_DELETED 0x02 /* it had no link left */
#define REC_EXE_SETID 0x04 /* effective and real uid or gid differ: set-id executable (or caller) */
#define REC_EXE_KTHREAD 0x08 /* REC_PROCESS only: a kernel thread, no executable */

/* Tail: path, cwd, name, cgroup, cgroup_v1, args. */
struct rec_exec {
	struct rec_header h; /* actor: the new image */
	struct rec_image replaced; /* what the same pid ran before; REC_PROCESS: pid 0 */
	uint64_t inode; /* of the executable; for a script, of its interpreter */
	uint64_t size; /* of the executable, bytes */
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t cap_effective;
	uint64_t args_bytes; /* true length of the argument area, terminating NULs included */
	uint32_t args_len; /* bytes in the tail, at most REC_ARGS_MAX; each ends with a NUL */
	uint16_t path_len; /* executable, from the global root of the mount tree */
	uint16_t cwd_len; /* working directory, likewise */
	uint16_t name_len; /* what exec was called with (a script: its path); not resolved */
	uint16_t cgroup_len; /* last component of the v2 cgroup */
	uint16_t cgroup_v1_len; /* last component of the v1 cgroup of cgroup_v1_id */
	uint16_t exe_flags; /* REC_EXE_... */
};

/* No tail. */
struct rec_fork {
	struct rec_header h; /* actor: the child; actor.parent: its real parent */
	struct rec_image caller; /* who called fork; differs from the parent with CLONE_PARENT */
};

/* No tail. Sent when the last thread of a process ends. */
struct rec_exit {
	struct rec_header h;
	uint32_t exit_code; /* 0..255 */
	uint32_t signal; /* 0: it ended by itself */
	uint32_t core_dumped; /* 0 or 1 */
	uint32_t pad;
};

enum rec_file_op {
	REC_FILE_CREATE = 1,
	REC_FILE_OPEN_WRITE = 2,
};

/* Tail: path. Regular files only. */
struct rec_file_open {
	struct rec_header h;
	uint64_t inode;
	uint64_t size; /* bytes, when the call returned */
	uint32_t dev_major;
	uint32_t dev_minor;
	uint32_t mode; /* st_mode */
	uint32_t uid; /* owner, initial user namespace */
	uint32_t gid;
	uint32_t open_flags; /* file->f_flags: O_CREAT, O_EXCL, O_TRUNC are gone from it */
	uint32_t nlink;
	uint32_t repeated; /* opens like this one since the record before it, folded */
	uint32_t pad;
	uint16_t path_len;
	uint8_t op; /* enum rec_file_op */
	uint8_t size_before_known; /* 1: size is also that before this open (create: 0) */
	uint32_t pad2;
};

enum rec_tcp_op {
	REC_TCP_CONNECT =
		1, /* SYN about to be sent, in the caller's context, whether or not it succeeds */
	REC_TCP_ACCEPT = 2, /* accept returned the connection */
	REC_TCP_LISTEN = 3,
	REC_TCP_DISCONNECT = 4, /* was established, or connecting (error says why that failed) */
};

enum rec_role {
	REC_ROLE_UNKNOWN = 0,
	REC_ROLE_OPENER = 1, /* local end connected, or sent first */
	REC_ROLE_ACCEPTER = 2, /* remote end did */
};

/* No tail. Addresses: network order; IPv4 (v4-mapped too) in the first 4 bytes, family 4. */
struct rec_tcp {
	struct rec_header h;
	uint64_t socket; /* the kernel's socket cookie; 0: none */
	uint64_t bytes_out; /* disconnect: acknowledged by the peer, else 0 */
	uint64_t bytes_in; /* disconnect: received in order, else 0 */
	uint64_t opened_ns; /* disconnect: boottime of connect or of establishment; 0: unknown */
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port; /* host order; 0: on connect, without a sockops hook */
	uint16_t remote_port;
	uint8_t family; /* 4 or 6 */
	uint8_t op; /* enum rec_tcp_op */
	uint8_t role; /* enum rec_role */
	uint8_t established; /* disconnect: 1 when it ever was */
	int32_t error; /* disconnect: positive errno of the socket (ECONNREFUSED...), 0: none */
	uint32_t pad;
};

/* No tail. One socket and one peer between two flushes. */
struct rec_udp_flow {
	struct rec_header h; /* boottime_ns: of the flush; actor: the socket's owner */
	uint64_t socket;
	uint64_t bytes_out; /* UDP payload */
	uint64_t bytes_in;
	uint64_t packets_out;
	uint64_t packets_in;
	uint64_t first_ns; /* boottime of the first and last packet counted here */
	uint64_t last_ns;
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t family; /* 4 or 6 */
	uint8_t role; /* enum rec_role: who sent the first packet */
	uint8_t closed; /* 1: flushed because the socket was closed */
	uint8_t pad;
};

/* A UDP flow in the kernel's table exh_flows, whose value is a struct rec_udp_flow that is not sent
 * yet: layout, type, class, flags and actor of its header are filled in. */
struct rec_flow_key {
	uint64_t socket; /* cookie */
	uint8_t remote[16];
	uint16_t remote_port;
	uint8_t family; /* 4 or 6 */
	uint8_t pad[5];
};

/* No tail. */
struct rec_socket {
	struct rec_header h; /* actor: the process in which it was found first */
	uint64_t socket;
	uint64_t bytes_out; /* TCP, so far */
	uint64_t bytes_in;
	uint8_t local[16];
	uint8_t remote[16];
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t family; /* 4 or 6 */
	uint8_t protocol; /* 6 TCP, 17 UDP */
	uint8_t state; /* the kernel's TCP_*: 1 established, 10 listen; UDP: 1 connected, 7 not */
	uint8_t role; /* enum rec_role */
	uint32_t fd;
	uint32_t pad;
};

#define REC_CGROUP_PATH_MAX 1024 /* the kernel's own bound, a NUL included */

/* Tail: path. A cgroup was made, of the unified hierarchy or of v1's memory, else pids. Actor: nobody. */
struct rec_cgroup {
	struct rec_header h;
	uint64_t id;
	uint32_t hierarchy; /* 0: the unified one */
	uint16_t path_len; /* from the hierarchy's root */
	uint16_t pad;
};

/* One per CPU and class; seen = filtered + aggregated + sent + lost_ring + lost_scratch,
 * exactly, when nothing is running. UDP: every packet is seen and aggregated (or filtered, or
 * lost_scratch when the flow table is full), and every flushed flow is once more seen and sent
 * (or lost_ring). */
struct rec_counters {
	uint64_t seen;
	uint64_t filtered;
	uint64_t aggregated;
	uint64_t sent;
	uint64_t lost_ring; /* no space in the ring: a hole in seq */
	uint64_t lost_scratch; /* no scratch buffer or table space: no seq was given */
};

_Static_assert(sizeof(struct rec_image) == 16, "layout");
_Static_assert(sizeof(struct rec_actor) == 96, "layout");
_Static_assert(sizeof(struct rec_header) == 128, "layout");
_Static_assert(REC_OFFSET(struct rec_header, actor) == 32, "layout");
_Static_assert(REC_OFFSET(struct rec_actor, comm) == 80, "layout");
_Static_assert(sizeof(struct rec_exec) == 200, "layout");
_Static_assert(REC_OFFSET(struct rec_exec, args_len) == 184, "layout");
_Static_assert(sizeof(struct rec_fork) == 144, "layout");
_Static_assert(sizeof(struct rec_exit) == 144, "layout");
_Static_assert(sizeof(struct rec_file_open) == 192, "layout");
_Static_assert(REC_OFFSET(struct rec_file_open, path_len) == 180, "layout");
_Static_assert(sizeof(struct rec_tcp) == 208, "layout");
_Static_assert(REC_OFFSET(struct rec_tcp, local) == 160, "layout");
_Static_assert(sizeof(struct rec_udp_flow) == 224, "layout");
_Static_assert(REC_OFFSET(struct rec_udp_flow, local) == 184, "layout");
_Static_assert(sizeof(struct rec_flow_key) == 32, "layout");
_Static_assert(sizeof(struct rec_socket) == 200, "layout");
_Static_assert(sizeof(struct rec_cgroup) == 144, "layout");
_Static_assert(sizeof(struct rec_counters) == 48, "layout");

#endif
