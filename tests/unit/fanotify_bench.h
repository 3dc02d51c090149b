/* SPDX-License-Identifier: Apache-2.0 */
/* A file system of the test's own that fanotify watches, and what it told. Needs root; skipped without. */
#ifndef TESTS_UNIT_FANOTIFY_BENCH_H
#define TESTS_UNIT_FANOTIFY_BENCH_H

#include "tests/unit/rows.h"

#include <linux/limits.h>

#include "agent/event.h"
#include "agent/fanotify.h"

#define FANOTIFY_BENCH_SEEN_MAX 64

/* One event, with its texts copied. */
struct fanotify_seen_event {
	struct event ev;
	char path[PATH_MAX], old_path[PATH_MAX];
};

struct fanotify_bench {
	char dir[64];
	struct fanotify *f;
	uint64_t now_ns;
	size_t n, total, gaps; /* n: kept in seen */
	struct fanotify_seen_event seen[FANOTIFY_BENCH_SEEN_MAX];
};

/* Of each test: a tmpfs, in the mount namespace that fanotify_bench_run made. */
int fanotify_bench_setup(void **state);
int fanotify_bench_teardown(void **state);
/* Opened and quiet; skips the test where nothing can be mounted or watched. */
struct fanotify_bench *fanotify_bench_ready(void **state, const struct fanotify_config *more);
/* Open b->f; as fanotify_open. */
int fanotify_bench_open(struct fanotify_bench *b, const struct fanotify_config *more);
/* What is given to fanotify_drain, with the bench: takes one event. */
void fanotify_bench_event(void *ctx, struct event *ev);
/* A second later: what came since, into seen. */
void fanotify_bench_drain(struct fanotify_bench *b);
/* The path of name in it; valid for three more calls. */
char *fanotify_bench_in(const struct fanotify_bench *b, const char *name);
void fanotify_bench_write(const char *path, const char *text);
void fanotify_bench_assert(const struct fanotify_bench *b, size_t i, uint32_t action,
			   const char *path);
/* All tests of t, each with a bench; what main returns. */
int fanotify_bench_run(struct tests *t, const char *group);

#endif
