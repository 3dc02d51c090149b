/* SPDX-License-Identifier: Apache-2.0 */
/* Categories and types are those of the Elastic Common Schema 8. */
#include "proto/actions.h"

#include <string.h>

#include "proto/batch.h"

#define ROW(action, name, class, category, type, kind)                                             \
	{                                                                                          \
		ACTION_##action, name, CLASS_##class, category, type, kind                         \
	}

static const struct action actions[] = {
	ROW(EXEC, "exec", EXEC, "process", "start", "event"),
	ROW(FORK, "fork", FORK, "process", "start", "event"),
	ROW(EXIT, "exit", EXIT, "process", "end", "event"),
	ROW(CREATE, "create", FILE_OPEN, "file", "creation", "event"),
	ROW(OPEN_WRITE, "open_write", FILE_OPEN, "file", "access", "event"),
	ROW(MODIFY, "modify", FILE_CHANGE, "file", "change", "event"),
	ROW(RENAME, "rename", FILE_CHANGE, "file", "change", "event"),
	ROW(UNLINK, "unlink", FILE_CHANGE, "file", "deletion", "event"),
	ROW(CONNECT, "connect", TCP, "network", "start", "event"),
	ROW(ACCEPT, "accept", TCP, "network", "start", "event"),
	ROW(LISTEN, "listen", TCP, "network", "info", "event"),
	ROW(DISCONNECT, "disconnect", TCP, "network", "end", "event"),
	ROW(UDP_FLOW, "udp_flow", UDP, "network", "connection", "event"),
	/* Stock-taking: fields.c shows these under the action that they stand for. */
	ROW(PROCESS, "exec", EXEC, "process", "start", "state"),
	ROW(SOCKET, "connect", TCP, "network", "start", "state"),
	ROW(GAP, "gap", AGENT, "host", "error", "pipeline_error"),
	ROW(COVERAGE, "coverage", AGENT, "host", "info", "state"),
	ROW(AGENT_START, "agent_start", AGENT, "host", "start", "event"),
	ROW(AGENT_STOP, "agent_stop", AGENT, "host", "end", "event"),
	ROW(AGENT_STOCK, "agent_stock", AGENT, "host", "info", "state"),
	ROW(ORDER, "order", AGENT, "host", "info", "event"),
	ROW(TAMPER, "tamper", AGENT, "intrusion_detection", "denied", "alert"),
};

struct name {
	uint32_t number;
	const char *name;
};

static const struct name classes[] = {
	{ CLASS_EXEC, "exec" },
	{ CLASS_FORK, "fork" },
	{ CLASS_EXIT, "exit" },
	{ CLASS_FILE_OPEN, "file_open" },
	{ CLASS_FILE_CHANGE, "file_change" },
	{ CLASS_TCP, "tcp" },
	{ CLASS_UDP, "udp" },
	{ CLASS_AGENT, "agent" },
};

static const uint32_t bulk_classes[] = {
	CLASS_FILE_OPEN,
	CLASS_FILE_CHANGE,
	CLASS_TCP,
	CLASS_UDP,
};

static const struct name hooks[] = {
	{ HOOK_TP_BTF, "tp_btf" }, { HOOK_RAW_TP, "raw_tp" }, { HOOK_SYS_EXIT, "sys_exit" },
	{ HOOK_ITER, "iter" },     { HOOK_CGROUP, "cgroup" }, { HOOK_FANOTIFY, "fanotify" },
	{ HOOK_PROCFS, "procfs" }, { HOOK_AGENT, "agent" },
};

static const struct name places[] = {
	{ GAP_RING, "ring" },     { GAP_SCRATCH, "scratch" }, { GAP_FANOTIFY, "fanotify" },
	{ GAP_DECODE, "decode" }, { GAP_JOURNAL, "journal" }, { GAP_AGENT_DOWN, "agent_down" },
	{ GAP_QUEUE, "queue" },   { GAP_TABLE, "table" },
};

static const struct name vias[] = {
	{ VIA_SYSCALL, "syscall" },
	{ VIA_IO_URING, "io_uring" },
	{ VIA_COMPAT, "compat" },
};

static const struct name lanes[] = {
	{ BATCH_LANE_CRITICAL, "critical" },
	{ BATCH_LANE_BULK, "bulk" },
};

static const char *name_of(const struct name *names, size_t n, uint32_t number)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].number == number)
			return names[i].name;
	return "unknown";
}

const struct action *action_by_number(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (actions[i].number == number)
			return &actions[i];
	return NULL;
}

const struct action *action_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return &actions[i];
	return NULL;
}

const struct action *action_at(size_t i)
{
	return i < ARRAY_LEN(actions) ? &actions[i] : NULL;
}

const char *class_name(uint32_t class)
{
	return name_of(classes, ARRAY_LEN(classes), class);
}

uint32_t class_lane(uint32_t class)
{
	for (size_t i = 0; i < ARRAY_LEN(bulk_classes); i++)
		if (bulk_classes[i] == class)
			return BATCH_LANE_BULK;
	return BATCH_LANE_CRITICAL;
}

const char *lane_name(uint32_t lane)
{
	return name_of(lanes, ARRAY_LEN(lanes), lane);
}

const char *hook_name(uint32_t hook)
{
	return name_of(hooks, ARRAY_LEN(hooks), hook);
}

const char *gap_where_name(uint32_t where)
{
	return name_of(places, ARRAY_LEN(places), where);
}

const char *via_name(uint32_t via)
{
	return name_of(vias, ARRAY_LEN(vias), via);
}
