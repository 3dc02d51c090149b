/* SPDX-License-Identifier: Apache-2.0 */
/* Tree: the ancestors and descendants of a process. The request, the answer and what it may lack. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/tree_internal.h"
#include "proto/actions.h"

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
	t->pid_seen_ns = INT64_MIN;
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
				"the tree is cut, as %s: what is below some of these processes, and when they ended, "
				"may not be shown; ask for the tree of one of them",
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
		r = tree_find_focus(t, e);
	if (r == 0 && t->found)
		r = tree_grow(t, e);
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
