/* SPDX-License-Identifier: Apache-2.0 */
/* A process as /proc shows it (proc(5)): the fallback for an image that no record told of. What a
 * process may change there (its arguments) is only as good as the process is honest. */
#ifndef AGENT_PROCFS_H
#define AGENT_PROCFS_H

#include "agent/event.h"

#define PROCFS_TICK_NS                                                                             \
	(NSEC_PER_SEC / 100) /* USER_HZ is 100 on every architecture that we build for */

/* Holds what the newest facts lead into. */
struct procfs;

struct procfs *procfs_new(const char *root); /* "/proc", borrowed; NULL: out of memory */
void procfs_free(struct procfs *p); /* NULL allowed */
/* Facts of process key->pid, when it started in the tick of key->start_ns (0: whenever) and did not
 * end meanwhile. ret->key is *key, ret->parent has a pid only. Pointers valid until the next call.
 * The type of enricher.read_proc; p is a struct procfs. */
bool procfs_facts(void *p, const struct rec_image *key, struct image_facts *ret);

struct procfs_stat {
	uint32_t parent_pid;
	uint64_t start_ticks;
	struct bytes name; /* without the parentheses */
};
struct procfs_status {
	uint32_t uid, gid; /* effective */
	uint64_t cap_effective;
};
/* Pure. false: not such a file. */
bool procfs_parse_stat(struct bytes file, struct procfs_stat *ret);
bool procfs_parse_status(struct bytes file, struct procfs_status *ret);
/* "mnt:[4026531841]"; 0: not such a link. */
uint32_t procfs_parse_ns(struct bytes link);

#endif
