/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/batch_builder.h"

#include <errno.h>
#include <string.h>

#include "proto/base/writer.h"

#define VARINT_MAX 3 /* of a length up to BATCH_ENTRY_MAX */
#define RAW_FIRST (BATCH_RAW_CLOSE + KiB(16))
#define CLASSES ARRAY_LEN(((struct batch_closed *)NULL)->counts)
/* Twice the most processes that a batch holds, so that probing stays short. */
#define SLOTS 16384u

_Static_assert(SLOTS >= 2 * BATCH_ENTRIES_MAX && (SLOTS & (SLOTS - 1)) == 0,
	       "a power of two, half full at most");
_Static_assert(BATCH_RAW_CLOSE + 2 * (BATCH_ENTRY_MAX + VARINT_MAX) <= BATCH_RAW_MAX,
	       "what is not due yet has room for a process and an event");

/* Images that were said, by open addressing; a slot counts only in the batch that it was filled in,
 * so beginning a batch clears nothing. */
struct said {
	struct rec_image image;
	uint32_t index; /* from 1 */
	uint32_t generation;
};

struct batch_builder {
	enum batch_lane lane;
	uint64_t next_sequence, max_age_ns, watermark_ns;
	uint64_t opened_ns; /* when the first event of the batch was added */
	size_t max_rings, n_rings, raw_size;
	uint32_t processes, generation;
	struct batch_closed now; /* what batch_closed will say; raw is raw_size bytes, or NULL */
	struct said *said; /* SLOTS */
	struct batch_ring rings[];
};

static void begin(struct batch_builder *b)
{
	b->now = (struct batch_closed){ .lane = b->lane };
	b->raw_size = 0;
	b->processes = 0;
	b->generation++;
	if (b->generation == 0) { /* after 2^32 batches old slots would count again */
		memset(b->said, 0, SLOTS * sizeof(*b->said));
		b->generation = 1;
	}
}

int batch_builder_new(enum batch_lane lane, size_t max_rings, uint64_t next_sequence,
		      uint64_t max_age_ns, struct batch_builder **ret_b, struct error *e)
{
	struct batch_builder *b;

	if (max_rings > BATCH_RINGS_MAX)
		return error_set(e, -EINVAL, "cannot number %zu rings in a batch: the most are %d",
				 max_rings, BATCH_RINGS_MAX);
	b = calloc(1, sizeof(*b) + max_rings * sizeof(b->rings[0]));
	if (b)
		b->said = calloc(SLOTS, sizeof(*b->said));
	if (!b || !b->said) {
		batch_builder_free(b);
		return error_set(e, -ENOMEM, "cannot prepare a batch: %m");
	}
	b->lane = lane;
	b->max_rings = max_rings;
	b->next_sequence = next_sequence > 0 ? next_sequence : 1;
	b->max_age_ns = max_age_ns;
	begin(b);
	*ret_b = b;
	return 0;
}

void batch_builder_free(struct batch_builder *b)
{
	if (!b)
		return;
	free(b->now.raw);
	free(b->said);
	free(b);
}

uint64_t batch_builder_next_sequence(const struct batch_builder *b)
{
	return b->next_sequence;
}

static uint32_t slot_of(const struct rec_image *image)
{
	/* Fibonacci hashing; pids and start times chosen by an attacker cost time in the agent's own
	 * batch only, and at most SLOTS probes. */
	uint64_t h = (image->start_ns ^ (uint64_t)image->pid << 32 ^ image->exec_id) *
		     0x9e3779b97f4a7c15ull;

	return (uint32_t)(h >> 40) & (SLOTS - 1);
}

static bool same_image(const struct rec_image *a, const struct rec_image *b)
{
	return a->pid == b->pid && a->exec_id == b->exec_id && a->start_ns == b->start_ns;
}

/* The slot that holds image, or the empty one where it belongs. */
static struct said *find(const struct batch_builder *b, const struct rec_image *image)
{
	uint32_t i = slot_of(image);

	while (b->said[i].generation == b->generation && !same_image(&b->said[i].image, image))
		i = (i + 1) & (SLOTS - 1);
	return &b->said[i];
}

uint32_t batch_builder_process(const struct batch_builder *b, const struct rec_image *image)
{
	const struct said *s = find(b, image);

	return s->generation == b->generation ? s->index : 0;
}

static int make_room(struct batch_builder *b, size_t need)
{
	size_t size = b->raw_size > 0 ? b->raw_size : RAW_FIRST;
	uint8_t *raw;

	if (need > BATCH_RAW_MAX)
		return -ENOSPC;
	if (b->now.raw && need <= b->raw_size)
		return 0;
	while (size < need)
		size *= 2;
	if (size > BATCH_RAW_MAX)
		size = BATCH_RAW_MAX;
	raw = realloc(b->now.raw, size);
	if (!raw)
		return -ENOMEM;
	b->now.raw = raw;
	b->raw_size = size;
	return 0;
}

