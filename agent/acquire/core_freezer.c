/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/core_freezer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "agent/acquire/proc_text.h"
#include "agent/cgroups_tree.h"
#include "agent/workload.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"

#define CGROUPS_MAX 65536
#define PROCS_MAX MiB(1)
#define POLL_MS 2

static const struct hierarchy {
	const char *below;
	long magic;
	enum freezer_kind kind;
	const char *knob;
} hierarchies[] = {
	{ "", CGROUP2_SUPER_MAGIC, FREEZER_V2, "cgroup.freeze" },
	{ "/unified", CGROUP2_SUPER_MAGIC, FREEZER_V2, "cgroup.freeze" },
	{ "/freezer", CGROUP_SUPER_MAGIC, FREEZER_V1, "freezer.state" },
	{ "/pids", CGROUP_SUPER_MAGIC, FREEZER_NONE, NULL },
	{ "/memory", CGROUP_SUPER_MAGIC, FREEZER_NONE, NULL },
	{ "/systemd", CGROUP_SUPER_MAGIC, FREEZER_NONE, NULL },
};

/* ---- which directories ----------------------------------------------------------------------------- */

/* A pod's uid has "_" for "-" where systemd names the cgroup. */
static bool same_pod(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (a[i] != b[i] && !(a[i] == '_' && b[i] == '-'))
			return false;
	return true;
}

bool freezer_names(const char *component, size_t len, const char *id)
{
	struct bytes name = { .at = (const uint8_t *)component, .len = len };
	size_t id_len = strlen(id);

	if (strncmp(id, "pod", 3) == 0) {
		static const char slice[] = ".slice";

		if (len > sizeof(slice) - 1 &&
		    memcmp(component + len - (sizeof(slice) - 1), slice, sizeof(slice) - 1) == 0)
			len -= sizeof(slice) - 1;
		return id_len > 3 && len >= id_len &&
		       same_pod(component + len - id_len, id, id_len) &&
		       (len == id_len || component[len - id_len - 1] == '-');
	}
	struct bytes found = workload_parse(name).container_id;

	return found.len == id_len && memcmp(found.at, id, id_len) == 0;
}

struct search {
	const char *id;
	struct freezer *f;
	struct cgroup_tree tree;
	const struct hierarchy *h;
};

static bool below(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void consider(void *ctx, uint64_t id, struct bytes path)
{
	struct search *s = ctx;
	struct freezer_top *top = &s->f->tops[s->f->n];
	const uint8_t *slash = memrchr(path.at, '/', path.len);

	(void)id;
	if (slash == NULL || s->f->n == FREEZER_TOPS_MAX || path.len >= sizeof(top->path) ||
	    !freezer_names((const char *)slash + 1, path.len - (size_t)(slash + 1 - path.at),
			   s->id))
		return;
	*top = (struct freezer_top){ .dir = -1, .knob = -1 };
	memcpy(top->path, path.at, path.len);
	top->path[path.len] = '\0';
	for (size_t i = 0; i < s->f->n; i++)
		if (below(top->path, s->f->tops[i].path))
			return;
	top->dir = openat(s->tree.fd, top->path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top->dir >= 0)
		s->f->n++;
}

void freezer_release(struct freezer *f)
{
	for (size_t i = 0; i < f->n; i++) {
		close_fd(&f->tops[i].dir);
		close_fd(&f->tops[i].knob);
	}
	f->n = 0;
}

/* ---- who is in it ---------------------------------------------------------------------------------- */

struct list {
	int dir;
	pid_t *pids;
	size_t n, max;
};

static void add_pid(struct list *l, uint64_t pid)
{
	/* 0: of another pid namespace than ours. */
	if (pid == 0 || pid > INT32_MAX)
		return;
	if (l->n < l->max)
		l->pids[l->n] = (pid_t)pid;
	l->n++;
}

static void list_directory(void *ctx, uint64_t id, struct bytes path)
{
	struct list *l = ctx;
	char name[PATH_MAX + 16];
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	(void)id;
	(void)snprintf(name, sizeof(name), ".%.*s/cgroup.procs", (int)path.len,
		       (const char *)path.at);
	/* A threaded cgroup's processes are listed by the one above it. */
	if (files_read_at(l->dir, name, PROCS_MAX, &text, &len, NULL) < 0)
		return;
	struct reader r = reader_init(text, len);

	while (r.left > 0) {
		struct reader line = proc_line(&r);

		add_pid(l, proc_number(&line, 10));
	}
}

size_t freezer_processes(const struct freezer *f, pid_t *pids, size_t max)
{
	struct list l = { .pids = pids, .max = max };

	for (size_t i = 0; i < f->n; i++) {
		struct cgroup_tree tree = { .fd = f->tops[i].dir };

		l.dir = tree.fd;
		(void)cgroup_tree_walk(&tree, CGROUPS_MAX, list_directory, &l);
	}
	return l.n;
}

/* ---- finding --------------------------------------------------------------------------------------- */

/* -1: not such a file system. */
static int open_hierarchy(const char *root, const struct hierarchy *h)
{
	char path[PATH_MAX];
	struct statfs fs;

	(void)snprintf(path, sizeof(path), "%s%s", root, h->below);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != h->magic ? -1 : take_fd(&fd);
}

static bool reads(int dir, const char *name, const char *word)
{
	AUTO(free_ptr) uint8_t *text = NULL;
	size_t len = 0;

	return files_read_at(dir, name, KiB(4), &text, &len, NULL) == 0 &&
	       strstr((const char *)text, word) != NULL;
}

static void open_knobs(struct freezer *f, const struct hierarchy *h)
{
	for (size_t i = 0; h->knob != NULL && i < f->n; i++) {
		f->tops[i].knob = openat(f->tops[i].dir, h->knob, O_RDWR | O_CLOEXEC);
		f->tops[i].was_frozen = h->kind == FREEZER_V2 ?
						reads(f->tops[i].dir, "cgroup.events", "frozen 1") :
						!reads(f->tops[i].dir, h->knob, "THAWED");
	}
}

/* Returns the number of processes. */
static size_t search_hierarchy(const char *root, const struct hierarchy *h, const char *id,
			       struct freezer *ret)
{
	AUTO(close_fd) int fd = open_hierarchy(root, h);
	struct search s = { .id = id, .f = ret, .tree = { .fd = fd }, .h = h };

	ret->n = 0;
	ret->kind = h->kind;
	if (fd < 0)
		return 0;
	(void)cgroup_tree_walk(&s.tree, CGROUPS_MAX, consider, &s);
	open_knobs(ret, h);
	return freezer_processes(ret, NULL, 0);
}

static int check_own(const struct acquire_request *r, const struct freezer *f, struct error *e)
{
	for (size_t i = 0; i < f->n; i++)
		for (const char *const *own = r->own_cgroups; own != NULL && *own != NULL; own++)
			if (below(*own, f->tops[i].path))
				return error_set(e, -EPERM,
						 "%s holds this agent: freezing it would freeze us",
						 f->tops[i].path);
	return 0;
}

int freezer_find(const struct acquire_request *r, const char *id, struct freezer *ret,
		 struct error *e)
{
	AUTO(free_ptr) struct freezer *f = calloc(1, sizeof(*f));
	size_t most = 0;

	if (f == NULL)
		return error_set(e, -ENOMEM, "cannot look for the container: out of memory");
	ret->n = 0;
	/* Version 2 where it has them all; else version 1; to list them alone any hierarchy does. */
	for (size_t i = 0; i < ARRAY_LEN(hierarchies); i++) {
		size_t n = search_hierarchy(r->cgroup, &hierarchies[i], id, f);

		if (n <= most || (most > 0 && f->kind == FREEZER_NONE)) {
			freezer_release(f);
			continue;
		}
		freezer_release(ret);
		*ret = *f;
		most = n;
	}
	if (most == 0)
		return error_set(e, -ENOENT, "no process runs in a container or pod '%s' here", id);
	int result = check_own(r, ret, e);

	if (result < 0)
		freezer_release(ret);
	return result;
}

bool freezer_was_frozen(const struct freezer *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->tops[i].was_frozen)
			return true;
	return false;
}

