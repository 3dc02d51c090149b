/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loss.h"

#include "proto/actions.h"

/* Numbers below next are settled; of next .. next + LOSS_WINDOW - 1 those seen have a time. */
struct lane {
	uint64_t next;
	uint64_t before_ns; /* of the newest settled record */
	uint64_t seen_ns[LOSS_WINDOW]; /* by number modulo window; 0: not seen */
};

struct loss {
	size_t n_cpu;
	uint64_t late;
	struct lane cpu[];
};

struct loss *loss_new(size_t n_cpu, uint64_t start_ns)
{
	struct loss *l = calloc(1, sizeof(*l) + n_cpu * sizeof(l->cpu[0]));

	if (!l)
		return NULL;
	l->n_cpu = n_cpu;
	for (size_t i = 0; i < n_cpu; i++) {
		l->cpu[i].next = 1;
		l->cpu[i].before_ns = start_ns;
	}
	return l;
}

void loss_free(struct loss *l)
{
	free(l);
}

static void add_hole(struct loss_hole *hole, uint64_t from_ns, uint64_t count)
{
	if (hole->count == 0)
		hole->from_ns = from_ns;
	hole->count += count;
	hole->to_ns = 0; /* open until a record follows */
}

/* Settle the number lane->next. */
static void settle_one(struct lane *lane, struct loss_hole *hole)
{
	uint64_t *seen_ns = &lane->seen_ns[lane->next % LOSS_WINDOW];

	if (*seen_ns) {
		lane->before_ns = *seen_ns;
		if (hole->count && !hole->to_ns)
			hole->to_ns = *seen_ns;
	} else {
		add_hole(hole, lane->before_ns, 1);
	}
	*seen_ns = 0;
	lane->next++;
}

/* Settle all below limit; past one window nothing can have been seen. */
static void settle_below(struct lane *lane, uint64_t limit, struct loss_hole *hole)
{
	for (size_t i = 0; i < LOSS_WINDOW && lane->next < limit; i++)
		settle_one(lane, hole);
	if (lane->next < limit) {
		add_hole(hole, lane->before_ns, limit - lane->next);
		lane->next = limit;
	}
}

static void settle_seen(struct lane *lane, struct loss_hole *hole)
{
	while (lane->seen_ns[lane->next % LOSS_WINDOW])
		settle_one(lane, hole);
}

static bool finish(struct loss_hole *hole, uint32_t cpu, uint64_t last_ns)
{
	hole->cpu = cpu;
	if (hole->count && !hole->to_ns)
		hole->to_ns = last_ns;
	return hole->count > 0;
}

bool loss_feed(struct loss *l, uint32_t cpu, uint64_t seq, uint64_t boottime_ns,
	       struct loss_hole *ret)
{
	*ret = (struct loss_hole){ 0 };
	if (cpu >= l->n_cpu)
		return false;
	struct lane *lane = &l->cpu[cpu];
	uint64_t time = boottime_ns ? boottime_ns : 1;

	if (seq < lane->next ||
	    (seq - lane->next < LOSS_WINDOW && lane->seen_ns[seq % LOSS_WINDOW])) {
		l->late++;
		return false;
	}
	if (seq - lane->next >= LOSS_WINDOW)
		settle_below(lane, seq - LOSS_WINDOW + 1, ret);
	lane->seen_ns[seq % LOSS_WINDOW] = time;
	settle_seen(lane, ret);
	return finish(ret, cpu, time);
}

bool loss_settle(struct loss *l, uint32_t cpu, uint64_t seq, uint64_t now_ns, struct loss_hole *ret)
{
	*ret = (struct loss_hole){ 0 };
	if (cpu >= l->n_cpu || seq == UINT64_MAX)
		return false;
	settle_below(&l->cpu[cpu], seq + 1, ret);
	settle_seen(&l->cpu[cpu], ret);
	return finish(ret, cpu, now_ns);
}

uint64_t loss_late(const struct loss *l)
{
	return l->late;
}

static size_t add_share(struct loss_share *ret, size_t n, uint32_t class, uint32_t where,
			uint64_t count)
{
	if (count == 0)
		return n;
	ret[n] = (struct loss_share){ .class = class, .where = where, .count = count };
	return n + 1;
}

size_t loss_shares(const struct counters *before, const struct counters *after,
		   struct loss_share *ret)
{
	size_t n = 0;

	for (uint32_t i = 0; i < REC_CLASSES; i++) {
		const struct rec_counters *b = &before->class[i], *a = &after->class[i];
		uint64_t scratch =
			a->lost_scratch - b->lost_scratch + after->missed[i] - before->missed[i];

		n = add_share(ret, n, i, GAP_RING, a->lost_ring - b->lost_ring);
		n = add_share(ret, n, i, i == REC_CLASS_UDP ? GAP_TABLE : GAP_SCRATCH, scratch);
	}
	return n;
}

uint64_t loss_unexplained(const struct counters *before, const struct counters *after,
			  uint64_t holes)
{
	uint64_t lost = 0;

	for (size_t i = 0; i < REC_CLASSES; i++)
		lost += after->class[i].lost_ring - before->class[i].lost_ring;
	return holes > lost ? holes - lost : 0;
}
