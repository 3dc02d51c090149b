/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/window.h"

void window_reset(struct window *w)
{
	w->next = 0;
	w->asked = false;
	w->round++;
	w->head = w->n = 0;
}

bool window_wants(const struct window *w)
{
	return !w->asked && w->n < WINDOW_MAX;
}

bool window_accepts(struct window *w, uint16_t round)
{
	if (!w->asked || round != w->round)
		return false;
	w->asked = false;
	return true;
}

void window_sent(struct window *w, uint64_t position, const struct window_id *id)
{
	size_t slot = (w->head + w->n) % WINDOW_MAX;

	w->next = position + 1;
	w->sent[slot].position = position;
	w->sent[slot].id = *id;
	w->n++;
}

static bool same_id(const struct window_id *a, const struct window_id *b)
{
	return a->number == b->number && memcmp(a->hash.b, b->hash.b, sizeof(a->hash.b)) == 0 &&
	       memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0 &&
	       memcmp(a->epoch, b->epoch, sizeof(a->epoch)) == 0;
}

bool window_acknowledge(struct window *w, const struct window_id *id, uint64_t *ret_position)
{
	for (size_t i = 0; i < w->n; i++) {
		size_t slot = (w->head + i) % WINDOW_MAX;

		if (!same_id(&w->sent[slot].id, id))
			continue;
		*ret_position = w->sent[slot].position;
		w->head = (slot + 1) % WINDOW_MAX;
		w->n -= i + 1;
		return true;
	}
	return false;
}
