/* SPDX-License-Identifier: Apache-2.0 */
/* Tree: the ancestors and descendants of a process. Found by asking the index round by round: for the parent
 * one up, for the children of all that are known, for the other images of each. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/process_graph.h"
#include "collector/query_scope.h"
#include "collector/refs.h"
#include "collector/tokens.h"
#include "collector/watch_run.h"
#include "proto/actions.h"
#include "proto/base/writer.h"

#define ANCESTORS_MAX 1024
#define ATTACH_NS                                                                                  \
	(60 * (int64_t)NSEC_PER_SEC) /* between the hooks' attaching and the agent's word of it */
#define CUT_PROCESSES "it has more than 10000 processes"
#define CUT_BATCHES "it lies in more than 20000 batches"
#define CUT_DEPTH "it has too many generations"
#define ROOT_PID_MAX 2 /* init and kthreadd: nobody made them */
#define ROUNDS_MAX 256
#define ROUND_TOKENS_MAX 1024 /* in one question to the index */
#define TREE_BATCHES_MAX 20000 /* read for one tree */
#define STOCK_BATCHES_MAX 4096 /* and so many more to see who outlived the agent's last stop */

/* By the host's own clock since boot, which nobody sets. */
struct span {
	uint64_t from_ns, to_ns;
};

struct tree {
	struct query_scope scope;
	struct answer *answer;
	struct graph *graph;
	struct entity focus;
	struct entity
		looking; /* the process whose events are wanted though it is not in the graph yet */
	uint32_t pid; /* asked for by pid: 0 once the focus is known */
	bool found; /* the focus is in the graph; else nobody is recorded, which is an answer, too */
	bool asked_image; /* the focus is one image, by its entity id */
	const char *cut; /* by what bound; NULL: whole */
	uint64_t batches_max;
	struct watch_run run;
	int64_t at_ns; /* INT64_MAX: now */
	int64_t oldest_ns; /* beginning of the oldest process shown */
	bool rooted; /* the ancestry reached a process without a parent */
	struct batch_name host;
	bool has_host;
	uint64_t tokens[ROUND_TOKENS_MAX];
	size_t n_tokens;
	/* When those lived whom the tokens are of; none: not known, any time. */
	struct span spans[ROUND_TOKENS_MAX];
	size_t n_spans;
};

/* ---- asking the index --------------------------------------------------------------------------------- */

static void add_entity(struct tree *t, enum token_family family, const struct entity *id)
{
	uint8_t buf[ENTITY_ENCODED_LEN];

	entity_encode(id, buf);
	t->tokens[t->n_tokens++] = token_hash(family, buf, sizeof(buf));
}

static void add_pid(struct tree *t, uint32_t pid)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u32(&w, pid);
	t->tokens[t->n_tokens++] = token_hash(TOKEN_PID, buf, sizeof(buf));
}

static uint64_t action_token(uint32_t action)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u32(&w, action);
	return token_hash(TOKEN_ACTION, buf, sizeof(buf));
}

struct batch_walk {
	struct tree *tree;
	const struct store_ref *ref;
	struct row_set set;
};

/* Is the event about a process of the tree, the ancestor that is looked for, or a child of one whose children
 * belong to the tree? */
static bool wanted(struct tree *t, const struct scan_keys *s)
{
	const struct graph_process *parent;

	if (t->pid)
		return s->id.pid == t->pid;
	if (entity_same_process(&s->id, &t->looking) || graph_find(t->graph, &s->id))
		return true;
	parent = s->has_parent ? graph_find(t->graph, &s->parent) : NULL;
	return parent && parent->descend;
}

static bool want(void *ctx, const struct scan_keys *keys)
{
	return wanted(((struct batch_walk *)ctx)->tree, keys);
}

static void entity_of(struct entity *id, const struct store_ref *ref,
		      const Exhibit__V1__ImageKey *key)
{
	*id = (struct entity){ .pid = key->pid,
			       .start_ns = key->start_ns,
			       .exec_id = key->exec_id };
	memcpy(id->boot_id, ref->boot_id, ENTITY_BOOT_LEN);
}

static bool sighting_of(const struct store_ref *ref, const struct scan_row *row,
			struct sighting *ret)
{
	const Exhibit__V1__Process *p = row->subject.process;
	const Exhibit__V1__ImageKey *parent = p && p->parent && p->parent->pid ? p->parent : NULL;

	if (!p || !p->key)
		return false;
	*ret = (struct sighting){
		.has_parent = parent != NULL,
		.action = (uint32_t)row->subject.event->action,
		.time_ns = row->time_ns,
		.boottime_ns = row->subject.event->boottime_ns,
		.start_ns = (int64_t)((uint64_t)ref->offset_ns + p->key->start_ns),
	};
	entity_of(&ret->id, ref, p->key);
	if (parent)
		entity_of(&ret->parent, ref, parent);
	return true;
}

