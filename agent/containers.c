/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/containers.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/queue.h>

#include "proto/actions.h"
#include "proto/base/log.h"
#include "proto/base/reader.h"

#define MAX_LEAST 16
#define TRIES 7 /* with the pauses below: over some 7 s */
#define FIRST_PAUSE_NS (5 * NSEC_PER_MSEC) /* then three times as long each time */
#define LATER_NS (60 * NSEC_PER_SEC) /* what was not understood is tried once more after that */
#define LOGGED_MAX 20 /* refusals that are logged; all are counted */
#define WHAT "names of containers"

struct entry {
	struct entry *next; /* hash chain */
	TAILQ_ENTRY(entry) age;
	struct container container; /* its texts lead into text */
	uint64_t hash, again_ns, pause_ns;
	unsigned int tries;
	bool asked; /* somebody was told that it is not known */
	char *text; /* NULL: only path and id, which lie behind this */
	uint8_t path[];
};

TAILQ_HEAD(entry_list, entry);

struct containers {
	struct container_files *files;
	size_t max, buckets; /* buckets: power of two */
	struct entry **by_path;
	struct entry_list entries; /* longest unused first */
	struct containers_stats stats;
	struct error refused; /* the newest */
};

static uint64_t hash_of(struct bytes path)
{
	uint64_t h = path.len;

	for (size_t i = 0; i < path.len; i++)
		h = (h ^ path.at[i]) * 0x100000001b3ULL;
	return h ^ h >> 32;
}

struct containers *containers_new(struct container_files *files, size_t max)
{
	struct containers *c = calloc(1, sizeof(*c));

	if (c) {
		c->files = files;
		c->max = max < MAX_LEAST ? MAX_LEAST : max;
		for (c->buckets = MAX_LEAST; c->buckets < c->max; c->buckets *= 2)
			;
		TAILQ_INIT(&c->entries);
		c->by_path = calloc(c->buckets, sizeof(struct entry *));
	}
	if (c && c->by_path)
		return c;
	container_files_free(files);
	free(c);
	return NULL;
}

