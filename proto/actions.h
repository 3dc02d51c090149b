/* SPDX-License-Identifier: Apache-2.0 */
/* The one table of event.action: name, class, lane, ECS categories. And the names of classes, lanes,
 * hooks, gap places. Adding an action is one row in actions.c. Numbers are those of event.proto. */
#ifndef PROTO_ACTIONS_H
#define PROTO_ACTIONS_H

#include "proto/base/base.h"

/* The numbers of event.proto for those who do not include generated code; agent/encode.c asserts
 * that they are equal. */
enum {
	ACTION_UNKNOWN = 0,
	ACTION_EXEC = 1,
	ACTION_FORK = 2,
	ACTION_EXIT = 3,
	ACTION_CREATE = 10,
	ACTION_OPEN_WRITE = 11,
	ACTION_MODIFY = 12,
	ACTION_RENAME = 13,
	ACTION_UNLINK = 14,
	ACTION_CONNECT = 30,
	ACTION_ACCEPT = 31,
	ACTION_LISTEN = 32,
	ACTION_DISCONNECT = 33,
	ACTION_UDP_FLOW = 34,
	ACTION_PROCESS = 50,
	ACTION_SOCKET = 51,
	ACTION_GAP = 70,
	ACTION_COVERAGE = 71,
	ACTION_AGENT_START = 72,
	ACTION_AGENT_STOP = 73,
	ACTION_ORDER = 74,
	ACTION_TAMPER = 75,
	ACTION_AGENT_STOCK = 76,
};

enum {
	CLASS_UNKNOWN = 0,
	CLASS_EXEC = 1,
	CLASS_FORK = 2,
	CLASS_EXIT = 3,
	CLASS_FILE_OPEN = 4,
	CLASS_FILE_CHANGE = 5,
	CLASS_TCP = 6,
	CLASS_UDP = 7,
	CLASS_AGENT = 8,
};

enum {
	HOOK_UNKNOWN = 0,
	HOOK_TP_BTF = 1,
	HOOK_RAW_TP = 2,
	HOOK_SYS_EXIT = 3,
	HOOK_ITER = 4,
	HOOK_CGROUP = 5,
	HOOK_FANOTIFY = 6,
	HOOK_PROCFS = 7,
	HOOK_AGENT = 8,
};

enum { VIA_SYSCALL = 0, VIA_IO_URING = 1, VIA_COMPAT = 2 };

enum {
	GAP_UNKNOWN = 0,
	GAP_RING = 1,
	GAP_SCRATCH = 2,
	GAP_FANOTIFY = 3,
	GAP_DECODE = 4,
	GAP_JOURNAL = 5,
	GAP_AGENT_DOWN = 6,
	GAP_QUEUE = 7,
	GAP_TABLE = 8,
};

/* Event.flags, bits. */
enum {
	EVENT_EXISTING = 1,
	EVENT_TRUNCATED = 2,
	EVENT_INCOMPLETE = 4,
	EVENT_EXE_DELETED = 8,
	EVENT_EXE_MEMFD = 16,
	EVENT_EXEC_SESSION = 32,
};

struct action {
	uint32_t number;
	const char *name; /* event.action */
	uint32_t class;
	const char *category; /* event.category: "process", "file", "network", "host" */
	const char *type; /* event.type: "start", "end", "creation", ... */
	const char *kind; /* event.kind: "event", "metric", "pipeline_error" */
};

/* NULL: unknown number or name (stored and shown as unknown). */
const struct action *action_by_number(uint32_t number);
const struct action *action_by_name(const char *name);
/* The i-th row, NULL past the end (for help and completion). */
const struct action *action_at(size_t i);

/* "exec", "file_open"...; "class 99" never: "unknown". */
const char *class_name(uint32_t class);
/* BATCH_LANE_CRITICAL or BATCH_LANE_BULK; critical for what is unknown. */
uint32_t class_lane(uint32_t class);
const char *lane_name(uint32_t lane);
const char *hook_name(uint32_t hook);
const char *gap_where_name(uint32_t where);
const char *via_name(uint32_t via);

#endif
