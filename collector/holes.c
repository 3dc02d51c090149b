/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/holes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/filter.h"
#include "proto/actions.h"
#include "proto/base/clock.h"

#define CLASSES 16 /* of batch_dropped.counts */
#define TOMBSTONE_WHERE UINT32_MAX /* beside GAP_*: dropped from the journal after sealing */

#define SPANS_MAX 8 /* told one by one of each hole; more are told as one */

/* Gaps that overlap or touch: several CPUs tell of one loss. */
struct gap_span {
	bool unknown; /* one of them does not know how many */
	uint64_t count;
	int64_t from_ns, to_ns;
};

/* Gaps of one host, place and class. */
struct hole {
	struct batch_name host_id, host_name;
	uint32_t where, class;
	struct gap_span sum;
	uint64_t gaps; /* as they were told */
	size_t n_spans; /* above SPANS_MAX: too many to tell */
	struct gap_span spans[SPANS_MAX];
	char reason[96];
};

struct holes {
	const struct holes_question *q;
	struct hole *items;
	size_t n;
	uint64_t more; /* that found no place */
	struct arena *arena; /* of tombstones */
};

static bool same_name(const struct batch_name *a, const struct batch_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

static struct hole *hole_of(struct holes *h, const struct batch_name *host_id, uint32_t where,
			    uint32_t class)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->items[i].where == where && h->items[i].class == class &&
		    same_name(&h->items[i].host_id, host_id))
			return &h->items[i];
	if (h->n == MISSING_MAX)
		return NULL;
	h->items[h->n] = (struct hole){ .host_id = *host_id,
					.where = where,
					.class = class,
					.sum = { .from_ns = INT64_MAX, .to_ns = INT64_MIN } };
	return &h->items[h->n++];
}

static bool relevant(const struct holes *h, uint32_t class, int64_t from_ns, int64_t to_ns)
{
	bool asked = class == CLASS_UNKNOWN || class >= 32 || (h->q->classes & 1u << class);

	return asked && to_ns >= h->q->since_ns && from_ns < h->q->until_ns;
}

static void add_span(struct gap_span *to, const struct gap_span *s)
{
	to->unknown |= s->unknown;
	if (__builtin_add_overflow(to->count, s->count, &to->count))
		to->count = UINT64_MAX;
	to->from_ns = s->from_ns < to->from_ns ? s->from_ns : to->from_ns;
	to->to_ns = s->to_ns > to->to_ns ? s->to_ns : to->to_ns;
}

/* Whatever the new one touches becomes one with it. */
static void place_span(struct hole *hole, struct gap_span s)
{
	size_t kept = 0;

	if (hole->n_spans > SPANS_MAX)
		return;
	for (size_t i = 0; i < hole->n_spans; i++) {
		const struct gap_span *other = &hole->spans[i];

		if (other->from_ns <= s.to_ns && other->to_ns >= s.from_ns)
			add_span(&s, other);
		else
			hole->spans[kept++] = *other;
	}
	if (kept < SPANS_MAX)
		hole->spans[kept] = s;
	hole->n_spans = kept + 1;
}

static struct hole *note(struct holes *h, const struct batch_name *host_id, uint32_t where,
			 uint32_t class, const struct gap_span *s)
{
	struct hole *hole;

	if (!relevant(h, class, s->from_ns, s->to_ns))
		return NULL;
	hole = hole_of(h, host_id, where, class);
	if (!hole) {
		h->more++;
		return NULL;
	}
	hole->gaps++;
	add_span(&hole->sum, s);
	place_span(hole, *s);
	return hole;
}

static void copy_text(char *out, size_t size, const void *data, size_t len)
{
	len = len < size - 1 ? len : size - 1;
	if (len)
		memcpy(out, data, len);
	out[len] = '\0';
}

struct gap_walk {
	struct holes *holes;
	const struct store_ref *ref;
};

static int note_gap(void *ctx, const struct scan_row *row)
{
	struct gap_walk *w = ctx;
	const Exhibit__V1__Event *event = row->subject.event;
	const Exhibit__V1__Gap *gap =
		event->detail_case == EXHIBIT__V1__EVENT__DETAIL_GAP ? event->gap : NULL;
	struct gap_span s = { .from_ns = row->time_ns, .to_ns = row->time_ns };
	struct hole *hole;

	if (!gap)
		return 0;
	if (gap->from_ns)
		s.from_ns = (int64_t)((uint64_t)w->ref->offset_ns + gap->from_ns);
	if (gap->to_ns)
		s.to_ns = (int64_t)((uint64_t)w->ref->offset_ns + gap->to_ns);
	s.unknown = gap->has_count_case != EXHIBIT__V1__GAP__HAS_COUNT_COUNT;
	s.count = s.unknown ? 0 : gap->count;
	hole = note(w->holes, &w->ref->host_id, (uint32_t)gap->where, (uint32_t)gap->class_, &s);
	if (!hole)
		return 0;
	copy_text(hole->reason, sizeof(hole->reason), gap->reason.data, gap->reason.len);
	hole->host_name.len = (uint8_t)row->subject.context->host_name.len;
	if (hole->host_name.len)
		memcpy(hole->host_name.b, row->subject.context->host_name.data,
		       hole->host_name.len);
	return 0;
}

