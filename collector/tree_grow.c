/* SPDX-License-Identifier: Apache-2.0 */
/* Whom a tree asks for next, round by round: the process itself, the parent one up, the children of all that are
 * known, the other images of each; at last who ended while nobody watched. */
#include "collector/tree_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/base/clock.h"

#define ANCESTORS_MAX 1024
#define ROUNDS_MAX 256
#define INIT_PID 1
#define ATTACH_NS                                                                                  \
	(60 * (int64_t)NSEC_PER_SEC) /* between the hooks' attaching and the agent's word of it */
#define STOCK_BATCHES_MAX 4096 /* read to see who outlived the agent's last stop */

/* Of all that had the pid: the one that began last and, where a time is given, lived then. */
static void choose(struct tree *t)
{
	const struct graph_process *best = NULL;

	for (size_t i = 0; i < graph_size(t->graph); i++) {
		const struct graph_process *p = graph_at(t->graph, i);
		bool lived = t->at_ns == INT64_MAX || (p->begin_ns <= t->at_ns &&
						       (!p->exited_ns || p->exited_ns > t->at_ns));

		if (lived && (!best || p->begin_ns > best->begin_ns))
			best = p;
	}
	if (!best)
		return;
	t->focus = best->id;
	t->found = true;
	t->pid = 0;
}

static int find_entity(struct tree *t, struct error *e)
{
	int r;

	tree_add_entity(t, TOKEN_ENTITY, &t->focus);
	r = tree_find_host(t, e);
	if (r == 0 && t->has_host)
		r = tree_ask(t, e);
	/* Its beginning may have been lost: anything that names it will do. */
	if (r == 0 && !graph_find(t->graph, &t->focus)) {
		t->n_tokens = 0;
		tree_add_entity(t, TOKEN_ENTITY, &t->focus);
		r = tree_ask_mention(t, e);
	}
	t->found = graph_find(t->graph, &t->focus) != NULL;
	return r;
}

static int find_pid(struct tree *t, struct error *e)
{
	int r = tree_ask_pid(t, e);

	choose(t);
	return r;
}

/* ---- up and down ------------------------------------------------------------------------------------------ */

static int note_lost_parent(struct tree *t, const struct entity *parent)
{
	struct missing *m = missing_add(&t->scope.missing, &t->host, NULL);
	char text[ENTITY_TEXT_MAX];

	if (m)
		(void)snprintf(m->reason, sizeof(m->reason),
			       "the ancestor with pid %" PRIu32 " (%s) is not in the record",
			       parent->pid, entity_format(parent, text));
	return 0;
}

static int find_one(struct tree *t, const struct entity *id, struct error *e)
{
	const struct graph_process *known = graph_find(t->graph, id);
	int r;

	t->looking = *id;
	tree_add_pid(t, id->pid);
	t->spans[t->n_spans++] =
		(struct span){ id->start_ns, known ? known->exited_boottime_ns : UINT64_MAX };
	r = tree_ask(t, e);
	if (r == 0 && !graph_find(t->graph, id)) {
		tree_add_entity(t, TOKEN_ENTITY, id);
		r = tree_ask_mention(t, e);
	}
	return r;
}

static int climb(struct tree *t, struct error *e)
{
	struct entity at = t->focus;

	for (int i = 0; i < ANCESTORS_MAX; i++) {
		const struct graph_process *p = graph_find(t->graph, &at);
		const struct entity *up = p ? graph_parent(p) : NULL;
		int r;

		if (!up) {
			t->rooted = at.pid <= ROOT_PID_MAX;
			return 0;
		}
		at = *up;
		if (!graph_find(t->graph, &at)) {
			r = find_one(t, &at, e);
			if (r < 0)
				return r;
		}
		if (!graph_find(t->graph, &at))
			return note_lost_parent(t, &at);
	}
	return 0;
}

/* The images of processes below the focus whose children were not asked for yet. A child is made while its
 * parent lives, but may tell of it a moment later. */
static void collect_parents(struct tree *t)
{
	for (size_t i = 0; i < graph_size(t->graph); i++) {
		struct graph_process *p = graph_at(t->graph, i);
		size_t before = t->n_tokens;

		if (!p->descend || t->n_tokens + p->n_images > ROUND_TOKENS_MAX)
			continue;
		for (size_t k = 0; k < p->n_images; k++) {
			if (!p->images[k].asked)
				tree_add_entity(t, TOKEN_PARENT, &p->images[k].id);
			p->images[k].asked = true;
		}
		if (t->n_tokens > before)
			t->spans[t->n_spans++] = (struct span){ p->id.start_ns, UINT64_MAX };
	}
}

