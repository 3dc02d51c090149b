/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a tree's question share (query_tree.c: the request and its answer; tree_grow.c: whom to ask for
 * next; tree_find.c: asking the index and reading what it names). One question, one thread. */
#ifndef COLLECTOR_TREE_INTERNAL_H
#define COLLECTOR_TREE_INTERNAL_H

#include "collector/process_graph.h"
#include "collector/query_scope.h"
#include "collector/tokens.h"
#include "collector/watch_run.h"

#define ROUND_TOKENS_MAX 1024 /* in one question to the index */
#define TREE_BATCHES_MAX 20000 /* read for one tree */
#define ROOT_PID_MAX 2 /* init and kthreadd: nobody made them */
#define CUT_DEPTH "it has too many generations"

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
	int64_t pid_seen_ns; /* the newest event of it so far, not after at_ns; INT64_MIN: none */
	bool everyone; /* every process of the boot is wanted */
	bool found; /* the focus is in the graph; else nobody is recorded, which is an answer, too */
	bool asked_image; /* the focus is one image, by its entity id */
	const char *cut; /* by what bound; NULL: whole */
	bool past_cut; /* what is read is of use though the tree is cut */
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

/* ---- tree_find.c ---- */

/* For the next question. The caller minds ROUND_TOKENS_MAX. */
void tree_add_entity(struct tree *t, enum token_family family, const struct entity *id);
void tree_add_pid(struct tree *t, uint32_t pid);
/* Each of these puts into the graph what is wanted of the batches that it reads, and forgets tokens and spans.
 *
 * Batches in which processes begin or end, and that have one of the tokens: spares the many in which a busy
 * process merely does something. */
MUST_CHECK int tree_ask(struct tree *t, struct error *e);
/* Any that has one of the tokens, the oldest first, until the process that is looked for is in the graph. */
MUST_CHECK int tree_ask_mention(struct tree *t, struct error *e);
/* Any that has the pid, the newest first, until nobody can have had it later than who was found. */
MUST_CHECK int tree_ask_pid(struct tree *t, struct error *e);
/* All batches of the host in which processes begin or end, each once. */
MUST_CHECK int tree_ask_everyone(struct tree *t, struct error *e);
/* Batches in which processes begin or end in a span of Unix time; at most max of them: else *ret_read is false
 * and nothing is read. Goes on where the tree is cut. */
MUST_CHECK int tree_read_lives(struct tree *t, int64_t since_ns, int64_t until_ns, size_t max,
			       bool *ret_read, struct error *e);
/* The host that has one of the tokens in the boot of the focus: it must be one. */
MUST_CHECK int tree_find_host(struct tree *t, struct error *e);

/* ---- tree_grow.c ---- */

/* The focus, as asked for: by pid, else by entity id. found says whether anybody is recorded. */
MUST_CHECK int tree_find_focus(struct tree *t, struct error *e);
/* Its other images, its ancestors, its descendants, and which of them ended while nobody watched. */
MUST_CHECK int tree_grow(struct tree *t, struct error *e);

#endif
