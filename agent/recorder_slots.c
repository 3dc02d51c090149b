/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/recorder_slots.h"

#include <errno.h>
#include <string.h>

#define MARGIN 20 /* one in so many slots is left to the writer at the start */

int recorder_slots_init(const struct packets_recorder *state, const uint64_t *head,
			const uint8_t *base, struct recorder_slots *ret, struct error *e)
{
	if (state->version != PACKETS_RECORDER_VERSION || state->slots == 0 ||
	    state->snap > RECORDER_SNAP_MAX ||
	    state->slot_bytes < sizeof(struct packets_head) + state->snap ||
	    state->slot_bytes % sizeof(uint64_t) != 0)
		return error_set(e, -EBADMSG, "the flight recorder is of another version");
	*ret = (struct recorder_slots){ .head = head,
					.base = base,
					.slots = state->slots,
					.slot_bytes = state->slot_bytes,
					.snap = state->snap };
	return 0;
}

static uint64_t head_of(const struct recorder_slots *s)
{
	return __atomic_load_n(s->head, __ATOMIC_ACQUIRE);
}

static const struct packets_head *slot_of(const struct recorder_slots *s, uint64_t number)
{
	return (const void *)(s->base + number % s->slots * s->slot_bytes);
}

static uint64_t number_in(const struct packets_head *slot)
{
	return __atomic_load_n(&slot->number, __ATOMIC_ACQUIRE);
}

void recorder_slots_oldest(struct recorder_slots *s)
{
	uint64_t head = head_of(s);

	s->next = head < s->slots ? 0 : head - s->slots + s->slots / MARGIN;
}

/* false: it was overwritten meanwhile. */
static bool copy(const struct recorder_slots *s, const struct packets_head *slot,
		 struct recorder_packet *ret)
{
	memcpy(ret, slot, sizeof(ret->head) + s->snap);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return number_in(slot) == s->next + 1 && ret->head.caplen <= s->snap;
}

static void skip(struct recorder_slots *s, uint64_t to)
{
	s->lapped += to - s->next;
	s->next = to;
	s->busy_since_ns = 0;
}

static bool is_stuck(struct recorder_slots *s, uint64_t now_ns)
{
	if (s->busy_since_ns == 0)
		s->busy_since_ns = now_ns;
	return now_ns - s->busy_since_ns > RECORDER_STUCK_NS;
}

int recorder_slots_next(struct recorder_slots *s, uint64_t now_ns, struct recorder_packet *ret)
{
	for (;;) {
		uint64_t head = head_of(s);

		if (s->next >= head)
			return 0;
		if (head - s->next > s->slots)
			skip(s, head - s->slots);
		const struct packets_head *slot = slot_of(s, s->next);
		uint64_t number = number_in(slot);

		if (number == s->next + 1 && copy(s, slot, ret)) {
			s->next++;
			s->busy_since_ns = 0;
			return 1;
		}
		if (number <= s->next && !is_stuck(s, now_ns))
			return 0;
		skip(s, s->next + 1);
	}
}

uint64_t recorder_slots_since(const struct recorder_slots *s)
{
	struct recorder_slots copy = *s;
	struct recorder_packet first;

	recorder_slots_oldest(&copy);
	return recorder_slots_next(&copy, 0, &first) == 1 ? first.head.boottime_ns : 0;
}
