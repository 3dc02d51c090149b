/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/completeness.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/actions.h"
#include "proto/base/clock.h"

void missing_release(struct missing_list *l)
{
	free(l->items);
	*l = (struct missing_list){ 0 };
}

struct missing *missing_add(struct missing_list *l, const struct batch_name *host_id,
			    const struct batch_name *host_name)
{
	l->total++;
	if (l->n == l->cap && l->cap < MISSING_MAX) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		struct missing *items;

		cap = cap < MISSING_MAX ? cap : MISSING_MAX;
		items = reallocarray(l->items, cap, sizeof(*items));
		if (!items)
			return NULL;
		l->items = items;
		l->cap = cap;
	}
	if (l->n == l->cap)
		return NULL;
	l->items[l->n] = (struct missing){ 0 };
	if (host_id)
		l->items[l->n].host_id = *host_id;
	if (host_name)
		l->items[l->n].host_name = *host_name;
	return &l->items[l->n++];
}

const char *missing_time(int64_t wall_ns, char *buf)
{
	(void)clock_format(wall_ns, buf);
	memcpy(buf + strlen("2026-11-24T14:00:00.123"), "Z", 2);
	return buf;
}

static bool same_name(const struct batch_name *a, const struct batch_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

/* Of the lane: the stream that is being written now, by receipt. NULL: none. */
static const struct store_stream *current_stream(const struct completeness_question *q,
						 unsigned int lane)
{
	const struct store_stream *newest = NULL;

	for (size_t i = 0; i < q->n_streams; i++) {
		const struct store_stream *s = &q->streams[i];

		if (s->lane != lane)
			continue;
		if (!newest || s->received_ns > newest->received_ns ||
		    (s->received_ns == newest->received_ns &&
		     s->watermark_wall_ns > newest->watermark_wall_ns))
			newest = s;
	}
	return newest;
}

/* The stream's own faults, where they can touch the time asked for. current: it goes on, so anything after
 * its watermark is still to come rather than lost. */
static void check_stream(const struct completeness_question *q, const struct host_info *host,
			 const struct store_stream *s, const struct store_stream *current,
			 struct missing_list *l)
{
	bool ended_before = s != current && current && current->first_wall_ns <= q->since_ns;
	bool began_after = s->first_wall_ns >= q->until_ns;
	struct missing *m;

	if (began_after || ended_before)
		return;
	if (s->contiguous < s->newest && s->watermark_wall_ns < q->until_ns) {
		m = missing_add(l, &host->host_id, &host->host_name);
		if (m) {
			m->from_ns = s->watermark_wall_ns;
			(void)snprintf(m->reason, sizeof(m->reason),
				       "batch %" PRIu64 " and perhaps others up to %" PRIu64
				       " of the %s lane have not arrived",
				       s->contiguous + 1, s->newest - 1, lane_name(s->lane));
		}
	}
	if (s->conflicts) {
		m = missing_add(l, &host->host_id, &host->host_name);
		if (m) {
			m->has_count = true;
			m->count = s->conflicts;
			(void)snprintf(
				m->reason, sizeof(m->reason),
				"%" PRIu64
				" batches of the %s lane came with a number that was taken and another "
				"content; both are kept: a journal was restored or a key copied",
				s->conflicts, lane_name(s->lane));
		}
	}
	if (s->chain_breaks) {
		m = missing_add(l, &host->host_id, &host->host_name);
		if (m) {
			m->has_count = true;
			m->count = s->chain_breaks;
			(void)snprintf(m->reason, sizeof(m->reason),
				       "the chain of the %s lane's batches is broken in %" PRIu64
				       " places",
				       lane_name(s->lane), s->chain_breaks);
		}
	}
}

static void say_behind(const struct completeness_question *q, const struct host_info *host,
		       unsigned int lane, int64_t reached_ns, struct missing_list *l)
{
	struct missing *m = missing_add(l, &host->host_id, &host->host_name);
	char at[CLOCK_TEXT_MAX];

	if (!m)
		return;
	m->from_ns = reached_ns;
	m->to_ns = q->until_ns < q->now_ns ? q->until_ns : q->now_ns;
	(void)snprintf(m->reason, sizeof(m->reason), "%s: its %s lane is known only up to %s%s",
		       host->connected ? "the host is behind" : "the host is not connected",
		       lane_name(lane), missing_time(reached_ns, at),
		       reached_ns <= q->since_ns ? "; nothing of the time asked for is known yet" :
						   "");
}

static void say_never(const struct host_info *host, struct missing_list *l)
{
	struct missing *m = missing_add(l, &host->host_id, &host->host_name);

	if (m)
		(void)snprintf(m->reason, sizeof(m->reason),
			       "the host is enrolled and has never sent anything");
}

/* Where the host's record begins: what it journaled before the collector knew it counts, too. In its first second
 * a lane is known up to a moment before its first event: it was watched then already. INT64_MAX: it has none. */
static int64_t record_begins(const struct completeness_question *q)
{
	int64_t begins = INT64_MAX;

	for (size_t i = 0; i < q->n_streams; i++) {
		const struct store_stream *s = &q->streams[i];

		if (s->first_wall_ns < begins)
			begins = s->first_wall_ns;
		if (s->watermark_wall_ns > 0 && s->watermark_wall_ns < begins)
			begins = s->watermark_wall_ns;
	}
	return begins;
}

/* Enrolled only after the time asked for, so that nothing can be missed of it, nor anything be told. */
static bool enrolled_later(const struct completeness_question *q, const struct host_info *host,
			   int64_t begins_ns)
{
	return host->first_seen_ns && host->first_seen_ns >= q->until_ns &&
	       begins_ns >= q->until_ns;
}

/* Returns how far the host's lane is complete. */
static int64_t check_lane(const struct completeness_question *q, const struct host_info *host,
			  unsigned int lane, struct missing_list *l)
{
	const struct store_stream *current = current_stream(q, lane);
	int64_t end = q->until_ns < q->now_ns ? q->until_ns : q->now_ns, reached;
	bool live;

	for (size_t i = 0; i < q->n_streams; i++)
		if (q->streams[i].lane == lane)
			check_stream(q, host, &q->streams[i], current, l);
	reached = current ? current->watermark_wall_ns : 0;
	live = host->connected && end == q->now_ns && reached > q->since_ns &&
	       reached + COMPLETENESS_LAG_NS >= q->now_ns;
	if (!current || (reached < end && !live))
		say_behind(q, host, lane, reached, l);
	return reached < end ? reached : end;
}

/* ---- between two boots, or two journals of one ------------------------------------------------------------ */

static bool same_run(const struct store_stream *a, const struct store_stream *b)
{
	return memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id)) == 0 &&
	       memcmp(a->epoch, b->epoch, sizeof(a->epoch)) == 0;
}

