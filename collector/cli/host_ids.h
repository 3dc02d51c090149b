/* SPDX-License-Identifier: Apache-2.0 */
/* Orders name hosts by their ids; people give names. */
#ifndef CLI_HOST_IDS_H
#define CLI_HOST_IDS_H

#include "collector/cli/args.h"

struct host_ids {
	size_t n;
	char *id[ARGS_HOSTS_MAX]; /* malloc'ed */
};

/* Those that --host names, by id or name, as the collector knows them. -ENOENT: there is none of this name, or
 * several. */
MUST_CHECK int host_ids_find(const struct args *a, struct host_ids *ret, struct error *e);
void host_ids_release(struct host_ids *h);

#endif
