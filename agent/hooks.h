/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's side, loaded and attached: for each event class the first hook of its chain that the
 * running kernel accepts. Opened and closed by main; between, its maps are read by the drain
 * threads (ring.h, counters.h) and its iterators by stock-taking (stock.h). Nothing is pinned: when
 * the process ends, however it ends, the kernel drops programs and maps. */
#ifndef AGENT_HOOKS_H
#define AGENT_HOOKS_H

#include "agent/coverage.h"
#include "bpf/record.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

#define HOOKS_CRITICAL_BYTES MiB(4)
#define HOOKS_BULK_BYTES MiB(8)
#define HOOKS_OBJECTS_MAX 16

struct hooks;

struct hooks_config {
	uint64_t critical_ring_bytes,
		bulk_ring_bytes; /* 0: the defaults above; powers of two, pages */
	bool no_files, no_network; /* leave these classes out */
	uint32_t flow_entries; /* UDP flows in the kernel at once; 0: default */
	/* What tests inject; NULL and 0: the real ones. */
	const char *btf_path; /* /sys/kernel/btf/vmlinux */
	const char *cgroup_root; /* where cgroup v2 is mounted; found in /proc/self/mountinfo */
	uint32_t kernel_version; /* major << 16 | minor << 8 | patch, of uname */
};

/* Load and attach. A class whose chain fails gets a row in the coverage and does not stop the
 * others. Errors, each one sentence: -ENOTSUP kernel too old or no BTF; -EPERM capability missing;
 * -EINVAL a ring size; else no exec, fork or exit, and why. */
MUST_CHECK int hooks_open(const struct hooks_config *config, struct hooks **ret, struct error *e);
void hooks_close(struct hooks *h); /* NULL allowed */
static inline void hooks_close_ptr(struct hooks **h)
{
	hooks_close(*h);
}
/* Borrowed, as long as h; others may add their rows before threads start. */
struct coverage *hooks_coverage(struct hooks *h);
/* What this process does to files and sockets from now on is filtered (or no longer). At most
 * REC_OWN_MAX processes: -ENOSPC. */
MUST_CHECK int hooks_own(struct hooks *h, uint32_t tgid, bool own, struct error *e);
/* Descriptor of a shared map by its name ("exh_bulk"), borrowed; -1: no object made it. */
int hooks_map_fd(const struct hooks *h, const char *name);
/* Runs that the kernel skipped because the same program was running on that CPU already: they are
 * in no counter, and lost. Per class since the start. */
uint64_t hooks_missed(const struct hooks *h, enum rec_class class);
/* The tier of a class, and HOOK_* of proto/actions.h, for decode; 0 and HOOK_UNKNOWN: not
 * attached. */
uint32_t hooks_tier(const struct hooks *h, enum rec_class class);
uint32_t hooks_kind(const struct hooks *h, enum rec_class class);
/* A new descriptor that yields the records of an attached iterator class, read until 0. */
MUST_CHECK int hooks_iterate(const struct hooks *h, enum rec_class class, int *ret_fd,
			     struct error *e);

#endif
