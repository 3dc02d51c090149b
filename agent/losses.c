/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/losses.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/actions.h"
#include "proto/base/log.h"

/* Which of the kernel's classes a class of events is made of. */
static const uint32_t class_of_rec[REC_CLASSES] = {
	[REC_CLASS_EXEC] = CLASS_EXEC,        [REC_CLASS_FORK] = CLASS_FORK,
	[REC_CLASS_EXIT] = CLASS_EXIT,        [REC_CLASS_FILE_OPEN] = CLASS_FILE_OPEN,
	[REC_CLASS_TCP] = CLASS_TCP,          [REC_CLASS_TCP_ACCEPT] = CLASS_TCP,
	[REC_CLASS_UDP] = CLASS_UDP,          [REC_CLASS_STOCK_PROCESS] = CLASS_EXEC,
	[REC_CLASS_STOCK_SOCKET] = CLASS_TCP, [REC_CLASS_URING_OPEN] = CLASS_FILE_OPEN,
	[REC_CLASS_URING_ACCEPT] = CLASS_TCP, [REC_CLASS_CGROUP] = CLASS_AGENT,
};

struct losses {
	const struct hooks *hooks;
	struct lanes *lanes;
	struct sealer *sealer;
	struct loss *loss[REC_RINGS];
	size_t n_cpu;
	uint64_t *numbers
		[REC_RINGS]; /* as read at the last check: what a drain since then must have shown */
	uint64_t checked_ns;
	struct counters before;
	uint64_t holes; /* records in holes, since the start */
	uint64_t stolen; /* of these, told as gaps that no class explains */
	uint64_t swept;
	uint64_t filtered[16]; /* by user space, by class */
	struct decode_failures undecoded;
	bool blind; /* the kernel's counters could not be read, and that was said */
};

int losses_new(const struct hooks *h, struct lanes *lanes, struct sealer *s, uint64_t start_ns,
	       struct losses **ret_l, struct error *e)
{
	struct losses *l = calloc(1, sizeof(*l));
	bool whole = l != NULL;

	if (l != NULL) {
		l->hooks = h;
		l->lanes = lanes;
		l->sealer = s;
		l->n_cpu = counters_cpus();
		l->checked_ns = start_ns;
	}
	for (size_t ring = 0; whole && ring < REC_RINGS; ring++) {
		l->loss[ring] = loss_new(l->n_cpu, start_ns);
		l->numbers[ring] = calloc(l->n_cpu, sizeof(uint64_t));
		whole = l->loss[ring] != NULL && l->numbers[ring] != NULL;
	}
	if (!whole) {
		losses_free(l);
		return error_set(e, -ENOMEM, "cannot account for losses: out of memory");
	}
	*ret_l = l;
	return 0;
}

void losses_free(struct losses *l)
{
	if (l == NULL)
		return;
	for (size_t ring = 0; ring < REC_RINGS; ring++) {
		loss_free(l->loss[ring]);
		free(l->numbers[ring]);
	}
	free(l);
}

static enum batch_lane lane_of(uint32_t ring)
{
	return ring == REC_RING_CRITICAL ? BATCH_LANE_CRITICAL : BATCH_LANE_BULK;
}

void losses_record(struct losses *l, const struct decoded *d, uint64_t boottime_ns)
{
	struct loss_hole hole;

	if (d->ring >= REC_RINGS || d->seq == 0)
		return;
	if (loss_feed(l->loss[d->ring], d->cpu, d->seq, boottime_ns, &hole))
		l->holes += hole.count;
	lanes_reached(l->lanes, lane_of(d->ring), d->cpu, d->seq);
}

void losses_undecoded(struct losses *l, const char *why, uint64_t now_ns)
{
	decode_failed(&l->undecoded, why, now_ns);
}

void losses_swept(struct losses *l, uint64_t n)
{
	l->swept += n;
}

void losses_filtered(struct losses *l, uint32_t class)
{
	l->filtered[class < ARRAY_LEN(l->filtered) ? class : 0]++;
}

/* The rings were read empty after the kernel had given the numbers of the last check: what has not come
 * by now is lost. Then note the numbers for the next time. */
static void settle(struct losses *l, bool drained, uint64_t now_ns)
{
	for (uint32_t ring = 0; ring < REC_RINGS; ring++) {
		for (uint32_t cpu = 0; drained && cpu < l->n_cpu; cpu++) {
			struct loss_hole hole;

			if (loss_settle(l->loss[ring], cpu, l->numbers[ring][cpu], now_ns, &hole))
				l->holes += hole.count;
		}
		struct error e = { 0 };

		/* Of what fails here check_kernel's reading fails too, and is said. */
		if (drained)
			(void)!counters_numbers(l->hooks, ring, l->numbers[ring], l->n_cpu, &e);
	}
}

static void say_counts(struct losses *l, const uint64_t counts[static 16], uint32_t where,
		       uint64_t from_ns, uint64_t to_ns, const char *reason, uint64_t now_ns)
{
	for (uint32_t class = 0; class < 16; class ++) {
		struct event_gap gap = { .where = where,
					 .class = class,
					 .has_count = true,
					 .count = counts[class],
					 .from_ns = from_ns,
					 .to_ns = to_ns,
					 .reason = reason };

		if (counts[class] > 0)
			lanes_gap(l->lanes, &gap, now_ns);
	}
}