static void note_dropped(struct holes *h, const struct store_ref *ref,
			 const struct batch_tombstone *t, const struct batch_dropped *d)
{
	struct gap_span s = {
		.from_ns = (int64_t)((uint64_t)t->offset_ns + d->first_boottime_ns),
		.to_ns = (int64_t)((uint64_t)t->offset_ns + d->last_boottime_ns),
	};

	for (uint32_t class = 0; class < CLASSES; class ++) {
		struct hole *hole;

		if (!d->counts[class])
			continue;
		s.count = d->counts[class];
		hole = note(h, &ref->host_id, TOMBSTONE_WHERE, class, &s);
		if (!hole)
			continue;
		copy_text(hole->reason, sizeof(hole->reason), t->reason,
			  t->reason ? strlen(t->reason) : 0);
	}
}

static int note_tombstone(struct holes *h, struct reading *r, const struct store_ref *ref,
			  struct error *e)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	struct batch_tombstone t = { 0 };
	struct error why = { 0 };
	struct missing *m;
	size_t len;
	int result;

	arena_reset(h->arena);
	result = store_read(r->store, ref, &bytes, &len, &why);
	if (result == 0)
		result = batch_open_tombstone(bytes, len, NULL, h->arena, &t, &why);
	if (result == -ENOMEM) {
		if (e)
			*e = why;
		return result;
	}
	if (result < 0) {
		m = missing_add(r->missing, &ref->host_id, NULL);
		if (m)
			(void)snprintf(m->reason, sizeof(m->reason),
				       "a tombstone cannot be read: %.200s", why.text);
		return 0;
	}
	for (size_t i = 0; i < t.n_dropped; i++)
		note_dropped(h, ref, &t, &t.dropped[i]);
	return 0;
}

/* How a sentence ends that begins with "12 exec events lost". */
static const struct {
	uint32_t where;
	const char *phrase;
} phrases[] = {
	{ GAP_RING, "in the kernel's ring" },
	{ GAP_SCRATCH, "for want of scratch space in the kernel" },
	{ GAP_FANOTIFY, "in the fanotify queue" },
	{ GAP_DECODE, "as records that the agent cannot read" },
	{ GAP_JOURNAL, "because the agent's journal was full" },
	{ GAP_AGENT_DOWN, "while the agent was not running" },
	{ GAP_QUEUE, "because sealing could not keep up" },
	{ GAP_TABLE, "in a full table of the kernel" },
	{ TOMBSTONE_WHERE, "from the agent's full journal, after sealing" },
};

static const char *phrase_of(uint32_t where)
{
	for (size_t i = 0; i < ARRAY_LEN(phrases); i++)
		if (phrases[i].where == where)
			return phrases[i].phrase;
	return "in a place that this collector does not know";
}

/* "12 exec events lost in the kernel's ring, ... to ... (reason)"; gaps above 1: "..., in 5 gaps between ... and
 * ... (reason of the last)" */
static void tell_span(const struct hole *hole, const struct gap_span *s, uint64_t gaps,
		      struct missing_list *missing)
{
	struct missing *m = missing_add(missing, &hole->host_id, &hole->host_name);
	char from[CLOCK_TEXT_MAX], to[CLOCK_TEXT_MAX], count[32] = "an unknown number of";
	const char *class = hole->class == CLASS_UNKNOWN ? "" : class_name(hole->class);
	bool reason = hole->reason[0] && hole->where != GAP_AGENT_DOWN;
	char many[40] = "";

