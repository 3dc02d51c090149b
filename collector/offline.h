/* SPDX-License-Identifier: Apache-2.0 */
/* `exhibit-collector check` and `exhibit-collector reindex`: work on a store that no collector has open. */
#ifndef COLLECTOR_OFFLINE_H
#define COLLECTOR_OFFLINE_H

/* argv[0]: the verb. Exit status: 0 intact or done, 1 damaged (each fault is a line on standard output),
 * 2 error. */
int check_main(int argc, char **argv);
int reindex_main(int argc, char **argv);

#endif
