/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-collector rebuild`: the state of a lost collector made again from its bucket, up to the newest archived
 * checkpoint that holds, in an empty store.dir. Everything is verified; what is damaged, lost or came later is named.
 * README.md "Rebuilding". */
#ifndef COLLECTOR_REBUILD_H
#define COLLECTOR_REBUILD_H

#include "collector/config.h"
#include "proto/base/error.h"

#define REBUILD_MARK ".rebuilding" /* in store.dir: a rebuild did not end */

/* Exit status: 0 whole, 1 something is damaged or lost (each a line on standard output), 2 error. */
int rebuild_main(int argc, char **argv);
/* The same with another bucket than the configuration names, and without the check of what came out. ret_faults: what
 * is damaged or lost; ret_size: leaves that it was rebuilt to. */
struct bucket_config;
MUST_CHECK int rebuild_from(const struct collector_config *c, const struct bucket_config *bucket,
			    uint64_t *ret_faults, uint64_t *ret_size, struct error *e);
/* -EBUSY: a rebuild of this folder did not end. */
MUST_CHECK int rebuild_refuse_half(const char *store_dir, struct error *e);

#endif
