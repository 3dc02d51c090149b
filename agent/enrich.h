/* SPDX-License-Identifier: Apache-2.0 */
/* Join an event with what is known of its process: learn from records that tell of processes, find
 * the image of all others, and describe it (parent, workload, user) when a batch has to say it. */
#ifndef AGENT_ENRICH_H
#define AGENT_ENRICH_H

#include "agent/cgroups.h"
#include "agent/decode.h"
#include "agent/process.h"
#include "agent/users.h"

/* Borrowed parts and what to do on a miss. Owned by the drain thread. */
struct enricher {
	struct process_table *table;
	struct cgroups *cgroups; /* NULL: no paths */
	struct users *users; /* NULL: no names */
	/* Take in what waits in the critical ring (it calls enrich_record itself). Never called while a
	 * record of that ring is being handled. NULL: nothing. */
	void (*more)(void *ctx);
	/* Facts of the process that has key->pid and key->start_ns, from /proc; pointers valid until the
	 * next call; false: no such process. key->start_ns 0: whatever runs there. NULL: nothing. */
	bool (*read_proc)(void *ctx, const struct rec_image *key, struct image_facts *ret);
	void *ctx;
	uint64_t misses, from_more, from_proc, unknown; /* counted */
	uint8_t pod_uid[WORKLOAD_UID_LEN]; /* of the newest description, when made of a path */
	bool asking; /* the critical ring is being read: more must not be called */
};

/* Who did an event. */
struct enriched {
	const struct process *process; /* NULL: nobody, or out of memory; valid as process.h says */
	uint64_t version; /* changes when user, group, name, cgroup or a namespace of the image does */
};

/* All that a batch says of an image. Pointers valid until the next call on the enricher's parts. */
struct description {
	const struct image_facts *facts;
	struct bytes parent_name, parent_executable;
	struct bytes cgroup_path, container_id, unit, session, user_name;
	struct bytes container_name, image_name, pod_name, pod_namespace, pod_uid, runtime;
	uint64_t cgroup_id; /* the one of cgroup_path */
};

/* For ring and iterator records: learns, then joins. now_ns: boottime. */
void enrich_record(struct enricher *en, struct decoded *d, uint64_t now_ns, struct enriched *ret);
/* For other events. ev->image with start_ns 0 is a pid only: completed to the image that it runs. */
void enrich_event(struct enricher *en, struct event *ev, uint64_t now_ns, struct enriched *ret);
void enrich_describe(struct enricher *en, const struct enriched *who, uint64_t now_ns,
		     struct description *ret);

#endif
