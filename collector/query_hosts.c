/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts, Coverage, Status: one row per host, then the completeness: whether each of the hosts is known up to
 * now (or the end of the time asked for), and what is missing of them in that time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/filter.h"
#include "collector/query_scope.h"
#include "collector/refs.h"

/* The three replies are alike: a oneof of a row and a completeness. A row of packed bytes goes out as field
 * number of a reply; all reply messages have length-delimited fields only. */
static int send_field(const struct query *q, unsigned int field, const ProtobufCMessage *m)
{
	size_t len = protobuf_c_message_get_packed_size(m), head = 0;
	uint8_t *data = malloc(len + 16);

	if (!data)
		return -ENOMEM;
	data[head++] = (uint8_t)(field << 3 | 2);
	for (size_t n = len;; n >>= 7) {
		data[head++] = (uint8_t)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
		if (n <= 0x7f)
			break;
	}
	(void)protobuf_c_message_pack(m, data + head);
	return q->sink.send(q->sink.ctx, data, head + len);
}

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}

/* Rows are as of now; how far they can be relied on is told for a time, the last day when none is asked for:
 * over everything that is stored a loss of long ago would make each listing incomplete for ever. */
#define PERIOD_NS (24 * 3600 * (int64_t)NSEC_PER_SEC)

struct period {
	int64_t since_ns, until_ns; /* until exclusive; INT64_MAX: open */
};

static int period_of(const struct query_scope *s, int64_t since_ns, int64_t until_ns,
		     struct period *ret, struct error *e)
{
	int64_t end = until_ns && until_ns < s->now_ns ? until_ns : s->now_ns;

	ret->until_ns = until_ns ? until_ns : INT64_MAX;
	ret->since_ns = since_ns ? since_ns : end - PERIOD_NS;
	if (ret->since_ns >= ret->until_ns)
		return error_set(e, -EINVAL, "the time asked for ends before it begins");
	return 0;
}

static int send_completeness(struct query_scope *s, const struct period *period, unsigned int field,
			     uint64_t rows, struct error *e)
{
	AUTO(answer_missing_release) struct answer_missing storage = { 0 };
	Exhibit__V1__Completeness message;
	struct completeness c;
	int r = scope_complete(s, period->since_ns, period->until_ns, UINT32_MAX, &c, e);

	if (r < 0)
		return r;
	r = answer_completeness(&c, &s->missing, &storage, &message);
	if (r < 0)
		return r;
	message.rows = rows;
	return send_field(s->query, field, &message.base);
}