static int see_row(void *ctx, const struct scan_row *row)
{
	struct batch_walk *w = ctx;
	struct kept_row **slot;
	struct row_key key;
	struct sighting s;
	int r;

	if (!sighting_of(w->ref, row, &s) ||
	    !wanted(w->tree, &(struct scan_keys){ s.id, s.parent, s.has_parent }))
		return 0;
	s.watched = w->tree->run.known && watch_run_told(&w->tree->run, w->ref);
	r = graph_see(w->tree->graph, &s, &slot);
	if (r == -ENOSPC) {
		w->tree->cut = CUT_PROCESSES;
		return 0;
	}
	if (r < 0 || !slot)
		return r;
	key = row_key_of(row->time_ns, row->subject.event->sequence, row->index, w->ref);
	r = row_set_add(&w->set, row, &key);
	if (r < 0)
		return r;
	kept_row_free(*slot);
	*slot = row_set_take(&w->set);
	return 0;
}

/* Once the focus is known, what another boot or host says of the same pid is somebody else's. */
static bool in_reach(const struct tree *t, const struct store_ref *ref)
{
	return t->pid || memcmp(ref->boot_id, t->focus.boot_id, ENTITY_BOOT_LEN) == 0;
}

/* A pid comes again, on a busy host every few minutes: only while its process lived can a batch tell of it. */
static bool in_life(const struct tree *t, const struct store_ref *ref)
{
	uint64_t first_ns = (uint64_t)ref->first_wall_ns - (uint64_t)ref->offset_ns;
	uint64_t last_ns = (uint64_t)ref->last_wall_ns - (uint64_t)ref->offset_ns;

	for (size_t i = 0; i < t->n_spans; i++)
		if (first_ns <= t->spans[i].to_ns && last_ns >= t->spans[i].from_ns)
			return true;
	return t->n_spans == 0;
}

