/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit events, exhibit tail. */
#include <string.h>

#include "collector/cli/outcome.h"
#include "collector/cli/rows.h"
#include "proto/base/clock.h"

#define LIMIT_DEFAULT 1000
#define CELL_BYTES 512

/* Columns; what happened takes the rest of the line. */
enum {
	WIDTH_TIME = 24,
	WIDTH_HOST = 14,
	WIDTH_ACTION = 11,
	WIDTH_PROCESS = 23,
	WIDTH_USER = 10,
	WIDTH_PLACE = 18
};

static void space(const struct screen *s)
{
	(void)fputc(' ', s->out);
}

static void header(const struct screen *s)
{
	static const struct {
		const char *name;
		size_t width;
	} columns[] = { { "TIME", WIDTH_TIME },
			{ "HOST", WIDTH_HOST },
			{ "ACTION", WIDTH_ACTION },
			{ "PROCESS", WIDTH_PROCESS },
			{ "USER", WIDTH_USER },
			{ "UNIT/POD", WIDTH_PLACE },
			{ "WHAT", 4 } };

	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		(void)screen_text(s, columns[i].name, columns[i].width, true, COLOR_BOLD);
		if (i + 1 < ARRAY_LEN(columns))
			space(s);
	}
	(void)fputc('\n', s->out);
}

static void show(const struct screen *s, struct row_view *v)
{
	const Exhibit__V1__BatchContext *c = v->subject.context;
	const ProtobufCBinaryData *host = c->host_name.len ? &c->host_name : &c->host_id;
	const size_t fixed = WIDTH_TIME + WIDTH_HOST + WIDTH_ACTION + WIDTH_PROCESS + WIDTH_USER +
			     WIDTH_PLACE + 6;
	char cell[CELL_BYTES], time[CLOCK_TEXT_MAX];
	AUTO(free_ptr) char *what = NULL;
	size_t len = 0;

	(void)screen_text(s, outcome_time(v->time_ns, 3, time), WIDTH_TIME, true, COLOR_DIM);
	space(s);
	(void)screen_cell(s, host->data, host->len, WIDTH_HOST, true, COLOR_NONE);
	space(s);
	(void)screen_text(s, field_action(v->subject.event), WIDTH_ACTION, true, row_view_color(v));
	space(s);
	(void)screen_cell(s, cell, row_view_process(v, cell, sizeof(cell)), WIDTH_PROCESS, true,
			  COLOR_NONE);
	space(s);
	(void)screen_cell(s, cell, row_view_user(v, cell, sizeof(cell)), WIDTH_USER, true,
			  COLOR_NONE);
	space(s);
	(void)screen_cell(s, cell, row_view_place(v, cell, sizeof(cell)), WIDTH_PLACE, true,
			  COLOR_DIM);
	space(s);
	what = row_view_what(v, &len);
	if (what)
		(void)screen_cell(s, what, len, s->width > fixed + 20 ? s->width - fixed : 20,
				  false, COLOR_NONE);
	(void)fputc('\n', s->out);
}

static int run(const struct args *a, bool follow)
{
	Exhibit__V1__EventsQuery m = EXHIBIT__V1__EVENTS_QUERY__INIT, afterwards;
	Exhibit__V1__FilterTerm *terms[ARGS_TERMS_MAX], all[ARGS_TERMS_MAX];
	ProtobufCBinaryData hosts[ARGS_HOSTS_MAX];
	struct rows_request r = { .args = a,
				  .path = "/exhibit.v1.Query/Events",
				  .question = &m,
				  .header = header,
				  .show = show };

	/* protobuf-c wants pointers that may be written through. */
	memcpy(all, a->terms, sizeof(all));
	memcpy(hosts, a->hosts, sizeof(hosts));
	for (size_t i = 0; i < a->n_terms; i++)
		terms[i] = &all[i];
	m.terms = terms;
	m.n_terms = a->n_terms;
	m.hosts = hosts;
	m.n_hosts = a->n_hosts;
	m.since_ns = a->since_ns;
	m.until_ns = a->until_ns;
	m.limit = a->has_limit ? a->limit : follow ? 0 : LIMIT_DEFAULT;
	m.follow = follow;
	r.endless = follow;
	/* A tail begins now, unless it was told how far back. */
	if (follow && !a->since_ns && !a->has_limit)
		m.since_ns = clock_wall_ns();
	afterwards = m;
	afterwards.follow = false;
	afterwards.no_rows = true;
	afterwards.limit = 0;
	if (!m.since_ns)
		afterwards.since_ns = clock_wall_ns();
	if (follow)
		r.afterwards = &afterwards;
	return rows_run(&r);
}

int verb_events(const struct args *a)
{
	return run(a, false);
}

int verb_tail(const struct args *a)
{
	return run(a, true);
}