/* ---- freezing -------------------------------------------------------------------------------------- */

static bool is_frozen(const struct freezer *f, const struct freezer_top *top)
{
	return f->kind == FREEZER_V2 ? reads(top->dir, "cgroup.events", "frozen 1") :
				       reads(top->dir, "freezer.state", "FROZEN");
}

static int ask(const struct freezer *f, const struct freezer_top *top)
{
	const char *word = f->kind == FREEZER_V2 ? "1" : "FROZEN";

	return pwrite(top->knob, word, strlen(word), 0) < 0 ? -errno : 0;
}

/* Version 2 tells when cgroup.events changes whoever has read it, if late when it has told a moment ago; version 1
 * tells nobody. */
static void wait_for_news(int events)
{
	struct pollfd p = { .fd = events, .events = POLLPRI };
	char text[256];
	ssize_t n = events >= 0 ? pread(events, text, sizeof(text), 0) : 0;

	if (n <= 0 || memmem(text, (size_t)n, "frozen 1", strlen("frozen 1")) == NULL)
		(void)poll(&p, 1, POLL_MS);
}

/* Version 1 stays at FREEZING until it is asked again. */
static int wait_frozen(const struct freezer *f, const struct freezer_top *top, uint64_t until_ns,
		       struct error *e)
{
	AUTO(close_fd)
	int events = f->kind == FREEZER_V2 ?
			     openat(top->dir, "cgroup.events", O_RDONLY | O_CLOEXEC) :
			     -1;

	while (!is_frozen(f, top)) {
		if (clock_monotonic_ns() >= until_ns)
			return error_set(e, -ETIMEDOUT, "not all of %s froze in time", top->path);
		wait_for_news(events);
		if (f->kind == FREEZER_V1)
			(void)ask(f, top);
	}
	return 0;
}

int freezer_freeze(struct freezer *f, struct watchdog *w, uint64_t until_ns, struct error *e)
{
	enum watchdog_cgroup version = f->kind == FREEZER_V1 ? WATCHDOG_CGROUP_V1 :
							       WATCHDOG_CGROUP_V2;
	int late = 0;

	for (size_t i = 0; i < f->n; i++) {
		struct freezer_top *top = &f->tops[i];

		if (top->was_frozen)
			continue;
		if (f->kind == FREEZER_NONE || top->knob < 0)
			return error_set(e, -EOPNOTSUPP, "%s cannot be frozen", top->path);
		int r = watchdog_hold_cgroup(w, top->knob, version, e);

		if (r < 0)
			return r;
		r = ask(f, top);
		if (r < 0)
			return error_set(e, r, "cannot freeze %s: %m", top->path);
	}
	for (size_t i = 0; i < f->n; i++)
		if (!f->tops[i].was_frozen && wait_frozen(f, &f->tops[i], until_ns, e) < 0)
			late = -ETIMEDOUT;
	return late;
}
