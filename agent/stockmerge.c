/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/stockmerge.h"

#include "proto/actions.h"

#define SLOTS_BITS 17
#define SLOTS (1u << SLOTS_BITS) /* twice the maximum: a free slot ends every search */

_Static_assert(SLOTS >= 2 * STOCKMERGE_SOCKETS_MAX, "a search must end");

struct stockmerge {
	size_t n;
	uint64_t unnoted;
	uint64_t cookie[SLOTS]; /* 0: free */
};

struct stockmerge *stockmerge_new(void)
{
	return calloc(1, sizeof(struct stockmerge));
}

void stockmerge_free(struct stockmerge *s)
{
	free(s);
}

static size_t slot_of(const struct stockmerge *s, uint64_t cookie)
{
	size_t i = (size_t)((cookie * 0x9e3779b97f4a7c15ULL) >> (64 - SLOTS_BITS));

	while (s->cookie[i] && s->cookie[i] != cookie)
		i = (i + 1) & (SLOTS - 1);
	return i;
}

/* The events that tell that a socket began or ended; a UDP flow tells of packets only. */
static bool tells_of_socket(uint32_t action)
{
	return action == ACTION_CONNECT || action == ACTION_ACCEPT || action == ACTION_LISTEN;
}

void stockmerge_note(struct stockmerge *s, const struct decoded *d)
{
	size_t i;

	if (!d->socket || !tells_of_socket(d->event.action))
		return;
	i = slot_of(s, d->socket);
	if (s->cookie[i])
		return;
	if (s->n == STOCKMERGE_SOCKETS_MAX) {
		s->unnoted++;
		return;
	}
	s->cookie[i] = d->socket;
	s->n++;
}

bool stockmerge_wanted(const struct stockmerge *s, struct process_table *t, const struct decoded *d)
{
	const struct process *p;

	if (d->event.action == ACTION_SOCKET)
		return !d->socket || !s->cookie[slot_of(s, d->socket)];
	if (d->event.action != ACTION_PROCESS)
		return true;
	p = process_find(t, &d->event.image);
	return !p || p->source < PROCESS_FORK;
}

uint64_t stockmerge_unnoted(const struct stockmerge *s)
{
	return s->unnoted;
}
