/* SPDX-License-Identifier: Apache-2.0 */
/* Kills this very process when it does not come back in time. What ptrace stopped goes on when its tracer ends,
 * and only then: a tracer that hangs in a read, or that was itself stopped, would hold its target for ever. */
#ifndef ACQUIRE_LIFELINE_H
#define ACQUIRE_LIFELINE_H

#include "proto/base/base.h"
#include "proto/base/error.h"

struct lifeline;

/* From now on lifeline_end must come within after_ms. -errno: there is none. */
MUST_CHECK int lifeline_start(uint64_t after_ms, struct lifeline **ret, struct error *e);
void lifeline_end(struct lifeline *l); /* NULL allowed */

#endif