/* false: nothing was lost in the kernel. */
static bool check_kernel(struct losses *l, uint64_t now_ns)
{
	struct loss_share shares[LOSS_SHARES_MAX];
	struct counters after;
	struct error e = { 0 };

	if (counters_read(l->hooks, &after, &e) < 0) {
		if (!l->blind)
			log_failure(LOG_LEVEL_ERROR, "losses are not seen until this works", &e);
		l->blind = true;
		return false;
	}
	l->blind = false;
	counters_add_swept(&after, l->swept);
	size_t n = loss_shares(&l->before, &after, shares);

	for (size_t i = 0; i < n; i++) {
		struct event_gap gap = { .where = shares[i].where,
					 .class = shares[i].class < REC_CLASSES ?
							  class_of_rec[shares[i].class] :
							  0,
					 .has_count = true,
					 .count = shares[i].count,
					 .from_ns = l->checked_ns,
					 .to_ns = now_ns };

		lanes_gap(l->lanes, &gap, now_ns);
	}
	/* Since the start: a hole may become certain long after the kernel counted it. */
	uint64_t stolen_ever = loss_unexplained(&(struct counters){ 0 }, &after, l->holes);
	uint64_t stolen = stolen_ever > l->stolen ? stolen_ever - l->stolen : 0;

	if (stolen > 0) {
		struct event_gap gap = {
			.where = GAP_RING,
			.has_count = true,
			.count = stolen,
			.from_ns = l->checked_ns,
			.to_ns = now_ns,
			.reason = "records were sent and are not in the ring: somebody took them"
		};

		log_error("ALARM records vanished from a kernel ring", KV_U64("records", stolen));
		lanes_gap(l->lanes, &gap, now_ns);
	}
	l->stolen += stolen;
	l->before = after;
	return n > 0 || stolen > 0;
}

/* From when on they were cannot be told: nobody can read them. */
static void say_unread(struct losses *l, const struct sealer_losses *s, uint64_t now_ns)
{
	char reason[160];
	struct event_gap gap = { .where = GAP_JOURNAL, .to_ns = now_ns, .reason = reason };

	(void)snprintf(reason, sizeof(reason),
		       "%" PRIu64
		       " sealed batches in the journal cannot be read back, the last at position "
		       "%" PRIu64 " of the %s lane",
		       s->unread, s->unread_position,
		       s->unread_lane == BATCH_LANE_CRITICAL ? "critical" : "bulk");
	lanes_gap(l->lanes, &gap, now_ns);
}

/* What was lost in this process. */
static bool check_ourselves(struct losses *l, uint64_t now_ns)
{
	static const char journal_full[] = "the journal could not take them";
	struct sealer_losses journal;
	uint64_t unsaid[16] = { 0 };
	struct event ev;
	bool any = false;

	if (sealer_take_losses(l->sealer, &journal)) {
		say_counts(l, journal.counts, GAP_JOURNAL, journal.from_ns, journal.to_ns,
			   journal_full, now_ns);
		if (journal.unknown) {
			struct event_gap gap = { .where = GAP_JOURNAL,
						 .from_ns = journal.from_ns,
						 .to_ns = journal.to_ns,
						 .reason = journal_full };

			lanes_gap(l->lanes, &gap, now_ns);
		}
		if (journal.unread > 0)
			say_unread(l, &journal, now_ns);
		any = true;
	}
	if (decode_gap(&l->undecoded, &ev)) {
		lanes_event(l->lanes, &ev, NULL, now_ns);
		any = true;
	}
	if (lanes_take_unsaid(l->lanes, unsaid)) {
		say_counts(l, unsaid, GAP_QUEUE, l->checked_ns, now_ns, "out of memory", now_ns);
		any = true;
	}
	return any;
}

bool losses_check(struct losses *l, bool drained, uint64_t now_ns)
{
	settle(l, drained, now_ns);
	bool kernel = check_kernel(l, now_ns);
	bool ours = check_ourselves(l, now_ns);

	l->checked_ns = now_ns;
	return kernel || ours;
}

void losses_counters(const struct losses *l, const struct coverage *c, struct encode_counters *ret)
{
	bool said[16] = { false };

	memset(ret, 0, c->n * sizeof(*ret));
	for (size_t i = 0; i < c->n; i++) {
		uint32_t class = c->row[i].class;

		if (class >= ARRAY_LEN(said) || said[class])
			continue; /* a class has one row of counters, its first */
		said[class] = true;
		for (size_t rec = 0; rec < REC_CLASSES; rec++) {
			const struct rec_counters *k = &l->before.class[rec];

			if (class_of_rec[rec] != class)
				continue;
			ret[i].known = true;
			ret[i].seen += k->seen + l->before.missed[rec];
			ret[i].filtered += k->filtered;
			ret[i].aggregated += k->aggregated;
			ret[i].sent += k->sent;
			ret[i].lost += k->lost_ring + k->lost_scratch + l->before.missed[rec];
		}
		/* What user space left out had been sent by the kernel. */
		ret[i].filtered += l->filtered[class];
		ret[i].sent -= l->filtered[class] < ret[i].sent ? l->filtered[class] : ret[i].sent;
	}
}
