/* SPDX-License-Identifier: Apache-2.0 */
/* The process table: what is known of each process image, by key and by pid. Facts are copied; long
 * texts are shared, so that a fork costs no copy of its parent's arguments. Bounded in entries and in
 * bytes: the longest exited go first, then the images unused for longest. One thread owns it; time is
 * passed in (boottime). */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include "agent/event.h"

#define PROCESS_EXITED_NS (60 * NSEC_PER_SEC) /* exited and replaced images stay that long */

/* Where the facts of an image come from; a better source replaces a worse one, never the reverse. */
enum process_source {
	PROCESS_ACTOR = 1, /* what an event's record says of who did it */
	PROCESS_PROCFS, /* read from /proc afterwards */
	PROCESS_FORK, /* inherited */
	PROCESS_STOCK, /* stock-taking */
	PROCESS_EXEC,
};

/* One image. Owned by the table, valid until the next call that is not const. */
struct process {
	struct image_facts facts; /* facts.key, facts.parent: {0} when there is none */
	struct bytes parent_name,
		parent_executable; /* of facts.parent, when it was known in time */
	enum process_source source;
	uint64_t exited_ns; /* 0: runs, as far as known; also when another image replaced it */
};

struct process_config {
	size_t entries_max; /* at least 16 */
	size_t bytes_max; /* entries and their texts; at least 64 KiB */
};

struct process_table;

struct process_table *process_table_new(const struct process_config *c); /* NULL: out of memory */
void process_table_free(struct process_table *t); /* NULL allowed */

/* Learn (or complete) the image facts->key. A newer image of the same pid marks the older ones as
 * replaced at now_ns. NULL: out of memory (counted). Keeps at most REC_ARGS_MAX of arguments. */
const struct process *process_put(struct process_table *t, const struct image_facts *facts,
				  enum process_source source, uint64_t now_ns);
/* A child that runs what caller runs: child's own facts are those of the record's actor. */
const struct process *process_fork(struct process_table *t, const struct image_facts *child,
				   const struct rec_image *caller, uint64_t now_ns);
/* Ids, user, groups, namespaces and cgroup as they are now; a zero cgroup id, namespace or an empty
 * name leaves what is known. Ignored when the image is unknown. */
void process_update(struct process_table *t, const struct image_facts *now);
void process_exit(struct process_table *t, const struct rec_image *key, uint64_t now_ns);

/* NULL: unknown. Counts as a use. */
const struct process *process_find(struct process_table *t, const struct rec_image *key);
/* The image that pid runs; when it has ended, the last that it ran, as long as that is kept. */
const struct process *process_of_pid(struct process_table *t, uint32_t pid);

/* Forget what exited more than PROCESS_EXITED_NS before now_ns. Call now and then. */
void process_expire(struct process_table *t, uint64_t now_ns);

struct process_stats {
	uint64_t entries, exited, bytes; /* now */
	uint64_t evicted_exited, evicted_live, failed; /* since new; failed: out of memory */
};
void process_stats(const struct process_table *t, struct process_stats *ret);

bool image_equal(const struct rec_image *a, const struct rec_image *b);

#endif
