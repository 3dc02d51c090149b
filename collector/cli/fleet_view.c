/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/fleet_view.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/fleet.h"
#include "collector/cli/replies.h"
#include "proto/base/clock.h"

#define WHAT_MAX 384

struct view {
	const struct args *args;
	struct fleet fleet;
	struct screen screen;
	struct table *table;
	uint64_t rows;
	int failed; /* the first -errno of what could not be kept */
};

static const char *const host_headers[] = { "HOST",    "ID",  "OWNER",    "STATE",
					    "VERSION", "LAG", "PROBLEMS", NULL };
static const char *const problem_headers[] = { "HOST", "ID", "OWNER", "PROBLEM", "WHAT", NULL };

static void view_release(struct view *v)
{
	fleet_release(&v->fleet);
	table_free(v->table);
}

/* ---- questions ----------------------------------------------------------------------------------------- */

static const Exhibit__V1__Completeness *take_status(void *ctx, const void *reply, struct outcome *o)
{
	const Exhibit__V1__StatusReply *m = reply;
	struct view *v = ctx;
	int r = 0;

	(void)o;
	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_STORE)
		fleet_version(&v->fleet, &m->store->version);
	if (m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_HOST)
		r = fleet_add(&v->fleet, m->host);
	if (r < 0 && !v->failed)
		v->failed = r;
	return m->kind_case == EXHIBIT__V1__STATUS_REPLY__KIND_COMPLETENESS ? m->completeness :
									      NULL;
}

static const Exhibit__V1__Completeness *take_coverage(void *ctx, const void *reply,
						      struct outcome *o)
{
	const Exhibit__V1__CoverageReply *m = reply;
	struct view *v = ctx;
	int r = 0;

	(void)o;
	if (m->kind_case == EXHIBIT__V1__COVERAGE_REPLY__KIND_HOST)
		r = fleet_coverage(&v->fleet, m->host);
	if (r < 0 && !v->failed)
		v->failed = r;
	return NULL;
}

static int ask_coverage(struct view *v)
{
	Exhibit__V1__CoverageRequest m = EXHIBIT__V1__COVERAGE_REQUEST__INIT;
	struct replies r = { .args = v->args,
			     .path = "/exhibit.v1.Query/Coverage",
			     .question = &m,
			     .reply = &exhibit__v1__coverage_reply__descriptor,
			     .take = take_coverage,
			     .ctx = v };
	Exhibit__V1__Completeness *none = NULL;
	struct outcome o = { 0 };

	m.since_ns = v->args->since_ns;
	m.until_ns = v->args->until_ns;
	return replies_run(&r, &o, &none);
}

