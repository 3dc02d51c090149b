/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that acquire_core and acquire_arrest share. */
#ifndef ACQUIRE_CORE_TAKE_H
#define ACQUIRE_CORE_TAKE_H

#include "agent/acquire/core_hold.h"
#include "agent/acquire/core_write.h"

MUST_CHECK int core_take_init(struct core_job *j, const struct acquire_request *r, struct error *e);
/* One process more. -EPERM: it is one of ours; -E2BIG: too many. */
MUST_CHECK int core_take_open(struct core_job *j, pid_t pid, struct error *e);
/* What is known without its memory. */
MUST_CHECK int core_take_known(struct core_job *j, struct core_facts *f, struct error *e);
/* After it was held: cores, tables, executables, notes. An order's limit that ended it is told, and no failure. */
MUST_CHECK int core_take_write(struct core_job *j, struct core_facts *f, struct error *e);

#endif
