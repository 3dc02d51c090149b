/* SPDX-License-Identifier: Apache-2.0 */
/* Which event classes this host can see, through which hook, and why not: what --probe prints and
 * the coverage event carries. Filled once at start by hooks.c and by whoever else senses
 * (fanotify); plain data after that. */
#ifndef AGENT_COVERAGE_H
#define AGENT_COVERAGE_H

#include <stdio.h>

#include "proto/base/base.h"

#define COVERAGE_ROWS_MAX 32
#define COVERAGE_REASON_MAX 256

/* The numbers of CoverageState in event.proto. */
enum coverage_state {
	COVERAGE_UNKNOWN = 0,
	COVERAGE_ATTACHED = 1,
	COVERAGE_FAILED = 2,
	COVERAGE_PARTIAL = 3, /* attached, with a limit that reason states */
};

struct coverage_row {
	uint32_t class; /* CLASS_* of proto/actions.h; a class may have several rows */
	const char *what; /* "connect, listen, disconnect"; for ever valid */
	uint8_t tier; /* 0 to 4 as sensor.md defines them; meaningless when failed */
	const char *hook; /* "tp_btf/sched_process_exec"; for ever valid; "none" when failed */
	enum coverage_state state;
	char reason[COVERAGE_REASON_MAX]; /* a sentence, or empty */
};

struct coverage {
	size_t n;
	struct coverage_row row[COVERAGE_ROWS_MAX];
};

/* The row for class and what, made when it is not there yet; NULL: table full. */
struct coverage_row *coverage_row(struct coverage *c, uint32_t class, const char *what);
/* hook: what saw it, or NULL (failed). limit: NULL (attached) or the sentence that makes it
 * partial. A full table loses the row. */
void coverage_attached(struct coverage *c, uint32_t class, const char *what, uint8_t tier,
		       const char *hook, const char *limit);
/* reason replaces the one of an earlier hook of the chain. */
void coverage_failed(struct coverage *c, uint32_t class, const char *what, const char *fmt, ...)
	PRINTF(4, 5);
const char *coverage_state_name(enum coverage_state state);
/* Every class of which at least one row is attached or partial: for deciding what to say at
 * start. */
bool coverage_has(const struct coverage *c, uint32_t class);
/* The table for people: aligned, one row per line, a header line. */
void coverage_print(const struct coverage *c, FILE *out);

#endif
