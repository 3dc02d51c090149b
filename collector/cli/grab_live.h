/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit grab packets --stdout: the pcapng on standard output while it is captured. What is shown is what the vault
 * has compared and stored; the exhibit does not depend on who watches, or for how long. */
#ifndef CLI_GRAB_LIVE_H
#define CLI_GRAB_LIVE_H

#include "collector/cli/order_watch.h"

/* Before an order is made: can it be shown at all? -EINVAL. */
MUST_CHECK int grab_live_check(const struct args *a, size_t n_hosts, struct error *e);
/* Submit the order, show its packets, wait for its end. 0 also when the reader left or somebody pressed Ctrl-C: that is
 * said, and whether the capture goes on. */
MUST_CHECK int grab_live_run(struct order_watch *w, const char *path, const void *order,
			     struct error *e);

#endif
