/* SPDX-License-Identifier: Apache-2.0 */
/* Acquirers: one for each kind of order, each a plain function that reads its source and writes to an
 * output. It runs in a process of its own that lives as long as the order, with the capabilities of its row
 * and nothing else, in the background (priority.h); it starts no program, opens no socket to the network and writes no
 * file. What it froze or stopped is let go by a watchdog, whatever happens to it (watchdog.h). */
#ifndef ACQUIRE_ACQUIRE_H
#define ACQUIRE_ACQUIRE_H

#include <signal.h>

#include "agent/acquire/output.h"
#include "order.pb-c.h"

/* What an acquirer gets. All borrowed. */
struct acquire_request {
	const Exhibit__V1__Order *order; /* verified; its detail is that of the kind */
	const char *proc; /* "/proc", in a container the host's */
	const char *sys; /* "/sys" */
	const char *cgroup; /* "/sys/fs/cgroup" */
	const char *const *own_cgroups; /* never frozen; NULL-terminated */
	uint64_t spool_bytes; /* for what is copied while the target is frozen */
	uint64_t freeze_max_ms; /* a target is never held longer */
	uint64_t max_seconds; /* as this host, and the order, allow; 0: neither says */
	bool packet_socket; /* packets as on a host where BPF sees none; for tests */
	/* Set by a signal: finish with what there is. */
	const volatile sig_atomic_t *stop;
};

struct acquire_kind {
	Exhibit__V1__OrderKind kind;
	const char *name; /* "memory": the word of the CLI and of the local policy */
	uint64_t capabilities; /* bits 1 << CAP_*: all that its process keeps */
	bool resumable; /* the source does not change by itself: after a broken end it is read again from the
			 * start, and only chunks that are missing are sent */
	/* 0: done (perhaps with warnings); negative errno: failed, with a sentence. */
	int (*run)(const struct acquire_request *r, struct output *o, struct error *e);
};

/* NULL past the end. */
const struct acquire_kind *acquire_at(size_t i);
const struct acquire_kind *acquire_by_kind(Exhibit__V1__OrderKind kind);

/* One file each. */
int acquire_memory(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_core(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_packets(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_files(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_changes(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_triage(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_disk(const struct acquire_request *r, struct output *o, struct error *e);
int acquire_arrest(const struct acquire_request *r, struct output *o, struct error *e);

#endif
