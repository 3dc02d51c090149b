/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>

#include "agent/acquire/acquire.h"

#define CAP(name) (1ULL << CAP_##name)
/* Every file; those of other users without a new access time; other processes' roots; overlay's own attributes. */
#define FILE_CAPS (CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(SYS_PTRACE) | CAP(SYS_ADMIN))

/* One row for each kind of order that this agent can do. The row of a kind that is missing here is a
 * refusal. */
static const struct acquire_kind kinds[] = {
	{ EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY, "memory",
	  CAP(SYS_RAWIO) | CAP(SYS_ADMIN) | CAP(SYSLOG) | CAP(DAC_READ_SEARCH) | CAP(BPF) |
		  CAP(PERFMON) | CAP(IPC_LOCK),
	  false, acquire_memory },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_FILES, "files", FILE_CAPS, false, acquire_files },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_CHANGES, "changes", FILE_CAPS, false, acquire_changes },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_TRIAGE, "triage",
	  CAP(SYS_ADMIN) | CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(SYSLOG),
	  false, acquire_triage },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_DISK, "disk",
	  CAP(SYS_ADMIN) | CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH), true, acquire_disk },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_CORE, "core",
	  CAP(SYS_PTRACE) | CAP(SYS_ADMIN) | CAP(DAC_READ_SEARCH) | CAP(IPC_LOCK), false,
	  acquire_core },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_ARREST, "arrest",
	  CAP(SYS_PTRACE) | CAP(SYS_ADMIN) | CAP(DAC_READ_SEARCH) | CAP(IPC_LOCK) | CAP(KILL) |
		  CAP(BPF) | CAP(PERFMON),
	  false, acquire_arrest },
	{ EXHIBIT__V1__ORDER_KIND__ORDER_PACKETS, "packets",
	  CAP(NET_ADMIN) | CAP(NET_RAW) | CAP(SYS_ADMIN) | CAP(BPF) | CAP(PERFMON) |
		  CAP(SYS_PTRACE) | CAP(DAC_READ_SEARCH),
	  false, acquire_packets },
	{ .name = NULL }, /* the end */
};

const struct acquire_kind *acquire_at(size_t i)
{
	return i < ARRAY_LEN(kinds) && kinds[i].name != NULL ? &kinds[i] : NULL;
}

const struct acquire_kind *acquire_by_kind(Exhibit__V1__OrderKind kind)
{
	for (const struct acquire_kind *k = kinds; k->name != NULL; k++)
		if (k->kind == kind)
			return k;
	return NULL;
}