/* Whether the stream's boot and epoch began with another lane. */
static bool run_began(const struct completeness_question *q, size_t at)
{
	for (size_t i = at; i-- > 0;)
		if (same_run(&q->streams[i], &q->streams[at]))
			return true;
	return false;
}

static void say_between(const struct host_info *host, const struct store_stream *before,
			const struct store_stream *after, int64_t from_ns, struct missing_list *l)
{
	struct missing *m = missing_add(l, &host->host_id, &host->host_name);
	char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX];
	bool reboot = memcmp(before->boot_id, after->boot_id, sizeof(before->boot_id)) != 0;

	if (!m)
		return;
	m->from_ns = from_ns;
	m->to_ns = after->first_wall_ns;
	(void)snprintf(m->reason, sizeof(m->reason), "nothing is known from %s to %s, between %s",
		       missing_time(m->from_ns, from), missing_time(m->to_ns, to),
		       reboot ? "two boots" : "two journals of one boot");
}

/* Each boot, and each journal within one, begins its own streams: what nobody watched until then. The agent
 * tells of a restart within one journal itself. Where clocks were set back spans overlap and nothing is
 * uncovered that could be told. */
static void check_between(const struct completeness_question *q, const struct host_info *host,
			  struct missing_list *l)
{
	int64_t reached[BATCH_LANES + 1] = { 0 };
	const struct store_stream *last[BATCH_LANES + 1] = { NULL };

	for (size_t i = 0; i < q->n_streams; i++) {
		const struct store_stream *s = &q->streams[i], *before = NULL;
		int64_t from_ns = INT64_MAX;

		if (s->lane < 1 || s->lane > BATCH_LANES)
			continue;
		for (unsigned int lane = 1; lane <= BATCH_LANES; lane++)
			if (last[lane] && q->lanes & 1u << lane && reached[lane] < from_ns) {
				from_ns = reached[lane];
				before = last[lane];
			}
		if (before && from_ns < s->first_wall_ns && from_ns < q->until_ns &&
		    s->first_wall_ns > q->since_ns && !run_began(q, i))
			say_between(host, before, s, from_ns, l);
		last[s->lane] = s;
		if (s->watermark_wall_ns > reached[s->lane])
			reached[s->lane] = s->watermark_wall_ns;
	}
}

