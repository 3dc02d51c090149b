/* SPDX-License-Identifier: Apache-2.0 */
/* The drain thread: empties both rings and fanotify on a timer, critical first, and takes each record all
 * the way to its batch: decode, enrich, encode. One thread, so that the process table needs no lock and
 * an event whose process it does not know yet can look into the critical ring at once. */
#ifndef AGENT_DRAIN_H
#define AGENT_DRAIN_H

#include "agent/fanotify.h"
#include "agent/hooks.h"
#include "agent/own.h"
#include "agent/recorder.h"
#include "agent/sealer.h"

#define DRAIN_GAPS_MAX 8

struct drain_config {
	struct hooks *hooks; /* borrowed until drain_stop */
	struct fanotify *fanotify; /* the same; NULL: none */
	const struct recorder *recorder; /* the same */
	const struct own *own;
	struct sealer *sealer;
	const struct option_list *runtimes; /* as container_files_new's roots; the same */
	const char *host_prefix, *cgroup_root; /* the same */
	const char *kernel, *machine, *machine_id; /* borrowed, for agent_start */
	uint64_t start_ns; /* boottime when the hooks were attached */
	uint64_t next_sequence[BATCH_LANES + 1];
	size_t n_gaps; /* from before the start */
	struct event_gap gaps[DRAIN_GAPS_MAX];
};

struct drain;

/* Have an event about an order, or about tampering, in the critical lane: ACTION_ORDER or ACTION_TAMPER. order: copied.
 * Any thread, until drain_stop. false: too many wait. */
MUST_CHECK bool drain_say_order(struct drain *d, const struct event_order *order, uint32_t action,
				uint32_t error);

MUST_CHECK int drain_start(const struct drain_config *c, struct drain **ret_d, struct error *e);
/* Take what is in the rings, say agent_stop with this reason, hand all batches to the sealer, end the
 * thread. NULL allowed. */
void drain_stop(struct drain *d, const char *reason);

#endif
