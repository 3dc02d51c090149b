/* SPDX-License-Identifier: Apache-2.0 */
/* How a verb ends: the completeness on standard error, the sentence of a failure, the exit code. */
#ifndef CLI_OUTCOME_H
#define CLI_OUTCOME_H

#include "collector/cli/screen.h"
#include "collector/cli/verbs.h"
#include "proto/base/error.h"

struct outcome {
	uint64_t rows; /* shown */
	bool incomplete;
};

/* Says how complete the answer is. Sets o->incomplete. */
void outcome_completeness(struct outcome *o, const Exhibit__V1__Completeness *c);
/* "exhibit: SENTENCE; HINT" on standard error. Returns EXIT_ERROR. */
int outcome_failure(const struct error *e);
/* 0 found, 1 none, 3 incomplete; 2 when standard output could not be written, but for a reader who left. */
int outcome_exit(const struct outcome *o);
/* RFC 3339 in UTC without (digits 0) or with milliseconds (3); "-" for 0. buf: CLOCK_TEXT_MAX. */
const char *outcome_time(int64_t wall_ns, int digits, char *buf);
/* Writes out what is buffered; true: the reader of standard output has left, or it cannot be written. */
bool outcome_deaf(void);

#endif