	if (!m)
		return;
	m->class = hole->class;
	m->has_count = !s->unknown;
	m->count = s->count;
	m->from_ns = s->from_ns;
	m->to_ns = s->to_ns;
	if (!s->unknown)
		(void)snprintf(count, sizeof(count), "%" PRIu64, s->count);
	if (gaps > 1)
		(void)snprintf(many, sizeof(many), "in %" PRIu64 " gaps between ", gaps);
	(void)snprintf(m->reason, sizeof(m->reason), "%s %s%sevent%s lost %s, %s%s %s %s%s%s%s",
		       count, class, *class ? " " : "", !s->unknown && s->count == 1 ? "" : "s",
		       phrase_of(hole->where), many, missing_time(s->from_ns, from),
		       gaps > 1 ? "and" : "to", missing_time(s->to_ns, to), reason ? " (" : "",
		       reason ? hole->reason : "", reason ? ")" : "");
}

static int by_begin(const void *a, const void *b)
{
	const struct gap_span *x = a, *y = b;

	return x->from_ns < y->from_ns ? -1 : x->from_ns > y->from_ns;
}

static void tell(struct hole *hole, struct missing_list *missing)
{
	if (hole->n_spans > SPANS_MAX) {
		tell_span(hole, &hole->sum, hole->gaps, missing);
		return;
	}
	qsort(hole->spans, hole->n_spans, sizeof(hole->spans[0]), by_begin);
	for (size_t i = 0; i < hole->n_spans; i++)
		tell_span(hole, &hole->spans[i], 1, missing);
}

static int compile_gaps(struct filter **ret, struct error *e)
{
	static uint8_t field[] = "event.action", value[] = "gap";
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[] = { &term };

	term.field = (ProtobufCBinaryData){ sizeof(field) - 1, field };
	term.value = (ProtobufCBinaryData){ sizeof(value) - 1, value };
	return filter_compile(terms, 1, ret, e);
}

static int read_all(struct holes *h, struct reading *r, const struct store_ref *refs, size_t n,
		    struct error *e)
{
	for (size_t i = 0; i < n; i++) {
		struct gap_walk walk = { h, &refs[i] };
		int result;

		if (refs[i].kind == STORE_TOMBSTONE)
			result = note_tombstone(h, r, &refs[i], e);
		else
			result = reading_batch(r, &refs[i], true, note_gap, &walk, e);
		if (result < 0)
			return result;
	}
	return 0;
}

/* -E2BIG: more than can be read. */
static int find(struct holes *h, struct reading *r, const struct batch_name *hosts, size_t n_hosts,
		struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	struct store_question q = {
		.tenant = h->q->tenant,
		.hosts = hosts,
		.n_hosts = n_hosts,
		.since_ns = h->q->since_ns,
		/* A gap is told after it has ended, in a batch of its own time. */
		.until_ns = INT64_MAX,
		.max = HOLES_BATCHES_MAX,
	};
	size_t n = 0;
	int result;

	q.groups = filter_groups(r->filter, &q.n_groups);
	result = store_find(r->store, &q, &refs, &n, e);
	return result < 0 ? result : read_all(h, r, refs, n, e);
}

/* Where all together have too many, only the hosts that alone have too many are passed over. */
static int find_each(struct holes *h, struct reading *r, struct error *e)
{
	for (size_t i = 0; i < r->n_hosts; i++) {
		struct missing *m;
		int result = find(h, r, &r->hosts[i], 1, e);

		if (result < 0 && result != -E2BIG)
			return result;
		m = result < 0 ? missing_add(r->missing, &r->hosts[i], NULL) : NULL;
		if (m)
			(void)snprintf(
				m->reason, sizeof(m->reason),
				"more than %d batches tell of gaps; ask for a shorter time to see which",
				HOLES_BATCHES_MAX);
	}
	return 0;
}

static int find_all(struct holes *h, struct reading *r, struct error *e)
{
	int result = find(h, r, h->q->named ? r->hosts : NULL, h->q->named ? r->n_hosts : 0, e);

	return result == -E2BIG ? find_each(h, r, e) : result;
}

static void holes_release(struct holes *h)
{
	free(h->items);
	arena_free(h->arena);
}

int holes_find(struct reading *r, const struct holes_question *q, struct error *e)
{
	AUTO(filter_free_ptr) struct filter *gaps = NULL;
	AUTO(holes_release) struct holes h = { .q = q };
	const struct filter *filter = r->filter;
	int result = compile_gaps(&gaps, e);

	if (result < 0)
		return result;
	h.items = calloc(MISSING_MAX, sizeof(*h.items));
	h.arena = arena_new(MiB(8), 0);
	if (!h.items || !h.arena)
		return error_set(e, -ENOMEM, "cannot look for gaps: out of memory");
	r->filter = gaps;
	result = find_all(&h, r, e);
	r->filter = filter;
	for (size_t i = 0; i < h.n; i++)
		tell(&h.items[i], r->missing);
	r->missing->total += h.more;
	return result;
}
