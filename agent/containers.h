/* SPDX-License-Identifier: Apache-2.0 */
/* The containers of this host by the path of their cgroup: what their runtimes say of them, read once, at the
 * cgroup's birth or when first asked for. A file that is not whole yet is asked for again at later look-ups, never
 * waited for. Bounded: the longest unused go first. One thread; time is passed in (boottime). */
#ifndef AGENT_CONTAINERS_H
#define AGENT_CONTAINERS_H

#include "agent/container_files.h"
#include "agent/coverage.h"
#include "agent/workload.h"

enum container_state {
	CONTAINER_WAITING, /* not known (yet): its id is that of the cgroup's name */
	CONTAINER_NAMED, /* its runtime's file says that this is its cgroup */
	CONTAINER_IMITATION, /* a runtime's container of this id has another cgroup: this is none */
};

/* Valid until the next call that is not const. */
struct container {
	enum container_state state;
	struct bytes path; /* of its own cgroup */
	struct bytes id, name, image, pod_name, pod_namespace, pod_uid, runtime;
	bool born; /* seen being made: the first that runs in it is its main process */
	bool begun; /* ... and does */
};

struct containers;

/* files: taken over, NULL allowed (none is ever named). max: entries. NULL: out of memory, files are freed. */
struct containers *containers_new(struct container_files *files, size_t max);
void containers_free(struct containers *c); /* NULL allowed */

/* The container that the cgroup at path lies in; w: what workload_parse told of path. NULL: in none. Reads files, when
 * this container is new or was not understood before. */
struct container *containers_find(struct containers *c, struct bytes path, const struct workload *w,
				  uint64_t now_ns);
/* A cgroup was made at path just now: what bore the same path before is forgotten. */
void containers_made(struct containers *c, struct bytes path, const struct workload *w,
		     uint64_t now_ns);

struct containers_stats {
	uint64_t cached, named, reads; /* reads: of files tried */
	uint64_t late; /* named after they had been asked for without success */
	uint64_t refused, imitations,
		unknown; /* refused: a file that may not, or cannot, be read */
	uint64_t evicted;
};
void containers_stats(const struct containers *c, struct containers_stats *ret);
/* The row "names of containers": which runtimes there are, and what was refused. */
void containers_coverage(const struct containers *c, struct coverage *ret);

#endif
