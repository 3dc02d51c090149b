/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the index for a tree's processes, and reading the batches that it names. */
#include "collector/tree_internal.h"

#include <errno.h>
#include <string.h>

#include "collector/refs.h"
#include "proto/actions.h"
#include "proto/base/writer.h"

#define CUT_PROCESSES "it has more than 10000 processes"
#define CUT_BATCHES "it lies in more than 20000 batches"

void tree_add_entity(struct tree *t, enum token_family family, const struct entity *id)
{
	uint8_t buf[ENTITY_ENCODED_LEN];

	entity_encode(id, buf);
	t->tokens[t->n_tokens++] = token_hash(family, buf, sizeof(buf));
}

void tree_add_pid(struct tree *t, uint32_t pid)
{
	uint8_t buf[4];
	struct writer w = writer_init(buf, sizeof(buf));

	writer_u32(&w, pid);
	t->tokens[t->n_tokens++] = token_hash(TOKEN_PID, buf, sizeof(buf));
}

/* Of what tells that a process begins or ends. */
#define LIFE_TOKENS 4

static void life_tokens(uint64_t ret[static LIFE_TOKENS])
{
	static const uint32_t actions[LIFE_TOKENS] = { ACTION_EXEC, ACTION_FORK, ACTION_PROCESS,
						       ACTION_EXIT };

	for (size_t i = 0; i < LIFE_TOKENS; i++) {
		uint8_t buf[4];
		struct writer w = writer_init(buf, sizeof(buf));

		writer_u32(&w, actions[i]);
		ret[i] = token_hash(TOKEN_ACTION, buf, sizeof(buf));
	}
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

	if (t->everyone)
		return true;
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

static void note_pid(struct tree *t, const struct sighting *s)
{
	if (t->pid && s->time_ns <= t->at_ns && s->time_ns > t->pid_seen_ns)
		t->pid_seen_ns = s->time_ns;
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
	note_pid(w->tree, &s);
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

/* Whoever has a pid after another began after all that is known of that one: a batch that ends before tells of
 * nobody later. */
static bool in_question(const struct tree *t, const struct store_ref *ref)
{
	if (t->pid && ref->last_wall_ns < t->pid_seen_ns)
		return false;
	return ref->kind == STORE_BATCH && in_reach(t, ref) && in_life(t, ref);
}

static int read_batch(struct tree *t, const struct store_ref *ref, struct error *e)
{
	struct batch_walk w = { .tree = t, .ref = ref, .set = { .ref = ref } };
	int r;

	scan_set_want(t->scope.reading.scan, want);
	r = reading_batch(&t->scope.reading, ref, false, see_row, &w, e);
	scan_set_want(t->scope.reading.scan, NULL);
	row_set_release(&w.set);
	return r;
}

/* How the batches are gone through. */
struct order {
	bool newest_first;
	bool mention; /* one that names the process that is looked for is enough */
};

static bool enough(const struct tree *t, const struct order *o)
{
	return (t->cut && !t->past_cut) || (o->mention && graph_find(t->graph, &t->looking));
}

static int read_batches(struct tree *t, const struct store_ref *refs, size_t n,
			const struct order *o, struct error *e)
{
	for (size_t i = 0; i < n && !enough(t, o); i++) {
		const struct store_ref *ref = &refs[o->newest_first ? n - 1 - i : i];
		int r;

		if (!in_question(t, ref))
			continue;
		if (t->scope.reading.batches >= t->batches_max) {
			t->cut = CUT_BATCHES;
			return 0;
		}
		r = read_batch(t, ref, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int ask(struct tree *t, const struct store_group *groups, size_t n_groups,
	       const struct order *o, struct error *e)
{
	int64_t until_ns = t->at_ns == INT64_MAX ? INT64_MAX : t->at_ns + 1;
	struct store_question q = scope_question(&t->scope, INT64_MIN, until_ns);
	AUTO(refs_end) struct refs_walk walk = { 0 };
	int r;

	if (t->has_host) {
		q.hosts = &t->host;
		q.n_hosts = 1;
	}
	q.groups = groups;
	q.n_groups = n_groups;
	refs_begin(&walk, &t->scope.reading, &q, o->newest_first);
	for (;;) {
		AUTO(free_ptr) struct store_ref *refs = NULL;
		int64_t since_ns, end_ns;
		size_t n;

		r = refs_next(&walk, &refs, &n, &since_ns, &end_ns, e);
		if (r <= 0)
			break;
		r = read_batches(t, refs, n, o, e);
		if (r < 0 || enough(t, o))
			break;
	}
	t->n_tokens = t->n_spans = 0;
	return r < 0 ? r : 0;
}

int tree_ask(struct tree *t, struct error *e)
{
	uint64_t lives[LIFE_TOKENS];
	const struct store_group groups[] = { { t->tokens, t->n_tokens }, { lives, LIFE_TOKENS } };

	life_tokens(lives);
	return t->n_tokens ? ask(t, groups, ARRAY_LEN(groups), &(struct order){ 0 }, e) : 0;
}

int tree_ask_mention(struct tree *t, struct error *e)
{
	const struct store_group group = { t->tokens, t->n_tokens };

	return ask(t, &group, 1, &(struct order){ .mention = true }, e);
}

int tree_ask_pid(struct tree *t, struct error *e)
{
	struct store_group group = { .tokens = t->tokens };

	tree_add_pid(t, t->pid);
	group.n = t->n_tokens;
	return ask(t, &group, 1, &(struct order){ .newest_first = true }, e);
}

int tree_ask_everyone(struct tree *t, struct error *e)
{
	uint64_t lives[LIFE_TOKENS];
	const struct store_group group = { lives, LIFE_TOKENS };
	int r;

	life_tokens(lives);
	t->everyone = true;
	r = ask(t, &group, 1, &(struct order){ 0 }, e);
	t->everyone = false;
	return r;
}

int tree_read_lives(struct tree *t, int64_t since_ns, int64_t until_ns, size_t max, bool *ret_read,
		    struct error *e)
{
	struct store_question q = scope_question(&t->scope, since_ns, until_ns);
	AUTO(free_ptr) struct store_ref *refs = NULL;
	uint64_t lives[LIFE_TOKENS];
	const struct store_group group = { lives, LIFE_TOKENS };
	size_t n = 0;
	int r;

	life_tokens(lives);
	q.hosts = &t->host;
	q.n_hosts = 1;
	q.groups = &group;
	q.n_groups = 1;
	q.max = max;
	r = store_find(t->scope.reading.store, &q, &refs, &n, e);
	*ret_read = r != -E2BIG;
	if (r == -E2BIG && e)
		*e = (struct error){ 0 };
	if (r < 0)
		return r == -E2BIG ? 0 : r;
	t->batches_max = t->scope.reading.batches + max;
	t->past_cut = true;
	r = read_batches(t, refs, n, &(struct order){ 0 }, e);
	t->past_cut = false;
	return r;
}

int tree_find_host(struct tree *t, struct error *e)
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
