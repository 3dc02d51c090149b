/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit hosts, exhibit status: one row per host; status says first how the store is. */
#include <inttypes.h>
#include <string.h>

#include "collector/cli/fleet_view.h"
#include "collector/cli/replies.h"
#include "proto/base/clock.h"

struct hosts {
	const struct args *args;
	struct screen screen;
	struct table *table;
};

static const char *const headers[] = { "HOST",           "ID",         "STATE",     "VERSION",
				       "CRITICAL UNTIL", "BULK UNTIL", "LAG",       "EVENTS",
				       "GAPS",           "LOST",       "CONFLICTS", NULL };

#define LAG_LATE_NS (60 * NSEC_PER_SEC) /* from here on it is no longer what sealing takes */

static void add_bytes(struct table *t, enum color color, const ProtobufCBinaryData *b)
{
	table_add_bytes(t, color, b->data, b->len);
}

/* "3 s", "14 min": one number is enough to see who is behind. */
static void add_lag(struct table *t, const Exhibit__V1__HostRow *h)
{
	static const struct {
		uint64_t seconds;
		const char *name;
	} units[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	uint64_t seconds = h->lag_ns / NSEC_PER_SEC;
	size_t i = 0;

	if (h->has_lag_case != EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS) {
		table_add(t, COLOR_NONE, "-");
		return;
	}
	while (i + 1 < ARRAY_LEN(units) && seconds < 2 * units[i].seconds)
		i++;
	table_add(t, h->lag_ns > LAG_LATE_NS ? COLOR_RED : COLOR_NONE, "%" PRIu64 " %s",
		  seconds / units[i].seconds, units[i].name);
}

static void add_row(struct table *t, const Exhibit__V1__HostRow *h)
{
	char critical[CLOCK_TEXT_MAX], bulk[CLOCK_TEXT_MAX];

	add_bytes(t, COLOR_BOLD, h->host_name.len ? &h->host_name : &h->host_id);
	add_bytes(t, COLOR_NONE, &h->host_id);
	table_add(t, h->connected ? COLOR_GREEN : COLOR_RED, "%s",
		  h->connected    ? "connected" :
		  h->last_seen_ns ? "away" :
				    "never seen");
	add_bytes(t, COLOR_NONE, &h->version);
	table_add(t, COLOR_NONE, "%s", outcome_time(h->critical_until_ns, 0, critical));
	table_add(t, COLOR_NONE, "%s", outcome_time(h->bulk_until_ns, 0, bulk));
	add_lag(t, h);
	table_add(t, COLOR_NONE, "%" PRIu64, h->events);
	table_add(t, h->gaps ? COLOR_YELLOW : COLOR_NONE, "%" PRIu64, h->gaps);
	table_add(t, h->lost ? COLOR_RED : COLOR_NONE, "%" PRIu64, h->lost);
	table_add(t, h->conflicts ? COLOR_RED : COLOR_NONE, "%" PRIu64, h->conflicts);
}

static void time_field(struct json *j, const char *key, int64_t at_ns)
{
	if (at_ns)
		json_time(j, key, at_ns);
}

static void write_json(const struct screen *s, const Exhibit__V1__HostRow *h)
{
	struct json j = json_init(s->out);

	json_open(&j, NULL, 0, '{');
	json_open(&j, "host", 4, '{');
	replies_host_json(&j, &h->host_id, &h->host_name);
	if (h->kernel.len) {
		json_open(&j, "os", 2, '{');
		json_bytes(&j, "kernel", h->kernel.data, h->kernel.len);
		json_close(&j, '}');
	}
	json_close(&j, '}');
	if (h->version.len) {
		json_open(&j, "agent", 5, '{');
		json_bytes(&j, "version", h->version.data, h->version.len);
		json_close(&j, '}');
	}
	json_open(&j, "exhibit", 7, '{');
	json_bool(&j, "connected", h->connected);
	time_field(&j, "first_seen", h->first_seen_ns);
	time_field(&j, "last_seen", h->last_seen_ns);
	time_field(&j, "critical_until", h->critical_until_ns);
	time_field(&j, "bulk_until", h->bulk_until_ns);
	if (h->has_lag_case == EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS)
		json_u64(&j, "lag_ns", h->lag_ns);
	json_u64(&j, "events", h->events);
	json_u64(&j, "gaps", h->gaps);
	json_u64(&j, "lost", h->lost);
	json_u64(&j, "conflicts", h->conflicts);
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

static void take_host(struct hosts *c, const Exhibit__V1__HostRow *h, struct outcome *o)
{
	if (!replies_seen_between(c->args, h->last_seen_ns))
		return;
	if (c->args->limit && o->rows >= c->args->limit) {
		if (o->rows++ == c->args->limit)
			(void)fprintf(stderr, "cut by --limit: more hosts match\n");
		return;
	}
	o->rows++;
	if (c->screen.table)
		add_row(c->table, h);
	else
		write_json(&c->screen, h);
}

/* ---- the store ----------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	size_t offset;
	const char *label;
	bool bytes;
} numbers[] = {
#define N(member, label, bytes)                                                                    \
	{                                                                                          \
#member, offsetof(Exhibit__V1__StoreStatus, member), label, bytes                  \
	}
	N(connected, "agents connected", false),
	N(rejected, "messages refused since start", false),
	N(events, "events", false),
	N(batches, "batches", false),
	N(segments, "segments", false),
	N(segment_bytes, "segments' size", true),
	N(index_bytes, "indexes' size", true),
	N(free_bytes, "free on the disk", true),
	N(cut_files, "torn ends kept aside", false),
	N(cut_bytes, "their size", true),
	N(damaged, "damaged places found at start", false),
#undef N
};

static uint64_t number_at(const Exhibit__V1__StoreStatus *s, size_t i)
{
	return *(const uint64_t *)((const char *)s + numbers[i].offset);
}

static void print_bytes(FILE *out, uint64_t n)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)n;
	size_t unit = 0;

	for (; v >= 1024 && unit + 1 < ARRAY_LEN(units); unit++)
		v /= 1024;
	(void)fprintf(out, unit ? "%.1f %s" : "%.0f %s", v, units[unit]);
}

static void label(const struct screen *s, const char *text)
{
	(void)screen_text(s, text, 30, true, COLOR_NONE);
}

static void print_archive(const struct screen *s, const Exhibit__V1__StatusArchive *a)
{
	char when[CLOCK_TEXT_MAX];

	label(s, "archived to S3");
	(void)fprintf(s->out, "%" PRIu64 " leaves at %s, %" PRIu64 " wait\n", a->leaves,
		      outcome_time(a->archived_ns, 0, when), a->leaves_waiting);
	if (a->exhibits_waiting || a->holds_waiting) {
		label(s, "waiting for S3");
		(void)fprintf(s->out, "%" PRIu64 " exhibits, %" PRIu64 " legal holds\n",
			      a->exhibits_waiting, a->holds_waiting);
	}
	if (a->failure.len) {
		label(s, "S3 failed last with");
		(void)screen_cell(s, a->failure.data, a->failure.len, SIZE_MAX, false, COLOR_RED);
		(void)fputc('\n', s->out);
	}
}

static void print_rebuilt(const struct screen *s, const Exhibit__V1__StatusRebuilt *b)
{
	if (b->leaf) {
		label(s, "rebuilt from the archive");
		(void)fprintf(s->out,
			      "checkpoint of %" PRIu64 " leaves, as leaf %" PRIu64 " says\n",
			      b->from_leaves, b->leaf);
	}
	if (b->lost_leaves) {
		label(s, "leaves that hosts know, lost");
		(void)fprintf(s->out, "%" PRIu64 " to %" PRIu64 "\n", b->from_leaves,
			      b->from_leaves + b->lost_leaves - 1);
	}
	if (b->contradictions) {
		label(s, "hosts that it contradicts");
		(void)fprintf(s->out,
			      "%" PRIu64 ": the ledger was set back, or shows two histories\n",
			      b->contradictions);
	}
	for (size_t i = 0; i < b->n_hosts; i++) {
		label(s, i == 0 ? "known by" : "");
		(void)screen_cell(s, b->hosts[i].data, b->hosts[i].len, SIZE_MAX, false,
				  COLOR_YELLOW);
		(void)fputc('\n', s->out);
	}
}

static void print_store(const struct screen *s, const Exhibit__V1__StoreStatus *st)
{
	char oldest[CLOCK_TEXT_MAX], newest[CLOCK_TEXT_MAX], started[CLOCK_TEXT_MAX];

	(void)screen_text(s, "collector", 30, true, COLOR_BOLD);
	(void)screen_cell(s, st->version.data, st->version.len, SIZE_MAX, false, COLOR_NONE);
	(void)fprintf(s->out, ", running since %s\n", outcome_time(st->started_ns, 0, started));
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		(void)screen_text(s, numbers[i].label, 30, true, COLOR_NONE);
		if (numbers[i].bytes)
			print_bytes(s->out, number_at(st, i));
		else
			(void)fprintf(s->out, "%" PRIu64, number_at(st, i));
		(void)fputc('\n', s->out);
	}
	if (st->archive)
		print_archive(s, st->archive);
	if (st->rebuilt)
		print_rebuilt(s, st->rebuilt);
	(void)screen_text(s, "events from, to", 30, true, COLOR_NONE);
	(void)fprintf(s->out, "%s, %s\n\n", outcome_time(st->oldest_ns, 0, oldest),
		      outcome_time(st->newest_ns, 0, newest));
}

static void archive_json(struct json *j, const Exhibit__V1__StatusArchive *a)
{
	json_open(j, "archive", 7, '{');
	json_u64(j, "leaves", a->leaves);
	json_u64(j, "leaves_waiting", a->leaves_waiting);
	if (a->archived_ns)
		time_field(j, "archived", a->archived_ns);
	json_u64(j, "exhibits_waiting", a->exhibits_waiting);
	json_u64(j, "holds_waiting", a->holds_waiting);
	if (a->failure.len)
		json_bytes(j, "failure", a->failure.data, a->failure.len);
	json_close(j, '}');
}

static void rebuilt_json(struct json *j, const Exhibit__V1__StatusRebuilt *b)
{
	json_open(j, "rebuilt", 7, '{');
	if (b->leaf) {
		json_u64(j, "from_leaves", b->from_leaves);
		json_u64(j, "leaf", b->leaf);
	}
	json_u64(j, "lost_leaves", b->lost_leaves);
	json_u64(j, "contradictions", b->contradictions);
	json_open(j, "hosts", 5, '[');
	for (size_t i = 0; i < b->n_hosts; i++) {
		json_open(j, NULL, 0, '{');
		json_bytes(j, "id", b->hosts[i].data, b->hosts[i].len);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

static void store_json(const struct screen *s, const Exhibit__V1__StoreStatus *st)
{
	struct json j = json_init(s->out);

	json_open(&j, NULL, 0, '{');
	json_open(&j, "exhibit", 7, '{');
	json_open(&j, "collector", 9, '{');
	json_bytes(&j, "version", st->version.data, st->version.len);
	time_field(&j, "started", st->started_ns);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		json_u64(&j, numbers[i].name, number_at(st, i));
	time_field(&j, "oldest", st->oldest_ns);
	time_field(&j, "newest", st->newest_ns);
	if (st->archive)
		archive_json(&j, st->archive);
	if (st->rebuilt)
		rebuilt_json(&j, st->rebuilt);
	json_close(&j, '}');
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

static const Exhibit__V1__Completeness *take_hosts_reply(void *ctx, const void *reply,
							 struct outcome *o)
{
	const Exhibit__V1__HostsReply *m = reply;

	if (m->kind_case == EXHIBIT__V1__HOSTS_REPLY__KIND_HOST)
		take_host(ctx, m->host, o);
	return m->kind_case == EXHIBIT__V1__HOSTS_REPLY__KIND_COMPLETENESS ? m->completeness : NULL;
}

static const Exhibit__V1__Completeness *take_status_reply(void *ctx, const void *reply,
							  struct outcome *o)
{
	const Exhibit__V1__StatusReply *m = reply;
	struct hosts *c = ctx;

	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_STORE) {
		if (c->screen.table)
			print_store(&c->screen, m->store);
		else
			store_json(&c->screen, m->store);
	}
	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_HOST)
		take_host(c, m->host, o);
	return m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_COMPLETENESS ? m->completeness :
									      NULL;
}

static int run(struct replies *r, struct hosts *c)
{
	struct outcome o = { 0 };
	Exhibit__V1__Completeness *last = NULL;
	int code;

	r->ctx = c;
	screen_init(&c->screen, c->args);
	c->table = table_new(headers);
	if (!c->table)
		return EXIT_ERROR;
	code = replies_run(r, &o, &last);
	if (code == 0 && c->screen.table && o.rows)
		table_print(c->table, &c->screen);
	if (code == 0 && last)
		outcome_completeness(&o, last);
	if (last)
		exhibit__v1__completeness__free_unpacked(last, NULL);
	table_free(c->table);
	return code ? code : outcome_exit(&o);
}

int verb_hosts(const struct args *a)
{
	Exhibit__V1__HostsRequest m = EXHIBIT__V1__HOSTS_REQUEST__INIT;
	ProtobufCBinaryData names[ARGS_HOSTS_MAX];
	struct hosts c = { .args = a };
	struct replies r = { .args = a,
			     .path = "/exhibit.v1.Query/Hosts",
			     .question = &m,
			     .reply = &exhibit__v1__hosts_reply__descriptor,
			     .take = take_hosts_reply };

	if (a->against)
		return fleet_show(a, false);
	memcpy(names, a->hosts, sizeof(names));
	m.hosts = names;
	m.n_hosts = a->n_hosts;
	m.since_ns = a->since_ns;
	m.until_ns = a->until_ns;
	return run(&r, &c);
}

int verb_status(const struct args *a)
{
	Exhibit__V1__StatusRequest m = EXHIBIT__V1__STATUS_REQUEST__INIT;
	ProtobufCBinaryData names[ARGS_HOSTS_MAX];
	struct hosts c = { .args = a };
	struct replies r = { .args = a,
			     .path = "/exhibit.v1.Query/Status",
			     .question = &m,
			     .reply = &exhibit__v1__status_reply__descriptor,
			     .take = take_status_reply };

	memcpy(names, a->hosts, sizeof(names));
	m.hosts = names;
	m.n_hosts = a->n_hosts;
	m.since_ns = a->since_ns;
	m.until_ns = a->until_ns;
	return run(&r, &c);
}
