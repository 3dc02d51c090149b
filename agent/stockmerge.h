/* SPDX-License-Identifier: Apache-2.0 */
/* Stock-taking without duplicates. Order at start: attach, run the iterators and keep their records,
 * then drain the rings (noting each record here), then take the stock: what a ring's record has
 * already told is left out. Bounded; belongs to the drain thread. */
#ifndef AGENT_STOCKMERGE_H
#define AGENT_STOCKMERGE_H

#include "agent/decode.h"
#include "agent/process.h"

#define STOCKMERGE_SOCKETS_MAX                                                                     \
	65536 /* noted meanwhile; past that sockets may be said twice (counted) */

struct stockmerge;

struct stockmerge *stockmerge_new(void); /* NULL: out of memory */
void stockmerge_free(struct stockmerge *s); /* NULL allowed */
/* A ring's record that was drained between attaching and taking the stock. */
void stockmerge_note(struct stockmerge *s, const struct decoded *d);
/* Whether the stock record d has to be said: its process image is not in the table yet (by exec, fork
 * or earlier stock), its socket was not noted. */
bool stockmerge_wanted(const struct stockmerge *s, struct process_table *t,
		       const struct decoded *d);
uint64_t stockmerge_unnoted(const struct stockmerge *s);

#endif