/* Processes below the focus whose other images were not asked for yet. An exit is told when the last thread ends:
 * nothing follows. */
static void collect_pids(struct tree *t)
{
	for (size_t i = 0; i < graph_size(t->graph) && t->n_tokens < ROUND_TOKENS_MAX; i++) {
		struct graph_process *p = graph_at(t->graph, i);

		if (!p->descend || p->asked)
			continue;
		p->asked = true;
		tree_add_pid(t, p->id.pid);
		t->spans[t->n_spans++] = (struct span){ p->id.start_ns, p->exited_boottime_ns };
	}
}

/* Whoever has a parent whose children belong to the tree belongs to it. */
static bool joins(struct tree *t, const struct graph_process *p)
{
	for (size_t i = 0; i < p->n_images; i++) {
		const struct graph_process *parent =
			p->images[i].has_parent ? graph_find(t->graph, &p->images[i].parent) : NULL;

		if (parent && parent->descend)
			return true;
	}
	return false;
}

static void spread(struct tree *t)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < graph_size(t->graph); i++) {
			struct graph_process *p = graph_at(t->graph, i);

			if (p->descend || !joins(t, p))
				continue;
			p->descend = true;
			more = true;
		}
	}
}

/* Below init is everybody: to ask for the children of each would read the same batches over and over. */
static int take_everyone(struct tree *t, struct error *e)
{
	int r = tree_ask_everyone(t, e);

	if (r < 0)
		return r;
	spread(t);
	return 0;
}

static int descend(struct tree *t, struct error *e)
{
	graph_find(t->graph, &t->focus)->descend = true;
	if (t->focus.pid == INIT_PID)
		return take_everyone(t, e);
	for (int i = 0; i < ROUNDS_MAX && !t->cut; i++) {
		size_t asked;
		int r;

		spread(t);
		collect_parents(t);
		asked = t->n_tokens;
		r = tree_ask(t, e);
		if (r < 0)
			return r;
		spread(t);
		collect_pids(t);
		asked += t->n_tokens;
		if (!asked)
			return 0;
		r = tree_ask(t, e);
		if (r < 0)
			return r;
	}
	if (!t->cut)
		t->cut = CUT_DEPTH;
	return 0;
}

/* ---- who ended while nobody watched ------------------------------------------------------------------- */

static bool ended_unwatched(const struct tree *t, const struct graph_process *p)
{
	if (!t->run.known || p->watched || p->exited_ns || p->begin_ns > t->run.start_ns)
		return false;
	return true;
}

/* What the newest run of the agent told until its stock was whole is read for this, bound or no bound of the tree:
 * a process that it names lived on. One that an exit or a later exec names did so, too. Nothing is concluded from
 * a stock that was not read. */
static int settle(struct tree *t, struct error *e)
{
	int r;

	if (!t->run.known)
		return 0;
	r = tree_read_lives(t, t->run.start_ns - ATTACH_NS, t->run.stock_end_ns + 1,
			    STOCK_BATCHES_MAX, &t->run.known, e);
	for (size_t i = 0; r == 0 && t->run.known && i < graph_size(t->graph); i++) {
		struct graph_process *p = graph_at(t->graph, i);

		p->ended_unwatched = ended_unwatched(t, p);
	}
	return r;
}

/* As of a time only who lived then is found. */
static int settle_focus(struct tree *t, struct error *e)
{
	int r;

	if (t->at_ns == INT64_MAX || t->asked_image)
		return 0;
	r = settle(t, e);
	t->found = !graph_find(t->graph, &t->focus)->ended_unwatched;
	t->batches_max = TREE_BATCHES_MAX;
	return r;
}

int tree_find_focus(struct tree *t, struct error *e)
{
	int r = t->pid ? find_pid(t, e) : find_entity(t, e);

	if (r == 0 && t->found && t->has_host)
		r = watch_run_find(&t->scope, &t->host, t->at_ns, &t->run, e);
	if (r == 0 && t->found)
		r = settle_focus(t, e);
	return r;
}

int tree_grow(struct tree *t, struct error *e)
{
	int r = find_one(t, &t->focus, e); /* its other images */

	if (r == 0)
		r = climb(t, e);
	if (r == 0)
		r = descend(t, e);
	return r < 0 ? r : settle(t, e);
}
