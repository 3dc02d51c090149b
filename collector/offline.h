/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-collector check` and `exhibit-collector reindex`: work on a store that no collector has open. */
#ifndef COLLECTOR_OFFLINE_H
#define COLLECTOR_OFFLINE_H

#include "collector/config.h"
#include "proto/base/error.h"

/* argv[0]: the verb. Exit status: 0 intact or done, 1 damaged (each fault is a line on standard output),
 * 2 error. */
int check_main(int argc, char **argv);
int reindex_main(int argc, char **argv);

/* Another verb of this kind: options as the daemon reads them, then work; its exit status. */
int offline_run(int argc, char **argv, int (*work)(const struct collector_config *));
/* The sentence of an error, with the program's name; exit status 2. */
int offline_fail(const struct error *e);
/* What check does; faults are added, each is a line on standard output. */
MUST_CHECK int offline_check(const struct collector_config *c, uint64_t *faults, struct error *e);

#endif