static int ask_status(struct view *v, Exhibit__V1__Completeness **ret)
{
	Exhibit__V1__StatusRequest m = EXHIBIT__V1__STATUS_REQUEST__INIT;
	struct replies r = { .args = v->args,
			     .path = "/exhibit.v1.Query/Status",
			     .question = &m,
			     .reply = &exhibit__v1__status_reply__descriptor,
			     .take = take_status,
			     .ctx = v };
	struct outcome o = { 0 };

	m.since_ns = v->args->since_ns;
	m.until_ns = v->args->until_ns;
	return replies_run(&r, &o, ret);
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

static uint64_t seconds_behind(const struct fleet_host *h)
{
	return h->row->lag_ns / NSEC_PER_SEC;
}

static void add_host(struct table *t, const struct fleet_host *h)
{
	const ProtobufCBinaryData *name = h->row ? &h->row->host_name : NULL;
	const char *owner = h->listed ? h->listed->owner : "";

	if (name && name->len)
		table_add_bytes(t, COLOR_BOLD, name->data, name->len);
	else if (h->listed)
		table_add_bytes(t, COLOR_BOLD, h->listed->name, strlen(h->listed->name));
	else
		table_add_bytes(t, COLOR_BOLD, h->row->host_id.data, h->row->host_id.len);
	if (h->row)
		table_add_bytes(t, COLOR_NONE, h->row->host_id.data, h->row->host_id.len);
	else
		table_add_bytes(t, COLOR_NONE, h->listed->id, strlen(h->listed->id));
	table_add_bytes(t, COLOR_NONE, owner, strlen(owner));
}

static const char *state_of(const struct fleet_host *h)
{
	return !h->row              ? "no agent" :
	       h->row->connected    ? "connected" :
	       h->row->last_seen_ns ? "away" :
				      "never seen";
}

static enum color color_of(const struct fleet_host *h)
{
	return h->problems & FLEET_SERIOUS ? COLOR_RED : h->problems ? COLOR_YELLOW : COLOR_NONE;
}

static void host_row(struct table *t, const struct fleet_host *h)
{
	char problems[WHAT_MAX] = "";
	size_t at = 0;

	for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
		if (h->problems >> p & 1 && at < sizeof(problems))
			at += (size_t)snprintf(problems + at, sizeof(problems) - at, "%s%s",
					       at ? ", " : "", fleet_problem_name(p));
	add_host(t, h);
	table_add(t, h->row && h->row->connected ? COLOR_GREEN : COLOR_RED, "%s", state_of(h));
	if (h->row)
		table_add_bytes(t, COLOR_NONE, h->row->version.data, h->row->version.len);
	else
		table_add(t, COLOR_NONE, "-");
	if (h->row && h->row->has_lag_case == EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS)
		table_add(t, COLOR_NONE, "%" PRIu64 " s", seconds_behind(h));
	else
		table_add(t, COLOR_NONE, "-");
	table_add(t, color_of(h), "%s", problems);
}

static void say_what(const struct view *v, const struct fleet_host *h, enum fleet_problem p,
		     char what[static WHAT_MAX])
{
	char when[CLOCK_TEXT_MAX];

	what[0] = '\0';
	switch (p) {
	case FLEET_NO_AGENT:
		(void)snprintf(what, WHAT_MAX, "line %zu of the inventory: install the agent",
			       h->listed->line);
		break;
	case FLEET_NEVER_SEEN:
		(void)snprintf(what, WHAT_MAX, "enrolled, but nothing ever came of it");
		break;
	case FLEET_AWAY:
		(void)snprintf(what, WHAT_MAX, "seen last at %s",
			       outcome_time(h->row->last_seen_ns, 0, when));
		break;
	case FLEET_BEHIND:
		(void)snprintf(what, WHAT_MAX, "%" PRIu64 " s", seconds_behind(h));
		break;
	case FLEET_LOST:
		(void)snprintf(what, WHAT_MAX, "%s", h->loss);
		break;
	case FLEET_CONFLICT:
		(void)snprintf(what, WHAT_MAX,
			       "%" PRIu64 " batches came twice with different content",
			       h->row->conflicts);
		break;
	case FLEET_TWICE:
		(void)snprintf(what, WHAT_MAX,
			       "other agents match line %zu too: a clone? give each its id",
			       h->listed->line);
		break;
	case FLEET_OLD:
		(void)snprintf(what, WHAT_MAX, "%.*s; the newest is %s", (int)h->row->version.len,
			       (const char *)h->row->version.data, v->fleet.version);
		break;
	case FLEET_CLASS_MISSING:
	case FLEET_UNLISTED:
	case FLEET_PROBLEMS:
		break;
	}
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void begin_json(struct json *j, const struct fleet_host *h)
{
	json_open(j, NULL, 0, '{');
	json_open(j, "host", 4, '{');
	if (h->row)
		replies_host_json(j, &h->row->host_id, &h->row->host_name);
	else
		json_bytes(j, "name", h->listed->name, strlen(h->listed->name));
	json_close(j, '}');
	if (h->row && h->row->version.len) {
		json_open(j, "agent", 5, '{');
		json_bytes(j, "version", h->row->version.data, h->row->version.len);
		json_close(j, '}');
	}
	json_open(j, "exhibit", 7, '{');
	if (h->listed) {
		json_open(j, "inventory", 9, '{');
		json_bytes(j, "name", h->listed->name, strlen(h->listed->name));
		if (h->listed->owner[0])
			json_bytes(j, "owner", h->listed->owner, strlen(h->listed->owner));
		json_u64(j, "line", h->listed->line);
		json_close(j, '}');
	}
}

static void end_json(struct json *j)
{
	json_close(j, '}');
	json_close(j, '}');
	json_line(j);
}

static void host_json(const struct view *v, const struct fleet_host *h)
{
	struct json j = json_init(v->screen.out);
	struct json_item items[FLEET_PROBLEMS];
	size_t n = 0;

	begin_json(&j, h);
	json_bool(&j, "connected", h->row && h->row->connected);
	if (h->row && h->row->has_lag_case == EXHIBIT__V1__HOST_ROW__HAS_LAG_LAG_NS)
		json_u64(&j, "lag_ns", h->row->lag_ns);
	for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
		if (h->problems >> p & 1)
			items[n++] = (struct json_item){ (const uint8_t *)fleet_problem_name(p),
							 strlen(fleet_problem_name(p)) };
	json_list(&j, "problems", items, n);
	end_json(&j);
}

static void problem_row(struct view *v, const struct fleet_host *h, enum fleet_problem p,
			const struct fleet_class *c)
{
	char what[WHAT_MAX];

	if (c)
		(void)snprintf(what, sizeof(what), "%s: %s%s%s", c->name, c->state,
			       c->reason[0] ? ", " : "", c->reason);
	else
		say_what(v, h, p, what);
	if (v->args->limit && v->rows++ >= v->args->limit)
		return;
	if (v->screen.table) {
		add_host(v->table, h);
		table_add(v->table, color_of(h), "%s", fleet_problem_name(p));
		table_add_bytes(v->table, COLOR_NONE, what, strlen(what));
	} else {
		struct json j = json_init(v->screen.out);

		begin_json(&j, h);
		json_text(&j, "problem", fleet_problem_name(p));
		if (c)
			json_text(&j, "class", c->name);
		if (what[0])
			json_bytes(&j, "reason", what, strlen(what));
		end_json(&j);
	}
}

static void show_problems(struct view *v, const struct fleet_host *h)
{
	for (unsigned int p = 0; p < FLEET_PROBLEMS; p++) {
		if (!(h->problems >> p & 1))
			continue;
		if (p != FLEET_CLASS_MISSING)
			problem_row(v, h, p, NULL);
		for (size_t i = 0; p == FLEET_CLASS_MISSING && i < h->n_missing; i++)
			problem_row(v, h, p, &h->missing[i]);
	}
}

static void show_host(struct view *v, const struct fleet_host *h)
{
	if (v->args->limit && v->rows++ >= v->args->limit)
		return;
	if (v->screen.table)
		host_row(v->table, h);
	else
		host_json(v, h);
}

static void say_counts(const struct view *v)
{
	const struct fleet *f = &v->fleet;

	(void)fflush(stdout);
	if (v->args->limit && v->rows > v->args->limit)
		(void)fprintf(stderr, "cut by --limit: %" PRIu64 " more rows\n",
			      v->rows - v->args->limit);
	(void)fprintf(stderr, "%zu hosts, %" PRIu64 " of them well", f->n, f->well);
	for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
		if (f->counts[p])
			(void)fprintf(stderr, "; %s: %" PRIu64, fleet_problem_name(p),
				      f->counts[p]);
	(void)fputc('\n', stderr);
}

/* ---- together ------------------------------------------------------------------------------------------ */

static int show(struct view *v, bool problems, const Exhibit__V1__Completeness *last)
{
	struct outcome o = { .rows = v->fleet.n };

	for (size_t i = 0; i < v->fleet.n; i++)
		if (problems)
			show_problems(v, &v->fleet.hosts[i]);
		else
			show_host(v, &v->fleet.hosts[i]);
	if (v->screen.table)
		table_print(v->table, &v->screen);
	if (last)
		outcome_completeness(&o, last);
	say_counts(v);
	for (unsigned int p = 0; p < FLEET_PROBLEMS; p++)
		o.incomplete |= v->fleet.counts[p] && (FLEET_SERIOUS >> p & 1);
	return outcome_exit(&o);
}

static int judge(struct view *v, const struct inventory *i, bool problems,
		 const Exhibit__V1__Completeness *last)
{
	struct error e = { 0 };
	int r = v->failed;

	if (r == 0 && last)
		fleet_losses(&v->fleet, last);
	if (r == 0)
		r = fleet_match(&v->fleet, i);
	if (r < 0) {
		(void)error_set(&e, r,
				"cannot hold the fleet against the inventory: out of memory");
		return outcome_failure(&e);
	}
	fleet_judge(&v->fleet, true);
	if (i->repeated)
		(void)fprintf(
			stderr,
			"%zu rows of %s repeat an earlier one and count once; the first is line %zu\n",
			i->repeated, v->args->against, i->repeated_line);
	return show(v, problems, last);
}

int fleet_show(const struct args *a, bool problems)
{
	AUTO(inventory_release) struct inventory inventory = { 0 };
	AUTO(view_release) struct view v = { .args = a };
	Exhibit__V1__Completeness *last = NULL;
	struct error e = { 0 };
	int code;

	if (a->n_hosts) {
		(void)error_set(&e, -EINVAL, "--against is about all hosts, not those of --host");
		error_hint(&e, "leave one of the two out");
		return outcome_failure(&e);
	}
	if (inventory_load(a->against, &inventory, &e) < 0)
		return outcome_failure(&e);
	screen_init(&v.screen, a);
	v.table = table_new(problems ? problem_headers : host_headers);
	if (!v.table)
		return EXIT_ERROR;
	code = ask_status(&v, &last);
	if (code == 0)
		code = ask_coverage(&v);
	if (code == 0)
		code = judge(&v, &inventory, problems, last);
	if (last)
		exhibit__v1__completeness__free_unpacked(last, NULL);
	return code;
}
