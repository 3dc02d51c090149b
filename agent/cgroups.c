/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cgroups.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/cgroups_tree.h"
#include "proto/base/files.h"

#define RETRY_NS                                                                                   \
	(5 * NSEC_PER_SEC) /* an unknown id is asked for again, and the trees are scanned again */
#define MAX_LEAST 16
#define PROC_CGROUP_MAX KiB(64)

/* Ids are unique within one hierarchy only. */
struct node {
	struct node *next; /* hash chain */
	TAILQ_ENTRY(node) age;
	enum cgroup_kind kind;
	bool own; /* a named container's: in the other list */
	uint64_t id, unknown_until_ns;
	struct workload workload; /* leads into path */
	size_t path_len; /* 0: unknown until then */
	uint8_t path[];
};

TAILQ_HEAD(node_list, node);

struct cgroups {
	struct cgroups_config config;
	struct cgroup_tree trees[CGROUP_KINDS];
	/* Longest unused first. Containers' own stand apart: what a workload makes below its own, thousands if it
	 * likes, must not push out another's. */
	struct node_list nodes, own;
	size_t n_own;
	size_t buckets; /* power of two */
	struct node **by_id;
	uint64_t scanned_ns;
	uint8_t *proc_file; /* what the newest result may lead into */
	struct cgroups_stats stats;
};

static struct node **bucket(const struct cgroups *c, enum cgroup_kind kind, uint64_t id)
{
	return &c->by_id[((id * 2 + kind) * 0x9e3779b97f4a7c15ULL >> 32) & (c->buckets - 1)];
}

static struct node *find(const struct cgroups *c, enum cgroup_kind kind, uint64_t id)
{
	struct node *n = *bucket(c, kind, id);

	while (n && (n->id != id || n->kind != kind))
		n = n->next;
	return n;
}

static struct node_list *list_of(struct cgroups *c, const struct node *n)
{
	return n->own ? &c->own : &c->nodes;
}

static void drop(struct cgroups *c, struct node *n)
{
	struct node **at = bucket(c, n->kind, n->id);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	TAILQ_REMOVE(list_of(c, n), n, age);
	c->n_own -= n->own;
	c->stats.cached--;
	free(n);
}

/* Empty path: unknown. NULL: out of memory. */
static struct node *put(struct cgroups *c, enum cgroup_kind kind, uint64_t id, struct bytes path)
{
	struct node *n = find(c, kind, id), **at;

	if (n)
		drop(c, n);
	n = calloc(1, sizeof(*n) + path.len);
	if (!n)
		return NULL;
	n->kind = kind;
	n->id = id;
	n->path_len = path.len;
	if (path.len)
		memcpy(n->path, path.at, path.len);
	n->workload = workload_parse((struct bytes){ .at = n->path, .len = path.len });
	at = bucket(c, kind, id);
	n->next = *at;
	*at = n;
	TAILQ_INSERT_TAIL(&c->nodes, n, age);
	c->stats.cached++;
	if (c->stats.cached - c->n_own > c->config.max) {
		drop(c, TAILQ_FIRST(&c->nodes));
		c->stats.evicted++;
	}
	return n;
}

static void make_own(struct cgroups *c, struct node *n)
{
	TAILQ_REMOVE(&c->nodes, n, age);
	n->own = true;
	TAILQ_INSERT_TAIL(&c->own, n, age);
	if (++c->n_own > c->config.max) {
		drop(c, TAILQ_FIRST(&c->own));
		c->stats.evicted++;
	}
}

struct scan {
	struct cgroups *c;
	enum cgroup_kind kind;
};

static void scanned(void *ctx, uint64_t id, struct bytes path)
{
	const struct scan *s = ctx;

	(void)put(s->c, s->kind, id, path);
}

static void scan(struct cgroups *c, uint64_t now_ns)
{
	for (size_t kind = 0; kind < CGROUP_KINDS; kind++) {
		struct scan s = { .c = c, .kind = (enum cgroup_kind)kind };

		(void)cgroup_tree_walk(&c->trees[kind], c->config.max / CGROUP_KINDS, scanned, &s);
	}
	c->scanned_ns = now_ns;
	c->stats.scans++;
}

int cgroups_open(const struct cgroups_config *config, struct cgroups **ret_c, struct error *e)
{
	struct cgroups *c = calloc(1, sizeof(*c));

	if (!c)
		return error_set(e, -ENOMEM, "cannot keep a table of cgroups: %m");
	c->config = *config;
	if (c->config.max < MAX_LEAST)
		c->config.max = MAX_LEAST;
	TAILQ_INIT(&c->nodes);
	TAILQ_INIT(&c->own);
	for (c->buckets = MAX_LEAST; c->buckets < c->config.max; c->buckets *= 2)
		;
	c->by_id = calloc(c->buckets, sizeof(struct node *));
	if (!c->by_id) {
		free(c);
		return error_set(e, -ENOMEM, "cannot keep a table of cgroups: %m");
	}
	*ret_c = c;
	if (!cgroup_trees_open(config->root, c->trees)) {
		error_set(e, -ENOENT, "no cgroup file system is mounted below '%s'", config->root);
		error_hint(e, "containers are told only where a cgroup's own name names one");
		return -ENOENT;
	}
	scan(c, 0);
	return 0;
}

void cgroups_close(struct cgroups *c)
{
	struct node *n;

	if (!c)
		return;
	while ((n = TAILQ_FIRST(&c->nodes)) || (n = TAILQ_FIRST(&c->own)))
		drop(c, n);
	containers_free(c->config.containers);
	cgroup_trees_close(c->trees);
	free(c->proc_file);
	free(c->by_id);
	free(c);
}

