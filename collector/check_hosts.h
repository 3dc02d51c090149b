/* SPDX-License-Identifier: Apache-2.0 */
/* Part of the check: the host records in the catalog, from which a starting collector knows its hosts. */
#ifndef COLLECTOR_CHECK_HOSTS_H
#define COLLECTOR_CHECK_HOSTS_H

#include "collector/check_internal.h"

/* One fault per record that cannot be read: the collector refuses that host. -ENOMEM. */
MUST_CHECK int check_hosts(struct check *k, struct error *e);

#endif
