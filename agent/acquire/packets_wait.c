/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/packets_wait.h"

#include <errno.h>
#include <string.h>

/* ---- waiting --------------------------------------------------------------------------------------------- */

struct packets_wait {
	size_t stride;
	uint32_t snap, max, n;
	uint8_t *slots;
	/* All slots' numbers: the first n are in use, by time, the others free. */
	uint32_t *order, *dropped;
};

int packets_wait_new(uint32_t snap, uint32_t max, struct packets_wait **ret, struct error *e)
{
	struct packets_wait *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return error_set(e, -ENOMEM, "cannot put packets in order: out of memory");
	*w = (struct packets_wait){ .stride = (sizeof(struct packets_head) + snap + 7) / 8 * 8,
				    .snap = snap,
				    .max = max };
	w->slots = calloc(max, w->stride);
	w->order = calloc(max, sizeof(*w->order));
	w->dropped = calloc(max, sizeof(*w->dropped));
	if (w->slots == NULL || w->order == NULL || w->dropped == NULL) {
		packets_wait_free(w);
		return error_set(e, -ENOMEM, "cannot put packets in order: out of memory");
	}
	for (uint32_t i = 0; i < max; i++)
		w->order[i] = i;
	*ret = w;
	return 0;
}

void packets_wait_free(struct packets_wait *w)
{
	if (w == NULL)
		return;
	free(w->slots);
	free(w->order);
	free(w->dropped);
	free(w);
}

uint32_t packets_wait_count(const struct packets_wait *w)
{
	return w->n;
}

static struct packets_head *slot_of(const struct packets_wait *w, uint32_t slot)
{
	return (void *)(w->slots + slot * w->stride);
}

const struct packets_head *packets_wait_at(const struct packets_wait *w, uint32_t n)
{
	return slot_of(w, w->order[n]);
}

/* Almost sorted already: the newest goes back a place or two. */
bool packets_wait_put(struct packets_wait *w, const struct packets_head *h, const uint8_t *data)
{
	if (w->n == w->max || h->caplen > w->snap)
		return false;
	uint32_t slot = w->order[w->n], i = w->n++;
	struct packets_head *to = slot_of(w, slot);

	*to = *h;
	if (h->caplen > 0)
		memcpy(to + 1, data, h->caplen);
	for (; i > 0 && packets_wait_at(w, i - 1)->boottime_ns > h->boottime_ns; i--)
		w->order[i] = w->order[i - 1];
	w->order[i] = slot;
	return true;
}

uint32_t packets_wait_until(const struct packets_wait *w, uint64_t until_ns)
{
	uint32_t n = 0;

	while (n < w->n && packets_wait_at(w, n)->boottime_ns <= until_ns)
		n++;
	return n;
}

void packets_wait_drop(struct packets_wait *w, uint32_t n)
{
	if (n == 0)
		return;
	memcpy(w->dropped, w->order, n * sizeof(*w->order));
	memmove(w->order, w->order + n, (w->n - n) * sizeof(*w->order));
	w->n -= n;
	memcpy(w->order + w->n, w->dropped, n * sizeof(*w->order));
}

/* ---- the seam -------------------------------------------------------------------------------------------- */

#define FREE UINT32_MAX

struct seen {
	uint64_t key, time_ns;
	uint32_t next; /* of the same place, or FREE */
	bool taken;
};

struct packets_seam {
	uint32_t bytes, max, n;
	struct seen *seen;
	uint32_t *first; /* max places, each a list with the newest first */
};

int packets_seam_new(uint32_t bytes, uint32_t max, struct packets_seam **ret, struct error *e)
{
	struct packets_seam *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot join packets: out of memory");
	s->bytes = bytes;
	s->max = max;
	s->seen = calloc(max, sizeof(*s->seen));
	s->first = calloc(max, sizeof(*s->first));
	if (s->seen == NULL || s->first == NULL) {
		packets_seam_free(s);
		return error_set(e, -ENOMEM, "cannot join packets: out of memory");
	}
	for (uint32_t i = 0; i < max; i++)
		s->first[i] = FREE;
	*ret = s;
	return 0;
}

void packets_seam_free(struct packets_seam *s)
{
	if (s == NULL)
		return;
	free(s->seen);
	free(s->first);
	free(s);
}

/* FNV-1a, by words of eight bytes at most. */
static uint64_t mix(uint64_t key, uint64_t v)
{
	return (key ^ v) * 0x100000001b3ULL ^ (key >> 29);
}

/* What both programs see alike: two run for the same packet one after the other, on the same CPU. */
static uint64_t key_of(const struct packets_seam *s, const struct packets_head *h,
		       const uint8_t *data)
{
	uint32_t n = h->caplen < s->bytes ? h->caplen : s->bytes;
	uint64_t key = 0xcbf29ce484222325ULL;

	key = mix(key, h->socket);
	key = mix(key, (uint64_t)h->net_ns << 32 | h->ifindex);
	key = mix(key, (uint64_t)h->len << 32 | (uint64_t)h->cpu << 8 | h->direction);
	for (uint32_t i = 0; i < n; i++)
		key = mix(key, data[i]);
	return key;
}

bool packets_seam_add(struct packets_seam *s, const struct packets_head *h, const uint8_t *data)
{
	if (s->n == s->max)
		return false;
	uint64_t key = key_of(s, h, data);
	uint32_t *first = &s->first[key % s->max];

	s->seen[s->n] = (struct seen){ .key = key, .time_ns = h->boottime_ns, .next = *first };
	*first = s->n++;
	return true;
}

bool packets_seam_take(struct packets_seam *s, const struct packets_head *h, const uint8_t *data)
{
	uint64_t key = key_of(s, h, data);

	for (uint32_t i = s->first[key % s->max]; i != FREE; i = s->seen[i].next) {
		struct seen *seen = &s->seen[i];

		/* Ours ran after the recorder's. */
		if (seen->taken || seen->key != key ||
		    seen->time_ns - h->boottime_ns > PACKETS_SEAM_NS)
			continue;
		seen->taken = true;
		return true;
	}
	return false;
}
