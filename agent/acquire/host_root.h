/* SPDX-License-Identifier: Apache-2.0 */
/* Where the host's files are seen from: an agent in a container looks through the first process's root. */
#ifndef ACQUIRE_HOST_ROOT_H
#define ACQUIRE_HOST_ROOT_H

#include "agent/acquire/acquire.h"

#define HOST_ROOT_MAX 256

/* "PROC/1/root"; "" (our own) where the first process may not be looked at, as in sandboxes whose first process
 * has a capability that we lack. Returns buf. */
const char *host_root(const struct acquire_request *r, char buf[static HOST_ROOT_MAX]);
/* Where it is our own the manifest says so. */
MUST_CHECK int host_root_note(const struct acquire_request *r, struct output *o, struct error *e);

#endif
