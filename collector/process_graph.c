/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/process_graph.h"

#include <errno.h>
#include <string.h>

#include "proto/actions.h"

#define SLOTS 32768u /* of the hash table: a power of two, above three times GRAPH_PROCESSES_MAX */
#define DEPTH_MAX 4096 /* no tree of GRAPH_PROCESSES_MAX is walked deeper */

struct graph {
	struct graph_process *processes;
	size_t n, cap;
	uint32_t slots[SLOTS]; /* index + 1 */
};

struct graph *graph_new(void)
{
	return calloc(1, sizeof(struct graph));
}

void graph_free(struct graph *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n; i++) {
		for (size_t k = 0; k < g->processes[i].n_images; k++)
			kept_row_free(g->processes[i].images[k].row);
		free(g->processes[i].images);
	}
	free(g->processes);
	free(g);
}

size_t graph_size(const struct graph *g)
{
	return g->n;
}

struct graph_process *graph_at(struct graph *g, size_t i)
{
	return i < g->n ? &g->processes[i] : NULL;
}

/* Where the process is, or where it would go. */
static uint32_t *slot_of(struct graph *g, const struct entity *id)
{
	uint64_t h = (id->start_ns ^ (uint64_t)id->pid << 40) * 0x9e3779b97f4a7c15ULL;
	size_t at = (size_t)(h >> 49) & (SLOTS - 1);

	while (g->slots[at] && !entity_same_process(&g->processes[g->slots[at] - 1].id, id))
		at = (at + 1) & (SLOTS - 1);
	return &g->slots[at];
}

struct graph_process *graph_find(struct graph *g, const struct entity *id)
{
	uint32_t slot = *slot_of(g, id);

	return slot ? &g->processes[slot - 1] : NULL;
}

static int process_of(struct graph *g, const struct sighting *s, struct graph_process **ret)
{
	uint32_t *slot = slot_of(g, &s->id);

	if (!*slot) {
		if (g->n == GRAPH_PROCESSES_MAX)
			return -ENOSPC;
		if (g->n == g->cap) {
			size_t cap = g->cap ? g->cap * 2 : 64;
			struct graph_process *p = reallocarray(g->processes, cap, sizeof(*p));

			if (!p)
				return -ENOMEM;
			g->processes = p;
			g->cap = cap;
		}
		g->processes[g->n] = (struct graph_process){ .id = s->id,
							     .begin_ns = s->start_ns,
							     .exited_boottime_ns = UINT64_MAX };
		*slot = (uint32_t)++g->n;
	}
	*ret = &g->processes[*slot - 1];
	return 0;
}

static int image_of(struct graph_process *p, const struct sighting *s, struct graph_image **ret)
{
	size_t at = 0;
	struct graph_image *images;

	while (at < p->n_images && p->images[at].id.exec_id < s->id.exec_id)
		at++;
	if (at < p->n_images && p->images[at].id.exec_id == s->id.exec_id) {
		*ret = &p->images[at];
		return 0;
	}
	if (p->n_images == GRAPH_IMAGES_MAX) {
		/* The middle of a long series of execs is the least interesting. */
		kept_row_free(p->images[GRAPH_IMAGES_MAX / 2].row);
		memmove(&p->images[GRAPH_IMAGES_MAX / 2], &p->images[GRAPH_IMAGES_MAX / 2 + 1],
			(GRAPH_IMAGES_MAX - GRAPH_IMAGES_MAX / 2 - 1) * sizeof(*images));
		p->n_images--;
		at -= at > GRAPH_IMAGES_MAX / 2;
	}
	images = reallocarray(p->images, p->n_images + 1, sizeof(*images));
	if (!images)
		return -ENOMEM;
	p->images = images;
	memmove(&images[at + 1], &images[at], (p->n_images - at) * sizeof(*images));
	images[at] = (struct graph_image){ .id = s->id, .begin_ns = s->time_ns };
	p->n_images++;
	*ret = &images[at];
	return 0;
}

static bool introduces(uint32_t action)
{
	return action == ACTION_EXEC || action == ACTION_FORK || action == ACTION_PROCESS;
}

int graph_see(struct graph *g, const struct sighting *s, struct kept_row ***ret_slot)
{
	struct graph_process *p = NULL;
	struct graph_image *image = NULL;
	bool intro = introduces(s->action);
	int r = process_of(g, s, &p);

	*ret_slot = NULL;
	if (r < 0)
		return r;
	r = image_of(p, s, &image);
	if (r < 0)
		return r;
	if (s->action == ACTION_EXIT) {
		p->exited_ns = s->time_ns;
		p->exited_boottime_ns = s->boottime_ns;
	}
	p->watched |= s->watched;
	if (s->has_parent && (!image->has_parent || intro)) {
		image->has_parent = true;
		image->parent = s->parent;
	}
	/* What was there before the agent began when the process started. */
	if (intro && !image->introduced)
		image->begin_ns = s->action == ACTION_PROCESS ? s->start_ns : s->time_ns;
	else if (!image->introduced && s->time_ns < image->begin_ns)
		image->begin_ns = s->time_ns;
	if (!image->row || (intro && !image->introduced))
		*ret_slot = &image->row;
	image->introduced |= intro;
	return 0;
}

const struct entity *graph_parent(const struct graph_process *p)
{
	for (size_t i = 0; i < p->n_images; i++)
		if (p->images[i].has_parent)
			return &p->images[i].parent;
	return NULL;
}