static int add_entry(struct batch_builder *b, const void *entry, size_t len)
{
	struct writer w;
	int r;

	if (len == 0)
		return -EINVAL;
	if (len > BATCH_ENTRY_MAX)
		return -E2BIG;
	if (b->now.entries == BATCH_ENTRIES_MAX)
		return -ENOSPC;
	r = make_room(b, b->now.raw_len + len + VARINT_MAX);
	if (r < 0)
		return r;
	w = writer_init(b->now.raw + b->now.raw_len, b->raw_size - b->now.raw_len);
	writer_varint(&w, len);
	writer_bytes(&w, entry, len);
	b->now.raw_len += w.done;
	b->now.entries++;
	return 0;
}

int batch_builder_add_process(struct batch_builder *b, const struct rec_image *image,
			      const void *entry, size_t len, uint32_t *ret_index)
{
	int r = add_entry(b, entry, len);

	if (r < 0)
		return r;
	b->processes++;
	*find(b, image) = (struct said){ .image = *image,
					 .index = b->processes,
					 .generation = b->generation };
	*ret_index = b->processes;
	return 0;
}

static void widen_times(struct batch_closed *c, uint64_t boottime_ns)
{
	if (c->count == 0 || boottime_ns < c->first_boottime_ns)
		c->first_boottime_ns = boottime_ns;
	if (boottime_ns > c->last_boottime_ns)
		c->last_boottime_ns = boottime_ns;
}

static void note_gap(struct batch_closed *c, const struct batch_event_facts *f)
{
	c->gaps++;
	if (f->lost_known)
		c->lost[f->lost_class < CLASSES ? f->lost_class : 0] += f->lost;
	else
		c->lost_unknown = true;
	if (c->lost_to_ns == 0 || f->lost_from_ns < c->lost_from_ns)
		c->lost_from_ns = f->lost_from_ns;
	if (f->lost_to_ns > c->lost_to_ns)
		c->lost_to_ns = f->lost_to_ns;
}

int batch_builder_add_event(struct batch_builder *b, const void *entry, size_t len,
			    const struct batch_event_facts *facts)
{
	int r;

	if (b->now.count == BATCH_EVENTS_MAX)
		return -ENOSPC;
	r = add_entry(b, entry, len);
	if (r < 0)
		return r;
	widen_times(&b->now, facts->boottime_ns);
	if (b->now.count == 0) {
		b->opened_ns = facts->now_ns;
		b->now.first_sequence = b->next_sequence;
	}
	b->now.last_sequence = b->next_sequence++;
	b->now.count++;
	if (facts->gap)
		note_gap(&b->now, facts);
	b->now.counts[facts->class < CLASSES ? facts->class : 0]++;
	return 0;
}

int batch_builder_reached(struct batch_builder *b, uint32_t ring, uint32_t cpu, uint64_t sequence)
{
	for (size_t i = 0; i < b->n_rings; i++) {
		if (b->rings[i].ring != ring || b->rings[i].cpu != cpu)
			continue;
		if (sequence > b->rings[i].sequence)
			b->rings[i].sequence = sequence;
		return 0;
	}
	if (b->n_rings == b->max_rings)
		return -ENOSPC;
	b->rings[b->n_rings++] =
		(struct batch_ring){ .ring = ring, .cpu = cpu, .sequence = sequence };
	return 0;
}

void batch_builder_watermark(struct batch_builder *b, uint64_t watermark_ns)
{
	if (watermark_ns > b->watermark_ns)
		b->watermark_ns = watermark_ns;
}

bool batch_builder_empty(const struct batch_builder *b)
{
	return b->now.count == 0;
}

bool batch_builder_due(const struct batch_builder *b, uint64_t now_ns)
{
	if (b->now.raw_len >= BATCH_RAW_CLOSE || b->now.count >= BATCH_EVENTS_CLOSE)
		return true;
	return b->now.count > 0 && now_ns > b->opened_ns && now_ns - b->opened_ns >= b->max_age_ns;
}

int batch_builder_close(struct batch_builder *b, struct batch_closed **ret_closed)
{
	struct batch_closed *c = malloc(sizeof(*c) + b->n_rings * sizeof(c->rings[0]));

	if (!c)
		return -ENOMEM;
	*c = b->now;
	c->watermark_ns = b->watermark_ns;
	c->n_rings = b->n_rings;
	memcpy(c->rings, b->rings, b->n_rings * sizeof(c->rings[0]));
	begin(b);
	*ret_closed = c;
	return 0;
}

void batch_closed_free(struct batch_closed *c)
{
	if (!c)
		return;
	free(c->raw);
	free(c);
}
