/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit coverage: one row per host and class. */
#include <inttypes.h>
#include <string.h>

#include "collector/cli/fleet_view.h"
#include "collector/cli/replies.h"
#include "proto/actions.h"
#include "proto/base/clock.h"

struct coverage {
	const struct args *args;
	struct screen screen;
	struct table *table;
};

static const char *const headers[] = { "HOST",     "CLASS",      "STATE", "TIER", "HOOK",   "SEEN",
				       "FILTERED", "AGGREGATED", "SENT",  "LOST", "REASON", NULL };

static const struct {
	const char *name;
	enum color color;
} states[] = {
	[EXHIBIT__V1__COVERAGE_STATE__COVERAGE_UNKNOWN] = { "unknown", COLOR_RED },
	[EXHIBIT__V1__COVERAGE_STATE__COVERAGE_ATTACHED] = { "attached", COLOR_GREEN },
	[EXHIBIT__V1__COVERAGE_STATE__COVERAGE_FAILED] = { "failed", COLOR_RED },
	[EXHIBIT__V1__COVERAGE_STATE__COVERAGE_PARTIAL] = { "partial", COLOR_YELLOW },
};

static size_t state_of(const Exhibit__V1__CoverageRow *row)
{
	return (size_t)row->state < ARRAY_LEN(states) ? (size_t)row->state : 0;
}

static void add_row(struct table *t, const Exhibit__V1__HostCoverage *h,
		    const Exhibit__V1__CoverageRow *row)
{
	const ProtobufCBinaryData *name = h->host_name.len ? &h->host_name : &h->host_id;

	table_add_bytes(t, COLOR_BOLD, name->data, name->len);
	table_add(t, COLOR_NONE, "%s", class_name((uint32_t)row->class_));
	table_add(t, states[state_of(row)].color, "%s", states[state_of(row)].name);
	table_add(t, COLOR_NONE, "T%u", row->tier);
	table_add_bytes(t, COLOR_NONE, row->hook.data, row->hook.len);
	if (row->counters) {
		table_add(t, COLOR_NONE, "%" PRIu64, row->counters->seen);
		table_add(t, COLOR_NONE, "%" PRIu64, row->counters->filtered);
		table_add(t, COLOR_NONE, "%" PRIu64, row->counters->aggregated);
		table_add(t, COLOR_NONE, "%" PRIu64, row->counters->sent);
		table_add(t, row->counters->lost ? COLOR_RED : COLOR_NONE, "%" PRIu64,
			  row->counters->lost);
	} else {
		for (int i = 0; i < 5; i++)
			table_add(t, COLOR_NONE, "-");
	}
	table_add_bytes(t, COLOR_NONE, row->reason.data, row->reason.len);
}

static void write_json(const struct screen *s, const Exhibit__V1__HostCoverage *h,
		       const Exhibit__V1__CoverageRow *row)
{
	struct json j = json_init(s->out);

	json_open(&j, NULL, 0, '{');
	if (h->at_ns)
		json_time(&j, "@timestamp", h->at_ns);
	json_open(&j, "host", 4, '{');
	replies_host_json(&j, &h->host_id, &h->host_name);
	json_close(&j, '}');
	json_open(&j, "exhibit", 7, '{');
	json_text(&j, "class", class_name((uint32_t)row->class_));
	json_u64(&j, "tier", row->tier);
	json_bytes(&j, "hook", row->hook.data, row->hook.len);
	json_open(&j, "coverage", 8, '{');
	json_text(&j, "state", states[state_of(row)].name);
	if (row->reason.len)
		json_bytes(&j, "reason", row->reason.data, row->reason.len);
	if (row->counters) {
		json_u64(&j, "seen", row->counters->seen);
		json_u64(&j, "filtered", row->counters->filtered);
		json_u64(&j, "aggregated", row->counters->aggregated);
		json_u64(&j, "sent", row->counters->sent);
		json_u64(&j, "lost", row->counters->lost);
	}
	json_close(&j, '}');
	json_close(&j, '}');
	json_close(&j, '}');
	json_line(&j);
}

/* A host that has told no coverage has a row that says so. */
static void take_host(struct coverage *c, const Exhibit__V1__HostCoverage *h, struct outcome *o)
{
	static uint8_t why[] = "the host has not told its coverage yet";
	Exhibit__V1__CoverageRow none = EXHIBIT__V1__COVERAGE_ROW__INIT, *only = &none;
	Exhibit__V1__CoverageRow **rows = h->coverage ? h->coverage->rows : &only;
	size_t n = h->coverage ? h->coverage->n_rows : 1;

	if (!replies_seen_between(c->args, h->at_ns))
		return;
	none.reason = (ProtobufCBinaryData){ sizeof(why) - 1, why };
	for (size_t i = 0; i < n; i++) {
		if (c->args->limit && o->rows >= c->args->limit) {
			(void)fprintf(stderr, "cut by --limit: more rows match\n");
			return;
		}
		o->rows++;
		if (c->screen.table)
			add_row(c->table, h, rows[i]);
		else
			write_json(&c->screen, h, rows[i]);
	}
}

static const Exhibit__V1__Completeness *take(void *ctx, const void *reply, struct outcome *o)
{
	const Exhibit__V1__CoverageReply *m = reply;

	if (m->kind_case == EXHIBIT__V1__COVERAGE_REPLY__KIND_HOST)
		take_host(ctx, m->host, o);
	return m->kind_case == EXHIBIT__V1__COVERAGE_REPLY__KIND_COMPLETENESS ? m->completeness :
										NULL;
}

int verb_coverage(const struct args *a)
{
	AUTO(table_free_ptr) struct table *table = table_new(headers);
	Exhibit__V1__CoverageRequest m = EXHIBIT__V1__COVERAGE_REQUEST__INIT;
	ProtobufCBinaryData names[ARGS_HOSTS_MAX];
	struct coverage c = { .args = a, .table = table };
	struct replies r = { .args = a,
			     .path = "/exhibit.v1.Query/Coverage",
			     .question = &m,
			     .reply = &exhibit__v1__coverage_reply__descriptor,
			     .take = take,
			     .ctx = &c };
	struct outcome o = { 0 };
	Exhibit__V1__Completeness *last = NULL;
	int code;

	if (a->against)
		return fleet_show(a, true);
	if (!table)
		return EXIT_ERROR;
	memcpy(names, a->hosts, sizeof(names));
	m.hosts = names;
	m.n_hosts = a->n_hosts;
	m.since_ns = a->since_ns;
	m.until_ns = a->until_ns;
	screen_init(&c.screen, a);
	code = replies_run(&r, &o, &last);
	if (code == 0 && c.screen.table && o.rows)
		table_print(table, &c.screen);
	if (code == 0 && last)
		outcome_completeness(&o, last);
	if (last)
		exhibit__v1__completeness__free_unpacked(last, NULL);
	return code ? code : outcome_exit(&o);
}