const struct graph_image *graph_image_at(const struct graph_process *p, int64_t at_ns)
{
	const struct graph_image *found = NULL;

	for (size_t i = 0; i < p->n_images; i++)
		if (p->images[i].row && (p->images[i].begin_ns <= at_ns || at_ns == INT64_MAX))
			found = &p->images[i];
	/* An image whose beginning was lost: the process ran something. */
	if (!found && p->n_images && p->images[0].row && p->begin_ns <= at_ns)
		found = &p->images[0];
	return found;
}

/* ---- walking -------------------------------------------------------------------------------------------- */

struct walk {
	struct graph *g;
	int64_t at_ns;
	graph_visit_fn *visit;
	void *ctx;
	uint32_t *order; /* processes by begin */
	uint32_t *parent; /* per process: index + 1 of its parent; 0: none known */
	uint8_t *done;
	/* Children of a process, by begin: the first, and per process the next sibling. */
	uint32_t *first, *next;
};

static uint32_t index_of(struct graph *g, const struct entity *id)
{
	return id ? *slot_of(g, id) : 0;
}

/* The parent of the earliest image that is in the graph: a process whose parent died goes to another. */
static uint32_t known_parent(struct graph *g, const struct graph_process *p)
{
	for (size_t i = 0; i < p->n_images; i++) {
		uint32_t index = p->images[i].has_parent ? index_of(g, &p->images[i].parent) : 0;

		if (index)
			return index;
	}
	return 0;
}

static bool alive(const struct walk *w, const struct graph_process *p)
{
	if (w->at_ns == INT64_MAX)
		return true;
	return p->begin_ns <= w->at_ns && !p->ended_unwatched &&
	       (!p->exited_ns || p->exited_ns > w->at_ns);
}

static int by_begin(const void *a, const void *b, void *ctx)
{
	const struct graph *g = ctx;
	const struct graph_process *x = &g->processes[*(const uint32_t *)a],
				   *y = &g->processes[*(const uint32_t *)b];

	if (x->begin_ns != y->begin_ns)
		return x->begin_ns < y->begin_ns ? -1 : 1;
	return x->id.pid < y->id.pid ? -1 : x->id.pid > y->id.pid;
}

static void link_children(struct walk *w)
{
	for (uint32_t i = 0; i < w->g->n; i++) {
		w->order[i] = i;
		w->parent[i] = known_parent(w->g, &w->g->processes[i]);
	}
	qsort_r(w->order, w->g->n, sizeof(*w->order), by_begin, w->g);
	/* Backwards, so that the lists come out forwards. */
	for (size_t k = w->g->n; k-- > 0;) {
		uint32_t i = w->order[k], parent = w->parent[i];

		if (!parent || parent - 1 == i)
			continue;
		w->next[i] = w->first[parent - 1];
		w->first[parent - 1] = i + 1;
	}
}

static int show(struct walk *w, uint32_t i, uint32_t depth, bool focus)
{
	const struct graph_process *p = &w->g->processes[i];
	const struct graph_image *image = graph_image_at(p, w->at_ns);

	/* An ancestor is shown even where its beginning is not known. */
	if (!image && p->n_images && p->images[0].row)
		image = &p->images[0];
	return image ? w->visit(w->ctx, p, image, depth, focus) : 0;
}

/* An ancestor whose descriptions go round in a circle, which only a lying host makes, ends the chain. */
static int show_ancestors(struct walk *w, uint32_t focus, uint32_t *ret_depth)
{
	uint32_t chain[DEPTH_MAX];
	uint32_t n = 0;
	int r = 0;

	w->done[focus] = 1;
	for (uint32_t i = w->parent[focus]; i && !w->done[i - 1] && n < DEPTH_MAX;
	     i = w->parent[i - 1]) {
		w->done[i - 1] = 1;
		chain[n++] = i - 1;
	}
	for (uint32_t k = 0; k < n && r == 0; k++)
		r = show(w, chain[n - 1 - k], k, false);
	*ret_depth = n;
	return r;
}

/* Depth first with a stack of "what comes next" per depth, no recursion over what a host says. */
static int show_descendants(struct walk *w, uint32_t focus, uint32_t depth)
{
	uint32_t stack[DEPTH_MAX];
	uint32_t n = 0;

	stack[n++] = w->first[focus];
	while (n) {
		uint32_t i = stack[n - 1];
		int r;

		if (!i) {
			n--;
			continue;
		}
		stack[n - 1] = w->next[i - 1];
		if (w->done[i - 1])
			continue;
		w->done[i - 1] = 1;
		r = alive(w, &w->g->processes[i - 1]) ? show(w, i - 1, depth + n, false) : 0;
		if (r != 0)
			return r;
		if (n < DEPTH_MAX)
			stack[n++] = w->first[i - 1];
	}
	return 0;
}

static void walk_release(struct walk *w)
{
	free(w->order);
	free(w->parent);
	free(w->done);
	free(w->first);
	free(w->next);
}

int graph_walk(struct graph *g, const struct entity *focus, int64_t at_ns, graph_visit_fn *visit,
	       void *ctx)
{
	AUTO(walk_release) struct walk w = { .g = g, .at_ns = at_ns, .visit = visit, .ctx = ctx };
	uint32_t i = index_of(g, focus), depth;
	int r;

	if (!i)
		return 0;
	w.order = calloc(g->n, sizeof(*w.order));
	w.parent = calloc(g->n, sizeof(*w.parent));
	w.done = calloc(g->n, 1);
	w.first = calloc(g->n, sizeof(*w.first));
	w.next = calloc(g->n, sizeof(*w.next));
	if (!w.order || !w.parent || !w.done || !w.first || !w.next)
		return -ENOMEM;
	link_children(&w);
	r = show_ancestors(&w, i - 1, &depth);
	if (r == 0)
		r = show(&w, i - 1, depth, true);
	return r == 0 ? show_descendants(&w, i - 1, depth) : r;
}
