/* SPDX-License-Identifier: Apache-2.0 */
/* Holding targets and copying them: in a thread of its own, which does nothing else and whose end lets go of all
 * that ptrace stopped (core_threads.h); cgroups are thawed by the watchdog. */
#ifndef ACQUIRE_CORE_HOLD_H
#define ACQUIRE_CORE_HOLD_H

#include "agent/acquire/core_freezer.h"
#include "agent/acquire/core_target.h"

#define CORE_PROCESSES_MAX 200
#define CORE_TELLINGS_MAX 64

struct core_job {
	const struct acquire_request *r; /* borrowed */
	struct core_target *targets; /* CORE_PROCESSES_MAX */
	size_t n;
	size_t left_out; /* processes beyond CORE_PROCESSES_MAX */
	struct freezer *freezer; /* NULL: one process */
	struct watchdog *watchdog; /* NULL: no freezer */
	struct core_spool spool;
	unsigned int passes;

	/* ---- what came of it ---- */
	uint64_t begun_ns, held_ns, copied_ns, let_go_ns; /* monotonic */
	uint64_t held_boottime_ns;
	uint64_t until_ns; /* monotonic: when the target goes on at the latest */
	bool expired; /* it went on before all was copied, because the time was over */
	int result;
	struct error error;
	/* Told once nothing is held. */
	struct {
		bool lacking;
		char text[200];
	} tellings[CORE_TELLINGS_MAX];
	size_t n_tellings;
};

/* Make ready what the copy needs: mappings, spool, where possible a first pass. */
MUST_CHECK int core_hold_prepare(struct core_job *j, struct error *e);
/* Hold, copy, let go. Processes that came into the container are added. -ETIMEDOUT: a read of the target's memory
 * does not come back; j is in use for ever, and the process must end. */
MUST_CHECK int core_hold(struct core_job *j, struct error *e);
/* Without holding anything: all is read later. */
MUST_CHECK int core_hold_nothing(struct core_job *j, struct error *e);
void core_job_release(struct core_job *j);

#endif
