/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/rows.h"

#include <errno.h>

#include "collector/cli/outcome.h"
#include "collector/cli/session.h"
#include "proto/json.h"

#define ROW_ARENA_MAX MiB(32)

struct run {
	const struct rows_request *request;
	struct screen screen;
	struct outcome outcome;
	struct arena *arena;
	uint64_t unreadable, more; /* more: not shown, by limit */
	int64_t first_ns; /* of the rows shown */
};

static void show_json(struct run *r, struct row_view *v)
{
	struct json j = json_init(r->screen.out);

	v->subject.row = r->request->tree ? v->row : NULL;
	fields_write_json(&j, &v->subject);
	json_line(&j);
}

static void show_row(struct run *r, const Exhibit__V1__BatchContext *context,
		     const Exhibit__V1__Row *row)
{
	struct row_view v;

	if (r->request->limit && r->outcome.rows >= r->request->limit) {
		r->more++;
		return;
	}
	if (!row_view_open(&v, context, row, r->arena)) {
		r->unreadable++;
		return;
	}
	if (r->screen.table && r->outcome.rows == 0 && r->request->header)
		r->request->header(&r->screen);
	if (r->outcome.rows++ == 0 || v.time_ns < r->first_ns)
		r->first_ns = v.time_ns;
	if (r->screen.table)
		r->request->show(&r->screen, &v);
	else
		show_json(r, &v);
}

static int show_message(struct run *r, const uint8_t *data, size_t len, struct error *e)
{
	Exhibit__V1__EventsAnswer *m = exhibit__v1__events_answer__unpack(NULL, len, data);

	if (!m)
		return error_set(
			e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	for (size_t i = 0; i < m->n_pages; i++)
		for (size_t k = 0; k < m->pages[i]->n_rows; k++)
			show_row(r, m->pages[i]->context, m->pages[i]->rows[k]);
	if (m->completeness && r->request->none && r->outcome.rows == 0)
		(void)fprintf(stderr, "%s\n", r->request->none);
	if (m->completeness)
		outcome_completeness(&r->outcome, m->completeness);
	exhibit__v1__events_answer__free_unpacked(m, NULL);
	return 0;
}

static int run(struct run *r, const void *question, struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int result = session_open(r->request->args, r->request->path, question, &s, e);

	if (result < 0)
		return result;
	if (!r->request->endless)
		session_show_progress(s);
	for (;;) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		result = session_next(s, &data, &len, e);
		if (result <= 0)
			return result;
		result = show_message(r, data, len, e);
		if (result < 0)
			return result;
		if (outcome_deaf())
			return 0;
	}
}

/* A live tail has no end of its own, so the collector never told how complete it was. */
static int run_afterwards(struct run *r, struct error *e)
{
	Exhibit__V1__EventsQuery *m = r->request->afterwards;
	int result;

	if (!m || !session_interrupted())
		return 0;
	session_go_on();
	if (r->outcome.rows && r->first_ns < m->since_ns)
		m->since_ns = r->first_ns;
	result = run(r, m, e);
	if (result < 0)
		return error_wrap(e, result, "cannot tell how complete this tail was");
	if (session_interrupted()) {
		(void)fprintf(stderr, "INCOMPLETE: interrupted again before the collector said how "
				      "complete this tail was\n");
		r->outcome.incomplete = true;
	}
	return 0;
}

int rows_run(const struct rows_request *request)
{
	struct run r = { .request = request, .arena = arena_new(ROW_ARENA_MAX, MiB(1)) };
	struct error e = { 0 };
	int result;

	if (!r.arena)
		return EXIT_ERROR;
	screen_init(&r.screen, request->args);
	result = run(&r, request->question, &e);
	if (result == 0)
		result = run_afterwards(&r, &e);
	arena_free(r.arena);
	if (result < 0)
		return outcome_failure(&e);
	if (r.more)
		(void)fprintf(stderr, "cut by --limit: %llu more rows are not shown\n",
			      (unsigned long long)r.more);
	if (r.unreadable) {
		(void)fprintf(stderr, "INCOMPLETE: %llu rows cannot be read by this version\n",
			      (unsigned long long)r.unreadable);
		r.outcome.incomplete = true;
	}
	return outcome_exit(&r.outcome);
}
