/* SPDX-License-Identifier: Apache-2.0 */
/* Parents that stock-taking named and did not list: some kernels' task iterator leaves out pid 1 (seen on
 * 6.18 with iter/task). Pure and bounded; belongs to the drain thread. */
#ifndef AGENT_ANCESTORS_H
#define AGENT_ANCESTORS_H

#include "agent/process.h"

#define ANCESTORS_MAX 1024 /* different parents; more are not asked for */

struct ancestors {
	size_t n;
	struct rec_image key[ANCESTORS_MAX];
};

/* A process of the stock has this parent. pid 0 is none. */
void ancestors_note(struct ancestors *a, const struct rec_image *parent);
/* The stock has this process itself: it is not missing. After all parents were noted. */
void ancestors_listed(struct ancestors *a, const struct rec_image *key);
/* The next noted and not listed parent that t knows nothing of but its key; false: no more. at: 0 at first. */
MUST_CHECK bool ancestors_missing(const struct ancestors *a, struct process_table *t, size_t *at,
				  struct rec_image *ret_key);

#endif