static struct node *ask_kernel(struct cgroups *c, enum cgroup_kind kind, uint64_t id)
{
	char buf[PATH_MAX];
	struct bytes path = cgroup_tree_path(&c->trees[kind], id, c->config.proc, buf);

	if (!path.len)
		return NULL;
	c->stats.handles++;
	return put(c, kind, id, path);
}

static struct node *ask_scan(struct cgroups *c, enum cgroup_kind kind, uint64_t id, uint64_t now_ns)
{
	if (c->trees[kind].fd < 0 || now_ns < c->scanned_ns + RETRY_NS)
		return NULL;
	scan(c, now_ns);
	return find(c, kind, id);
}

/* A node with a path, or NULL. */
static const struct node *look_up(struct cgroups *c, enum cgroup_kind kind, uint64_t id,
				  uint64_t now_ns)
{
	struct node *n = id ? find(c, kind, id) : NULL;

	if (!id)
		return NULL;
	if (n && n->path_len) {
		c->stats.hits++;
		TAILQ_REMOVE(list_of(c, n), n, age);
		TAILQ_INSERT_TAIL(list_of(c, n), n, age);
		return n;
	}
	if (n && now_ns < n->unknown_until_ns)
		return NULL;
	n = ask_kernel(c, kind, id);
	if (!n)
		n = ask_scan(c, kind, id, now_ns);
	if (n && n->path_len)
		return n;
	c->stats.unknown++;
	n = put(c, kind, id, (struct bytes){ 0 });
	if (n)
		n->unknown_until_ns = now_ns + RETRY_NS;
	return NULL;
}

/* Container over unit over anything over the root; the unified one among equals. */
static int worth(const struct node *n)
{
	if (!n)
		return -1;
	if (n->workload.container_id.len)
		return 3;
	return n->workload.unit.len ? 2 : n->path_len > 1;
}

static bool tells(const struct workload *w)
{
	return w->container_id.len || w->unit.len;
}

static void ask_proc(struct cgroups *c, uint32_t pid, struct cgroup *ret)
{
	char path[PATH_MAX];
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/%u/cgroup", c->config.proc, pid);
	free(TAKE(c->proc_file));
	if (files_read(path, PROC_CGROUP_MAX, &c->proc_file, &len, NULL) < 0)
		return;
	c->stats.procs++;
	ret->path = workload_of_proc_cgroup((struct bytes){ .at = c->proc_file, .len = len });
	ret->workload = workload_parse(ret->path);
}

/* The file of a runtime wins over a cgroup's name, which others may choose too. */
static void add_container(struct cgroups *c, struct cgroup *g, uint64_t now_ns)
{
	struct container *k;

	if (!c->config.containers || !g->path.len)
		return;
	k = containers_find(c->config.containers, g->path, &g->workload, now_ns);
	if (k && k->state == CONTAINER_NAMED) {
		g->container = k;
		g->workload.container_id = k->id;
	} else if (k && k->state == CONTAINER_IMITATION) {
		g->workload.container_id = g->workload.pod_uid = (struct bytes){ 0 };
	}
}

struct cgroup cgroups_find(struct cgroups *c, const struct cgroup_ask *ask, uint64_t now_ns)
{
	const struct node *unified = look_up(c, CGROUP_UNIFIED, ask->id, now_ns);
	const struct node *v1 = look_up(c, CGROUP_V1, ask->v1_id, now_ns);
	const struct node *best = worth(v1) > worth(unified) ? v1 : unified;
	struct cgroup g = { .id = ask->id ? ask->id : ask->v1_id };

	if (best) {
		g.id = best->id;
		g.path = (struct bytes){ .at = best->path, .len = best->path_len };
		g.workload = best->workload;
	}
	if (!tells(&g.workload))
		g.workload = workload_parse(ask->name);
	/* Last, since it costs several system calls each time. */
	if (!best && !tells(&g.workload) && ask->pid)
		ask_proc(c, ask->pid, &g);
	add_container(c, &g, now_ns);
	return g;
}

void cgroups_made(struct cgroups *c, bool v1, uint64_t id, struct bytes path, uint64_t now_ns)
{
	enum cgroup_kind kind = v1 ? CGROUP_V1 : CGROUP_UNIFIED;
	char buf[PATH_MAX];
	/* As it is seen from here, where it still is; containers that hosts run in see a part of the tree. */
	struct bytes seen = cgroup_tree_path(&c->trees[kind], id, c->config.proc, buf);
	struct node *n = path.len || seen.len ? put(c, kind, id, seen.len ? seen : path) : NULL;
	struct cgroup g = { 0 };

	if (!n)
		return;
	g.path = (struct bytes){ .at = n->path, .len = n->path_len };
	g.workload = n->workload;
	if (c->config.containers)
		containers_made(c->config.containers, g.path, &g.workload, now_ns);
	add_container(c, &g, now_ns);
	if (g.container && g.container->state == CONTAINER_NAMED &&
	    g.container->path.len == n->path_len)
		make_own(c, n);
}

uint64_t cgroups_version(const struct cgroups *c)
{
	struct containers_stats s = { 0 };

	if (c->config.containers)
		containers_stats(c->config.containers, &s);
	return s.late;
}

const struct containers *cgroups_containers(const struct cgroups *c)
{
	return c->config.containers;
}

void cgroups_stats(const struct cgroups *c, struct cgroups_stats *ret)
{
	*ret = c->stats;
}