static void drop(struct containers *c, struct entry *n)
{
	struct entry **at = &c->by_path[n->hash & (c->buckets - 1)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	TAILQ_REMOVE(&c->entries, n, age);
	c->stats.cached--;
	free(n->text);
	free(n);
}

void containers_free(struct containers *c)
{
	struct entry *n;

	if (!c)
		return;
	while ((n = TAILQ_FIRST(&c->entries)))
		drop(c, n);
	container_files_free(c->files);
	free(c->by_path);
	free(c);
}

static struct entry *look(const struct containers *c, struct bytes path)
{
	uint64_t hash = hash_of(path);
	struct entry *n = c->by_path[hash & (c->buckets - 1)];

	while (n && (n->hash != hash || n->container.path.len != path.len ||
		     memcmp(n->path, path.at, path.len) != 0))
		n = n->next;
	return n;
}

/* id: within path. NULL: out of memory. */
static struct entry *put(struct containers *c, struct bytes path, struct bytes id)
{
	struct entry *n = calloc(1, sizeof(*n) + path.len), **at;

	if (!n)
		return NULL;
	memcpy(n->path, path.at, path.len);
	n->container.path = (struct bytes){ .at = n->path, .len = path.len };
	n->container.id = (struct bytes){ .at = n->path + (id.at - path.at), .len = id.len };
	n->hash = hash_of(path);
	at = &c->by_path[n->hash & (c->buckets - 1)];
	n->next = *at;
	*at = n;
	TAILQ_INSERT_TAIL(&c->entries, n, age);
	if (++c->stats.cached > c->max) {
		drop(c, TAILQ_FIRST(&c->entries));
		c->stats.evicted++;
	}
	return n;
}

/* ---- what was read ------------------------------------------------------------------------------------- */

static char *keep(char *at, const char *text, struct bytes *ret)
{
	size_t len = strlen(text);

	memcpy(at, text, len + 1);
	*ret = (struct bytes){ .at = len ? (uint8_t *)at : NULL, .len = len };
	return at + len + 1;
}

static void take(struct containers *c, struct entry *n, const struct container_said *said)
{
	struct container *k = &n->container;
	char *at = malloc(strlen(said->name) + strlen(said->image) + strlen(said->pod_name) +
			  strlen(said->pod_namespace) + strlen(said->pod_uid) +
			  strlen(said->runtime) + 6);

	if (!at)
		return;
	n->text = at;
	at = keep(at, said->name, &k->name);
	at = keep(at, said->image, &k->image);
	at = keep(at, said->pod_name, &k->pod_name);
	at = keep(at, said->pod_namespace, &k->pod_namespace);
	at = keep(at, said->pod_uid, &k->pod_uid);
	(void)keep(at, said->runtime, &k->runtime);
	k->state = CONTAINER_NAMED;
	c->stats.named++;
	c->stats.late += n->asked;
}

static void refuse(struct containers *c, const struct error *why)
{
	c->stats.refused++;
	c->refused = *why;
	if (c->stats.refused <= LOGGED_MAX)
		log_failure(LOG_LEVEL_WARN, "a container goes without its names", why);
}

/* What is final now, and what may be another answer later: a file that is being written is no JSON yet, one that a
 * runtime has not written yet is not there. */
static void fail(struct containers *c, struct entry *n, int r, const struct error *why)
{
	bool later = r == -ENOENT || r == -EBADMSG;

	if (r == -EXDEV) {
		n->container.state = CONTAINER_IMITATION;
		c->stats.imitations++;
		if (c->stats.imitations <= LOGGED_MAX)
			log_failure(LOG_LEVEL_WARN, "a cgroup imitates a container", why);
		return;
	}
	if (later && n->tries < TRIES)
		return;
	if (n->tries > TRIES) /* said before */
		return;
	if (r == -ENOENT)
		c->stats.unknown++;
	else
		refuse(c, why);
	n->tries = TRIES;
}

static void ask(struct containers *c, struct entry *n, uint64_t now_ns)
{
	struct container_said said;
	struct error why = { 0 };
	int r;

	if (n->container.state != CONTAINER_WAITING || now_ns < n->again_ns || !c->files)
		return;
	c->stats.reads++;
	n->tries++;
	r = container_files_read(c->files, n->container.id, n->container.path, &said, &why);
	if (r == 0)
		take(c, n, &said);
	else
		fail(c, n, r, &why);
	n->pause_ns = n->pause_ns ? n->pause_ns * 3 : FIRST_PAUSE_NS;
	n->again_ns = now_ns + (n->tries < TRIES ? n->pause_ns : LATER_NS);
}

/* ---- which container ----------------------------------------------------------------------------------- */

/* The first two components of "/NAMESPACE/ID..."; what is in one of only one is left out. */
static bool two_components(struct bytes path, struct bytes *ret_space, struct bytes *ret_id)
{
	struct reader r = reader_init(path.at, path.len);
	struct bytes *part[] = { ret_space, ret_id };

	for (size_t i = 0; i < ARRAY_LEN(part); i++) {
		const uint8_t *slash;
		size_t len;

		if (reader_u8(&r) != '/')
			return false;
		slash = r.left ? memchr(r.at, '/', r.left) : NULL;
		len = slash ? (size_t)(slash - r.at) : r.left;
		*part[i] = (struct bytes){ .at = reader_bytes(&r, len), .len = len };
	}
	return !r.bad && ret_space->len && ret_id->len;
}

/* Plain containerd names cgroups /NAMESPACE/ID, with any name as ID: only a container if a file says so. */
static struct entry *find_plain(struct containers *c, struct bytes path, bool made)
{
	struct container_said said;
	struct bytes space, id, own;
	struct entry *n;

	if (!c->files || !two_components(path, &space, &id))
		return NULL;
	own = (struct bytes){ .at = path.at, .len = (size_t)(id.at + id.len - path.at) };
	n = look(c, own);
	if (n && made && own.len == path.len) {
		drop(c, n);
		n = NULL;
	}
	if (n || container_files_read_in(c->files, space, id, own, &said, NULL) < 0)
		return n;
	c->stats.reads++;
	n = put(c, own, id);
	if (n)
		take(c, n, &said);
	return n;
}

static struct container *used(struct containers *c, struct entry *n, uint64_t now_ns)
{
	if (!n)
		return NULL;
	TAILQ_REMOVE(&c->entries, n, age);
	TAILQ_INSERT_TAIL(&c->entries, n, age);
	ask(c, n, now_ns);
	n->asked = n->asked || n->container.state == CONTAINER_WAITING;
	return &n->container;
}

struct container *containers_find(struct containers *c, struct bytes path, const struct workload *w,
				  uint64_t now_ns)
{
	struct bytes own = { .at = path.at, .len = w->container_len };
	struct entry *n;

	if (!own.len)
		return used(c, find_plain(c, path, false), now_ns);
	n = look(c, own);
	return used(c, n ? n : put(c, own, w->container_id), now_ns);
}

void containers_made(struct containers *c, struct bytes path, const struct workload *w,
		     uint64_t now_ns)
{
	struct container *k;

	if (w->container_len == path.len && path.len) {
		struct entry *n = look(c, path);

		/* One container makes a cgroup in each hierarchy, one after the other. */
		if (n && !(n->container.born && !n->container.begun))
			drop(c, n);
		k = containers_find(c, path, w, now_ns);
	} else if (!w->container_len) {
		struct entry *n = find_plain(c, path, true);

		k = n && n->container.path.len == path.len ? used(c, n, now_ns) : NULL;
	} else {
		return;
	}
	if (k)
		k->born = true;
}

void containers_stats(const struct containers *c, struct containers_stats *ret)
{
	*ret = c->stats;
}

void containers_coverage(const struct containers *c, struct coverage *ret)
{
	char roots[160], limit[COVERAGE_REASON_MAX];

	if (!c->files) {
		coverage_failed(ret, CLASS_AGENT, WHAT, "the folders of runtimes cannot be read");
		return;
	}
	if (!container_files_present(c->files, roots, sizeof(roots))) {
		/* Nothing lacks on a host without one; where one has its folder elsewhere, this is how it is seen. */
		(void)snprintf(limit, sizeof(limit), "no container runtime is found here (%s)",
			       roots);
		coverage_attached(ret, CLASS_AGENT, WHAT, 0, "config.json", limit);
		return;
	}
	if (!c->stats.refused && !c->stats.imitations) {
		coverage_attached(ret, CLASS_AGENT, WHAT, 0, "config.json", NULL);
		return;
	}
	(void)snprintf(limit, sizeof(limit),
		       "%" PRIu64 " containers without names, %" PRIu64 " imitations%s%.160s",
		       c->stats.refused, c->stats.imitations, c->refused.text[0] ? ": " : "",
		       c->refused.text);
	coverage_attached(ret, CLASS_AGENT, WHAT, 0, "config.json", limit);
}
