/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside a core: who the process is, its arguments, environment and open files with what each of them
 * is, as lines of JSON; and its executable's bytes. */
#ifndef ACQUIRE_CORE_FACTS_H
#define ACQUIRE_CORE_FACTS_H

#include "agent/acquire/core_sockets.h"
#include "agent/acquire/core_target.h"
#include "proto/json.h"

#define CORE_EXES_MAX 64

struct core_facts {
	struct output *o; /* borrowed */
	uint32_t processes, files, maps, gaps; /* items; 0: not begun */
	uint64_t net_ns; /* that sockets are of; 0: none read */
	struct core_sockets sockets;
	struct core_exe {
		uint64_t device, inode;
		pid_t pid;
	} exes[CORE_EXES_MAX];
	size_t n_exes;
};

MUST_CHECK int core_facts_begin(struct output *o, const char *gaps_name, struct core_facts *ret,
				struct error *e);
MUST_CHECK int core_facts_process(struct core_facts *f, const struct core_target *t,
				  struct error *e);
/* The list of mappings, once it was held. */
MUST_CHECK int core_facts_maps(struct core_facts *f, const struct core_target *t, struct error *e);
/* The executable, also when its file is gone; each once. */
MUST_CHECK int core_facts_exe(struct core_facts *f, const struct core_target *t, struct error *e);
MUST_CHECK int core_facts_end(struct core_facts *f, struct error *e);
void core_facts_release(struct core_facts *f);

/* A line of JSON under way, and into an item. */
struct core_line {
	FILE *file;
	char *text;
	size_t len;
	struct json json;
};
MUST_CHECK int core_line_begin(struct core_line *l, struct error *e);
MUST_CHECK int core_line_end(struct core_line *l, struct output *o, uint32_t item, struct error *e);

#endif