/* The run of streams of one host (store_streams keeps them together). hint: where the run before ended, so
 * that hosts in the same order are found at once. Returns its length. */
static size_t streams_of(const struct completeness_question *q, const struct host_info *host,
			 size_t *hint)
{
	size_t n = 0, first = *hint;

	for (size_t tried = 0; tried < q->n_streams; tried++, first++) {
		if (first >= q->n_streams)
			first = 0;
		if (same_name(&q->streams[first].host_id, &host->host_id))
			break;
	}
	while (first + n < q->n_streams &&
	       same_name(&q->streams[first + n].host_id, &host->host_id))
		n++;
	*hint = first + n;
	return n;
}

static int64_t check_host(const struct completeness_question *q, const struct host_info *host,
			  struct missing_list *l)
{
	int64_t least = INT64_MAX;

	check_between(q, host, l);
	for (unsigned int lane = BATCH_LANE_CRITICAL; lane <= BATCH_LANES; lane++) {
		int64_t reached;

		if (!(q->lanes & 1u << lane))
			continue;
		reached = check_lane(q, host, lane, l);
		least = reached < least ? reached : least;
	}
	return least;
}

static void check_removed(const struct completeness_question *q, struct missing_list *l)
{
	const struct store_removed *r = q->removed;
	char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX];
	struct missing *m;

	if (!r || !r->segments || r->first_wall_ns >= q->until_ns ||
	    r->last_wall_ns < q->since_ns || r->last_wall_ns < q->shown_since_ns)
		return;
	m = missing_add(l, NULL, NULL);
	if (!m)
		return;
	m->has_count = true;
	m->count = r->events;
	m->from_ns = r->first_wall_ns;
	m->to_ns = r->last_wall_ns;
	(void)snprintf(m->reason, sizeof(m->reason),
		       "removed by retention (%s), %" PRIu64 " events between %s and %s", r->reason,
		       r->events, missing_time(r->first_wall_ns, from),
		       missing_time(r->last_wall_ns, to));
}

/* Noted while the earliest beginning is not known yet: at worst one is kept that turns out to be it. */
static void note_begin(const struct completeness_question *q, const struct host_info *host,
		       int64_t begins_ns, struct completeness *ret)
{
	if (begins_ns == INT64_MAX || begins_ns <= q->since_ns)
		return;
	ret->later_total++;
	if (ret->n_later < LATER_MAX)
		ret->later[ret->n_later++] =
			(struct record_begin){ host->host_id, host->host_name, begins_ns };
}

/* Those that begin where the answer does are not later than it. */
static void drop_earliest(struct completeness *ret)
{
	size_t kept = 0;

	for (size_t i = 0; i < ret->n_later; i++)
		if (ret->later[i].since_ns > ret->since_ns)
			ret->later[kept++] = ret->later[i];
	ret->later_total -= ret->n_later - kept;
	ret->n_later = kept;
}

/* Of the time before any record no answer is complete; "from the beginning" says so by itself. A record that
 * begins only after what was asked for leaves none of it, which is a time of no length and none that runs
 * backwards. */
static void begin_with(struct completeness *ret, int64_t earliest_ns)
{
	if (earliest_ns > ret->until_ns)
		earliest_ns = ret->until_ns;
	if (earliest_ns > ret->since_ns)
		ret->since_ns = earliest_ns;
}

void completeness_compute(const struct completeness_question *q, struct completeness *ret,
			  struct missing_list *missing)
{
	int64_t earliest = INT64_MAX;
	size_t hint = 0;

	memset(ret, 0, sizeof(*ret));
	ret->since_ns = q->since_ns;
	ret->until_ns = q->until_ns < q->now_ns ? q->until_ns : q->now_ns;
	check_removed(q, missing);
	for (size_t i = 0; i < q->n_hosts; i++) {
		const struct host_info *host = &q->hosts[i];
		struct completeness_question own = *q;
		int64_t reached = 0, begins;

		own.n_streams = streams_of(q, host, &hint);
		own.streams = q->streams + (hint - own.n_streams);
		begins = record_begins(&own);
		if (enrolled_later(q, host, begins))
			continue;
		if (begins < earliest)
			earliest = begins;
		if (q->since_ns > 0)
			note_begin(q, host, begins, ret);
		ret->hosts++;
		if (own.n_streams)
			reached = check_host(&own, host, missing);
		else
			say_never(host, missing);
		if (reached < ret->until_ns)
			ret->until_ns = reached;
	}
	if (q->since_ns > 0 && earliest != INT64_MAX)
		begin_with(ret, earliest);
	drop_earliest(ret);
}
