/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of one boot, each with the images it ran one after the other, as events tell of them. A process
 * is a pid and a start time, so a pid that is used again is another process. Pure: fed by tree_find.c. */
#ifndef COLLECTOR_PROCESS_GRAPH_H
#define COLLECTOR_PROCESS_GRAPH_H

#include "collector/row_set.h"
#include "proto/base/base.h"
#include "proto/entity.h"

#define GRAPH_PROCESSES_MAX 10000
#define GRAPH_IMAGES_MAX 64 /* of one process; later ones replace the last */

/* What one event says of the process that it names. */
struct sighting {
	struct entity id, parent;
	bool has_parent;
	uint32_t action; /* ACTION_* */
	int64_t time_ns; /* Unix time */
	int64_t start_ns; /* of the process, Unix time */
	uint64_t boottime_ns; /* of the event */
	bool watched; /* told by the newest run of the agent */
};

struct graph_image {
	struct entity id, parent;
	bool has_parent;
	bool introduced; /* its exec, fork or stock-taking was seen */
	bool asked; /* its children were asked for */
	int64_t begin_ns; /* Unix time */
	struct kept_row *row; /* the event that introduced it, or any that names it; owned */
};

struct graph_process {
	struct entity id; /* exec_id has no meaning */
	size_t n_images;
	struct graph_image *images; /* by exec_id */
	int64_t begin_ns;
	int64_t exited_ns; /* 0: not known */
	uint64_t exited_boottime_ns; /* UINT64_MAX: not known */
	bool watched; /* something of it was told by the newest run of the agent */
	bool ended_unwatched; /* set by the owner: the newest run did not find it alive; no exit is known */
	bool descend; /* its children belong to the tree */
	bool asked; /* its other images were asked for */
};

struct graph;

struct graph *graph_new(void); /* NULL: out of memory */
void graph_free(struct graph *g); /* NULL allowed */
static inline void graph_free_ptr(struct graph **g)
{
	graph_free(*g);
}

size_t graph_size(const struct graph *g);
struct graph_process *graph_at(struct graph *g,
			       size_t i); /* in order of arrival; moves with graph_see */
/* NULL: not known. */
struct graph_process *graph_find(struct graph *g, const struct entity *id);
/* Note one sighting. ret_slot: where the event's row is wanted (free what is there), or NULL when a better one is
 * held; valid until the next call. -ENOSPC: GRAPH_PROCESSES_MAX; -ENOMEM. */
MUST_CHECK int graph_see(struct graph *g, const struct sighting *s, struct kept_row ***ret_slot);
/* Who made the process: the parent of its earliest image. NULL: not known or none. */
const struct entity *graph_parent(const struct graph_process *p);
/* The image that ran at at_ns; the last one for INT64_MAX. NULL: it had not begun. */
const struct graph_image *graph_image_at(const struct graph_process *p, int64_t at_ns);

/* One line of the tree. 0 to go on. */
typedef int graph_visit_fn(void *ctx, const struct graph_process *p,
			   const struct graph_image *image, uint32_t depth, bool focus);
/* Ancestors from the topmost known, the focus, then its descendants, each before its children, in order of
 * begin. at_ns INT64_MAX: all that ever were; else descendants that lived then. Ancestors always. */
MUST_CHECK int graph_walk(struct graph *g, const struct entity *focus, int64_t at_ns,
			  graph_visit_fn *visit, void *ctx);

#endif
