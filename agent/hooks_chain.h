/* SPDX-License-Identifier: Apache-2.0 */
/* Which hooks there are for each class, best first: the table that a new class or hook is a row
 * of. */
#ifndef AGENT_HOOKS_CHAIN_H
#define AGENT_HOOKS_CHAIN_H

#include "bpf/record.h"
#include "proto/base/base.h"

#define HOOKS_PROGRAMS_MAX 4

enum hooks_group { HOOKS_PROCESS, HOOKS_FILES, HOOKS_NETWORK };

struct hooks_class {
	uint32_t class; /* CLASS_* of proto/actions.h */
	const char *what; /* events, for the coverage */
	enum hooks_group group; /* what the configuration switches off together */
	bool essential; /* without it the agent does not start */
};

struct hooks_row {
	enum rec_class class;
	uint8_t tier; /* as sensor.md defines them */
	uint32_t kind; /* HOOK_* of proto/actions.h */
	const char *hook; /* for the coverage */
	const char *object; /* of bpf/ */
	const char *programs[HOOKS_PROGRAMS_MAX]; /* of the object; all must load and attach */
	const char *limit; /* a sentence: what it cannot see; NULL: nothing known */
	bool cgroup; /* some program attaches to the root of cgroup v2 */
};

const struct hooks_class *hooks_class(enum rec_class class);
/* The i-th row of a class's chain; NULL past its end. */
const struct hooks_row *hooks_chain(enum rec_class class, size_t i);

#endif