static bool same_name(const struct batch_name *a, const struct batch_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

static void add_stream(Exhibit__V1__HostRow *row, const struct store_stream *s, int64_t *newest_ns)
{
	int64_t *until = s->lane == BATCH_LANE_CRITICAL ? &row->critical_until_ns :
							  &row->bulk_until_ns;

	row->events += s->events;
	row->gaps += s->gaps;
	row->lost += s->dropped_events;
	row->conflicts += s->conflicts;
	if (s->received_ns >= *newest_ns) {
		*newest_ns = s->received_ns;
		row->boot_id = borrowed(s->boot_id, sizeof(s->boot_id));
	}
	if (s->watermark_wall_ns > *until)
		*until = s->watermark_wall_ns;
}

/* A lane that nothing came of is as far behind as can be: no number says it. */
static void set_lag(Exhibit__V1__HostRow *row, int64_t now_ns)
{
	int64_t until = row->critical_until_ns < row->bulk_until_ns ? row->critical_until_ns :
								      row->bulk_until_ns;

	if (!until)
		return;
	row->has_lag_case = EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS;
	row->lag_ns = until < now_ns ? (uint64_t)(now_ns - until) : 0;
}

/* What gaps count; tombstones are counted in the streams. */
static int count_gap(void *ctx, const struct scan_row *row)
{
	const Exhibit__V1__Event *e = row->subject.event;
	uint64_t *lost = ctx;

	if (e->detail_case == EXHIBIT__V1__EVENT__DETAIL_GAP &&
	    __builtin_add_overflow(*lost, e->gap->count, lost))
		*lost = UINT64_MAX;
	return 0;
}

static int compile_action(const char *action, struct filter **ret, struct error *e)
{
	Exhibit__V1__FilterTerm term = EXHIBIT__V1__FILTER_TERM__INIT, *terms[] = { &term };

	term.field = borrowed("event.action", strlen("event.action"));
	term.value = borrowed(action, strlen(action));
	return filter_compile(terms, 1, ret, e);
}

/* The batches of one host that have the filter's action; at most max, the newest last. */
static int find_of_host(struct query_scope *s, const struct filter *f,
			const struct batch_name *host, size_t max, struct store_ref **ret_refs,
			size_t *ret_n, struct error *e)
{
	struct store_question q = scope_question(s, INT64_MIN, INT64_MAX);

	q.hosts = host;
	q.n_hosts = 1;
	q.groups = filter_groups(f, &q.n_groups);
	q.max = max;
	return store_find(s->reading.store, &q, ret_refs, ret_n, e);
}

/* The number of gaps is exact all the same. */
static int say_too_many(struct query_scope *s, const struct batch_name *host)
{
	struct missing *m = missing_add(&s->missing, host, NULL);

	if (m)
		(void)snprintf(
			m->reason, sizeof(m->reason),
			"more than %d batches tell of gaps: what they lost is not in the sum of lost events",
			REFS_MAX);
	return 0;
}

static int count_lost(struct query_scope *s, const struct filter *gaps,
		      const struct batch_name *host, uint64_t *lost, struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	size_t n = 0;
	int r = find_of_host(s, gaps, host, REFS_MAX, &refs, &n, e);

	if (r == -E2BIG)
		return say_too_many(s, host);
	s->reading.filter = gaps;
	for (size_t i = 0; r == 0 && i < n; i++)
		if (refs[i].kind == STORE_BATCH)
			r = reading_batch(&s->reading, &refs[i], false, count_gap, lost, e);
	s->reading.filter = NULL;
	return r;
}

static int send_host(struct query_scope *s, const struct host_info *h,
		     const struct store_stream *streams, size_t n_streams,
		     const struct filter *gaps, unsigned int field, struct error *e)
{
	Exhibit__V1__HostRow row = EXHIBIT__V1__HOST_ROW__INIT;
	int64_t newest_ns = INT64_MIN;

	row.host_id = borrowed(h->host_id.b, h->host_id.len);
	row.host_name = borrowed(h->host_name.b, h->host_name.len);
	row.connected = h->connected;
	row.version = borrowed(h->version, strnlen(h->version, sizeof(h->version)));
	row.kernel = borrowed(h->kernel, strnlen(h->kernel, sizeof(h->kernel)));
	row.first_seen_ns = h->first_seen_ns;
	row.last_seen_ns = h->last_seen_ns;
	for (size_t i = 0; i < n_streams; i++)
		if (same_name(&streams[i].host_id, &h->host_id))
			add_stream(&row, &streams[i], &newest_ns);
	/* A collector that was started again has not heard of everyone yet. */
	if (newest_ns > row.last_seen_ns)
		row.last_seen_ns = newest_ns;
	set_lag(&row, s->now_ns);
	if (row.gaps) {
		int r = count_lost(s, gaps, &h->host_id, &row.lost, e);

		if (r < 0)
			return r;
	}
	return send_field(s->query, field, &row.base);
}

static int send_hosts(struct query_scope *s, unsigned int field, struct error *e)
{
	AUTO(free_ptr) struct store_stream *streams = NULL;
	AUTO(filter_free_ptr) struct filter *gaps = NULL;
	size_t n = 0;
	int r = store_streams(s->reading.store, &s->query->tenant, NULL, &streams, &n, e);

	if (r == 0)
		r = compile_action("gap", &gaps, e);
	for (size_t i = 0; r == 0 && i < s->n_hosts; i++)
		r = send_host(s, &s->hosts[i], streams, n, gaps, field, e);
	return r;
}

int query_hosts(const struct query *q, const Exhibit__V1__HostsRequest *m, struct error *e)
{
	AUTO(scope_release) struct query_scope s = { 0 };
	struct period period = { 0 };
	int r = scope_init(&s, q, m->hosts, m->n_hosts, e);

	if (r == 0)
		r = period_of(&s, m->since_ns, m->until_ns, &period, e);
	if (r == 0)
		r = send_hosts(&s, 1, e);
	return r < 0 ? r : send_completeness(&s, &period, 2, s.n_hosts, e);
}

/* ---- coverage --------------------------------------------------------------------------------------------- */

/* The newest coverage event of a batch, as bytes of its Coverage message. */
struct newest_coverage {
	uint8_t *bytes; /* malloc'ed, a packed HostCoverage without names */
	size_t len;
	int64_t at_ns;
};

static int keep_coverage(void *ctx, const struct scan_row *row)
{
	struct newest_coverage *n = ctx;
	Exhibit__V1__HostCoverage m = EXHIBIT__V1__HOST_COVERAGE__INIT;
	const Exhibit__V1__Event *e = row->subject.event;

	if (e->detail_case != EXHIBIT__V1__EVENT__DETAIL_COVERAGE ||
	    (n->bytes && row->time_ns < n->at_ns))
		return 0;
	m.host_id = row->subject.context->host_id;
	m.host_name = row->subject.context->host_name;
	m.at_ns = row->time_ns;
	m.coverage = e->coverage;
	free(n->bytes);
	n->len = exhibit__v1__host_coverage__get_packed_size(&m);
	n->bytes = malloc(n->len + 1);
	if (!n->bytes)
		return -ENOMEM;
	(void)exhibit__v1__host_coverage__pack(&m, n->bytes);
	n->at_ns = row->time_ns;
	return 0;
}

static int newest_of_host(struct query_scope *s, const struct filter *f,
			  const struct batch_name *host, struct newest_coverage *found,
			  struct error *e)
{
	AUTO(free_ptr) struct store_ref *refs = NULL;
	size_t n = 0;
	int r = find_of_host(s, f, host, REFS_MAX, &refs, &n, e);

	s->reading.filter = f;
	/* From the newest back; the index may name batches that have none. */
	for (size_t i = n; r == 0 && i-- > 0 && !found->bytes;)
		if (refs[i].kind == STORE_BATCH)
			r = reading_batch(&s->reading, &refs[i], false, keep_coverage, found, e);
	s->reading.filter = NULL;
	return r;
}

/* A host that never sent anything is named for that. */
static void say_untold(struct query_scope *s, const struct host_info *h)
{
	struct missing *m = h->last_seen_ns ? missing_add(&s->missing, &h->host_id, &h->host_name) :
					      NULL;

	if (m)
		(void)snprintf(m->reason, sizeof(m->reason),
			       "no coverage of the host is stored: what it can see is not known");
}

static int send_coverage(struct query_scope *s, const struct filter *f, const struct host_info *h,
			 struct error *e)
{
	struct newest_coverage found = { 0 };
	int r = newest_of_host(s, f, &h->host_id, &found, e);

	if (r == 0 && found.bytes) {
		Exhibit__V1__HostCoverage *m =
			exhibit__v1__host_coverage__unpack(NULL, found.len, found.bytes);

		r = m ? send_field(s->query, 1, &m->base) : -ENOMEM;
		exhibit__v1__host_coverage__free_unpacked(m, NULL);
	} else if (r == 0) {
		Exhibit__V1__HostCoverage none = EXHIBIT__V1__HOST_COVERAGE__INIT;

		none.host_id = borrowed(h->host_id.b, h->host_id.len);
		none.host_name = borrowed(h->host_name.b, h->host_name.len);
		say_untold(s, h);
		r = send_field(s->query, 1, &none.base);
	}
	free(found.bytes);
	return r;
}

int query_coverage(const struct query *q, const Exhibit__V1__CoverageRequest *m, struct error *e)
{
	AUTO(scope_release) struct query_scope s = { 0 };
	AUTO(filter_free_ptr) struct filter *f = NULL;
	struct period period = { 0 };
	int r = scope_init(&s, q, m->hosts, m->n_hosts, e);

	if (r == 0)
		r = period_of(&s, m->since_ns, m->until_ns, &period, e);
	if (r == 0)
		r = compile_action("coverage", &f, e);
	for (size_t i = 0; r == 0 && i < s.n_hosts; i++)
		r = send_coverage(&s, f, &s.hosts[i], e);
	return r < 0 ? r : send_completeness(&s, &period, 2, s.n_hosts, e);
}

/* ---- status ------------------------------------------------------------------------------------------------ */

int query_status(const struct query *q, const Exhibit__V1__StatusRequest *m, struct error *e)
{
	AUTO(scope_release) struct query_scope s = { 0 };
	Exhibit__V1__StoreStatus status = EXHIBIT__V1__STORE_STATUS__INIT;
	struct store_totals totals;
	struct period period = { 0 };
	int r = scope_init(&s, q, m->hosts, m->n_hosts, e);

	if (r == 0)
		r = period_of(&s, m->since_ns, m->until_ns, &period, e);
	if (r < 0)
		return r;
	store_totals(q->env->store, &totals);
	status.segments = totals.segments;
	status.segment_bytes = totals.segment_bytes;
	status.index_bytes = totals.index_bytes;
	status.batches = totals.batches;
	status.events = totals.events;
	status.oldest_ns = totals.oldest_ns;
	status.newest_ns = totals.newest_ns;
	status.free_bytes = totals.free_bytes;
	status.cut_files = totals.cut_files;
	status.cut_bytes = totals.cut_bytes;
	status.damaged = totals.damaged;
	if (q->env->status)
		q->env->status(q->env->status_ctx, &status);
	r = send_field(q, 1, &status.base);
	if (q->env->status_release)
		q->env->status_release(&status);
	if (r == 0)
		r = send_hosts(&s, 2, e);
	return r < 0 ? r : send_completeness(&s, &period, 3, s.n_hosts, e);
}
