/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/lanes.h"

#include <errno.h>

#include "proto/actions.h"

struct lane {
	struct batch_builder *builder;
	struct encoder *encoder;
};

struct lanes {
	struct sealer *sealer;
	struct lane lane[BATCH_LANES + 1];
	uint64_t unsaid[16];
};

int lanes_new(const struct lanes_config *c, struct lanes **ret_l, struct error *e)
{
	struct lanes *l = calloc(1, sizeof(*l));
	int r = l == NULL ? error_set(e, -ENOMEM, "cannot fill batches: out of memory") : 0;

	for (enum batch_lane i = BATCH_LANE_CRITICAL; r == 0 && i <= BATCH_LANE_BULK; i++) {
		struct lane *lane = &l->lane[i];

		r = batch_builder_new(i, c->n_cpu, c->next_sequence[i], c->max_age_ns,
				      &lane->builder, e);
		if (r == 0 && (lane->encoder = encoder_new(lane->builder, c->enricher)) == NULL)
			r = error_set(e, -ENOMEM, "cannot fill batches: out of memory");
	}
	if (r < 0) {
		lanes_free(l);
		return r;
	}
	l->sealer = c->sealer;
	*ret_l = l;
	return 0;
}

void lanes_free(struct lanes *l)
{
	if (l == NULL)
		return;
	for (size_t i = 1; i <= BATCH_LANES; i++) {
		encoder_free(l->lane[i].encoder);
		batch_builder_free(l->lane[i].builder);
	}
	free(l);
}

static void close_batch(struct lanes *l, struct lane *lane)
{
	struct batch_closed *closed;

	if (batch_builder_close(lane->builder, &closed) == 0)
		sealer_put(l->sealer, closed);
	/* else out of memory: it stays open, and is tried again at the next tick */
}

/* Of a gap not the event itself is lost, but what it tells of. */
static void count_unsaid(struct lanes *l, const struct event *ev)
{
	bool gap = ev->action == ACTION_GAP;
	uint32_t class = gap ? ev->u.gap.class : ev->class;

	l->unsaid[class < ARRAY_LEN(l->unsaid) ? class : 0] +=
		gap && ev->u.gap.has_count ? ev->u.gap.count : 1;
}

void lanes_event(struct lanes *l, const struct event *ev, const struct enriched *who,
		 uint64_t now_ns)
{
	struct lane *lane = &l->lane[class_lane(ev->class)];
	int r = encode_event(lane->encoder, ev, who, now_ns);

	if (r == -ENOSPC) {
		close_batch(l, lane);
		r = encode_event(lane->encoder, ev, who, now_ns);
	}
	if (r < 0)
		count_unsaid(l, ev);
	if (batch_builder_due(lane->builder, now_ns))
		close_batch(l, lane);
}

void lanes_gap(struct lanes *l, const struct event_gap *gap, uint64_t now_ns)
{
	struct event ev = encode_gap_event(gap, now_ns);

	lanes_event(l, &ev, NULL, now_ns);
}

void lanes_coverage(struct lanes *l, const struct coverage *c,
		    const struct encode_counters *counters, uint64_t now_ns)
{
	struct lane *lane = &l->lane[BATCH_LANE_CRITICAL];
	int r = encode_coverage(lane->encoder, c, counters, now_ns);

	if (r == -ENOSPC) {
		close_batch(l, lane);
		r = encode_coverage(lane->encoder, c, counters, now_ns);
	}
	if (r < 0)
		l->unsaid[CLASS_AGENT]++;
}

void lanes_agent(struct lanes *l, const struct encode_agent *a, uint64_t now_ns)
{
	struct lane *lane = &l->lane[BATCH_LANE_CRITICAL];
	int r = encode_agent(lane->encoder, a, now_ns);

	if (r == -ENOSPC) {
		close_batch(l, lane);
		r = encode_agent(lane->encoder, a, now_ns);
	}
	if (r < 0)
		l->unsaid[CLASS_AGENT]++;
}

void lanes_order(struct lanes *l, const struct event_order *order, uint32_t action, uint32_t error,
		 uint64_t now_ns)
{
	struct event ev = { .action = action,
			    .class = CLASS_AGENT,
			    .hook = HOOK_AGENT,
			    .error = error,
			    .boottime_ns = now_ns,
			    .u.order = *order };

	lanes_event(l, &ev, NULL, now_ns);
}

void lanes_reached(struct lanes *l, enum batch_lane lane, uint32_t cpu, uint64_t sequence)
{
	/* More CPUs than the machine may have: only a forged record names one. */
	(void)!batch_builder_reached(l->lane[lane].builder, lane, cpu, sequence);
}

void lanes_tick(struct lanes *l, uint64_t watermark_ns, bool beat, uint64_t now_ns)
{
	for (size_t i = 1; i <= BATCH_LANES; i++) {
		struct lane *lane = &l->lane[i];

		batch_builder_watermark(lane->builder, watermark_ns);
		if (batch_builder_due(lane->builder, now_ns) ||
		    (beat && batch_builder_empty(lane->builder)))
			close_batch(l, lane);
	}
}

void lanes_flush(struct lanes *l, uint64_t watermark_ns)
{
	for (size_t i = 1; i <= BATCH_LANES; i++) {
		batch_builder_watermark(l->lane[i].builder, watermark_ns);
		close_batch(l, &l->lane[i]);
	}
}

bool lanes_take_unsaid(struct lanes *l, uint64_t counts[static 16])
{
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(l->unsaid); i++) {
		any = any || l->unsaid[i] > 0;
		counts[i] += l->unsaid[i];
		l->unsaid[i] = 0;
	}
	return any;
}