static int read_batches(struct tree *t, const struct store_ref *refs, size_t n, struct error *e)
{
	for (size_t i = 0; i < n; i++) {
		struct batch_walk w = { .tree = t, .ref = &refs[i], .set = { .ref = &refs[i] } };
		int r;

		if (refs[i].kind != STORE_BATCH || !in_reach(t, &refs[i]) || !in_life(t, &refs[i]))
			continue;
		if (t->scope.reading.batches >= t->batches_max) {
			t->cut = CUT_BATCHES;
			return 0;
		}
		scan_set_want(t->scope.reading.scan, want);
		r = reading_batch(&t->scope.reading, &refs[i], false, see_row, &w, e);
		scan_set_want(t->scope.reading.scan, NULL);
		row_set_release(&w.set);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Read what the collected tokens point at. intro: only where processes begin or end, which spares the many
 * batches in which a busy process merely does something. */
static int ask(struct tree *t, bool intro, struct error *e)
{
	const uint64_t actions[] = { action_token(ACTION_EXEC), action_token(ACTION_FORK),
				     action_token(ACTION_PROCESS), action_token(ACTION_EXIT) };
	const struct store_group groups[] = { { t->tokens, t->n_tokens },
					      { actions, ARRAY_LEN(actions) } };
	int64_t until_ns = t->at_ns == INT64_MAX ? INT64_MAX : t->at_ns + 1;
	struct store_question q = scope_question(&t->scope, INT64_MIN, until_ns);
	AUTO(refs_end) struct refs_walk walk = { 0 };
	int r;

	if (!t->n_tokens)
		return 0;
	if (t->has_host) {
		q.hosts = &t->host;
		q.n_hosts = 1;
	}
	q.groups = groups;
	q.n_groups = intro ? 2 : 1;
	refs_begin(&walk, &t->scope.reading, &q, false);
	for (;;) {
		AUTO(free_ptr) struct store_ref *refs = NULL;
		int64_t since_ns, end_ns;
		size_t n;

		r = refs_next(&walk, &refs, &n, &since_ns, &end_ns, e);
		if (r <= 0)
			break;
		r = read_batches(t, refs, n, e);
		if (r < 0)
			break;
	}
	t->n_tokens = t->n_spans = 0;
	return r;
}

/* ---- the focus ------------------------------------------------------------------------------------------ */

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

/* The hosts that have the entity: it must be one. */
static int find_host(struct tree *t, struct error *e)
{
	const struct store_group group = { t->tokens, t->n_tokens };
	struct store_question q = scope_question(&t->scope, INT64_MIN, INT64_MAX);
	AUTO(free_ptr) struct store_ref *refs = NULL;
	size_t n = 0;
	int r;

	q.groups = &group;
	q.n_groups = 1;
	q.max = REFS_MAX;
	r = store_find(t->scope.reading.store, &q, &refs, &n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (refs[i].kind != STORE_BATCH ||
		    memcmp(refs[i].boot_id, t->focus.boot_id, ENTITY_BOOT_LEN) != 0)
			continue;
		if (t->has_host && (t->host.len != refs[i].host_id.len ||
				    memcmp(t->host.b, refs[i].host_id.b, t->host.len) != 0)) {
			(void)error_set(e, -EINVAL, "more than one host claims this process");
			error_hint(e, "add --host");
			return -EINVAL;
		}
		t->host = refs[i].host_id;
		t->has_host = true;
	}
	return 0;
}

static int find_entity(struct tree *t, struct error *e)
{
	int r;

	add_entity(t, TOKEN_ENTITY, &t->focus);
	r = find_host(t, e);
	if (r == 0 && t->has_host)
		r = ask(t, true, e);
	/* Its beginning may have been lost: anything that names it will do. */
	if (r == 0 && !graph_find(t->graph, &t->focus)) {
		t->n_tokens = 0;
		add_entity(t, TOKEN_ENTITY, &t->focus);
		r = ask(t, false, e);
	}
	t->found = graph_find(t->graph, &t->focus) != NULL;
	return r;
}

static int find_pid(struct tree *t, struct error *e)
{
	int r;

	add_pid(t, t->pid);
	r = ask(t, true, e);
	if (r == 0 && graph_size(t->graph) == 0) {
		add_pid(t, t->pid);
		r = ask(t, false, e);
	}
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
	add_pid(t, id->pid);
	t->spans[t->n_spans++] =
		(struct span){ id->start_ns, known ? known->exited_boottime_ns : UINT64_MAX };
	r = ask(t, true, e);
	if (r == 0 && !graph_find(t->graph, id)) {
		add_entity(t, TOKEN_ENTITY, id);
		r = ask(t, false, e);
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
				add_entity(t, TOKEN_PARENT, &p->images[k].id);
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
		add_pid(t, p->id.pid);
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

static int descend(struct tree *t, struct error *e)
{
	graph_find(t->graph, &t->focus)->descend = true;
	for (int i = 0; i < ROUNDS_MAX && !t->cut; i++) {
		size_t asked;
		int r;

		spread(t);
		collect_parents(t);
		asked = t->n_tokens;
		r = ask(t, true, e);
		if (r < 0)
			return r;
		spread(t);
		collect_pids(t);
		asked += t->n_tokens;
		if (!asked)
			return 0;
		r = ask(t, true, e);
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
 * a process that it names lived on. One that an exit or a later exec names did so, too. */
static int settle(struct tree *t, struct error *e)
{
	const uint64_t actions[] = { action_token(ACTION_EXEC), action_token(ACTION_FORK),
				     action_token(ACTION_PROCESS), action_token(ACTION_EXIT) };
	const struct store_group group = { actions, ARRAY_LEN(actions) };
	AUTO(free_ptr) struct store_ref *refs = NULL;
	struct store_question q;
	size_t n = 0;
	int r;

	if (!t->run.known)
		return 0;
	q = scope_question(&t->scope, t->run.start_ns - ATTACH_NS, t->run.stock_end_ns + 1);
	q.hosts = &t->host;
	q.n_hosts = 1;
	q.groups = &group;
	q.n_groups = 1;
	q.max = STOCK_BATCHES_MAX;
	r = store_find(t->scope.reading.store, &q, &refs, &n, e);
	if (r == -E2BIG) {
		/* Nothing is concluded from a stock that was not read. */
		t->run.known = false;
		if (e)
			*e = (struct error){ 0 };
		return 0;
	}
	t->batches_max = t->scope.reading.batches + STOCK_BATCHES_MAX;
	r = r < 0 ? r : read_batches(t, refs, n, e);
	for (size_t i = 0; r == 0 && i < graph_size(t->graph); i++) {
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

/* ---- the answer --------------------------------------------------------------------------------------------- */

static int emit(void *ctx, const struct graph_process *p, const struct graph_image *image,
		uint32_t depth, bool focus)
{
	struct tree *t = ctx;
	struct answer_row out = { .depth = depth,
				  .focus = focus,
				  .exited_ns = p->exited_ns,
				  .ended_unwatched = p->ended_unwatched };

	if (p->begin_ns < t->oldest_ns)
		t->oldest_ns = p->begin_ns;
	/* Asked for one image without a time: that one, though it ran another later. */
	for (size_t i = 0; focus && t->asked_image && t->at_ns == INT64_MAX && i < p->n_images; i++)
		if (p->images[i].id.exec_id == t->focus.exec_id && p->images[i].row)
			image = &p->images[i];
	out.context = &image->row->context->message;
	out.event = image->row->event;
	out.event_len = image->row->event_len;
	out.process = image->row->process ? image->row->process->bytes : NULL;
	out.process_len = image->row->process ? image->row->process->len : 0;
	return answer_row(t->answer, &out);
}

static int begin(struct tree *t, const struct query *query, const Exhibit__V1__TreeQuery *m,
		 struct error *e)
{
	int r;

	if (m->entity_id.len && entity_parse(m->entity_id.data, m->entity_id.len, &t->focus) < 0) {
		(void)error_set(e, -EINVAL, "'%.*s' is not an entity id",
				(int)(m->entity_id.len < 128 ? m->entity_id.len : 128),
				(const char *)m->entity_id.data);
		error_hint(e, "take process.entity_id from 'exhibit events --json'");
		return -EINVAL;
	}
	if (!m->entity_id.len && (!m->pid || !m->host.len)) {
		(void)error_set(e, -EINVAL, "a tree needs an entity id, or a host and a pid");
		error_hint(e, "exhibit tree --host NAME --pid N");
		return -EINVAL;
	}
	r = scope_init(&t->scope, query, &m->host, m->host.len ? 1 : 0, e);
	if (r < 0)
		return r;
	if (m->host.len && t->scope.n_hosts > 1) {
		(void)error_set(e, -EINVAL, "%zu hosts have this name", t->scope.n_hosts);
		error_hint(e, "give the host's id; 'exhibit hosts' lists them");
		return -EINVAL;
	}
	if (m->host.len) {
		t->host = t->scope.hosts[0].host_id;
		t->has_host = true;
	}
	t->pid = m->entity_id.len ? 0 : m->pid;
	t->looking = t->focus;
	t->asked_image = m->entity_id.len > 0;
	t->at_ns = m->at_ns ? m->at_ns : INT64_MAX;
	t->oldest_ns = INT64_MAX;
	t->batches_max = TREE_BATCHES_MAX;
	t->graph = graph_new();
	if (!t->graph)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	return answer_new(&query->sink, &t->answer, e);
}

/* Whatever was lost before the process began cannot have been below it, and an ancestry that reached its root has
 * lost nothing. Nobody found: it may have been anywhere. */
static int64_t since(struct tree *t)
{
	int64_t ns;

	if (!t->found)
		return 0;
	ns = t->rooted ? graph_find(t->graph, &t->focus)->begin_ns : t->oldest_ns;
	ns = ns < t->at_ns ? ns : t->at_ns;
	return ns > 0 ? ns : 0;
}

static int complete(struct tree *t, struct error *e)
{
	const uint32_t classes = 1u << CLASS_EXEC | 1u << CLASS_FORK | 1u << CLASS_EXIT;
	struct completeness c;
	struct missing *m;
	int r;

	if (t->cut) {
		m = missing_add(&t->scope.missing, &t->host, NULL);
		if (m)
			(void)snprintf(
				m->reason, sizeof(m->reason),
				"the tree is cut, as %s: what is below some of these processes is not shown; "
				"ask for the tree of one of them",
				t->cut);
	}
	if (t->has_host)
		scope_only(&t->scope, &t->host);
	r = scope_complete(&t->scope, since(t), t->at_ns == INT64_MAX ? INT64_MAX : t->at_ns + 1,
			   classes, &c, e);
	return r < 0 ? r : answer_complete(t->answer, &c, &t->scope.missing, false);
}

static int run(struct tree *t, const struct query *query, const Exhibit__V1__TreeQuery *m,
	       struct error *e)
{
	int r = begin(t, query, m, e);

	if (r == 0)
		r = m->entity_id.len ? find_entity(t, e) : find_pid(t, e);
	if (r == 0 && t->found && t->has_host)
		r = watch_run_find(&t->scope, &t->host, t->at_ns, &t->run, e);
	if (r == 0 && t->found)
		r = settle_focus(t, e);
	if (r == 0 && t->found)
		r = find_one(t, &t->focus, e); /* its other images */
	if (r == 0 && t->found)
		r = climb(t, e);
	if (r == 0 && t->found)
		r = descend(t, e);
	if (r == 0 && t->found)
		r = settle(t, e);
	if (r == 0 && t->found)
		r = graph_walk(t->graph, &t->focus, t->at_ns, emit, t);
	return r < 0 ? r : complete(t, e);
}

int query_tree(const struct query *query, const Exhibit__V1__TreeQuery *m, struct error *e)
{
	struct tree *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	r = run(t, query, m, e);
	answer_free(t->answer);
	graph_free(t->graph);
	scope_release(&t->scope);
	free(t);
	return r;
}
