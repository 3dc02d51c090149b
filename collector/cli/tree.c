/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit tree: one line per process, indented by its depth. */
#include <string.h>

#include "collector/cli/outcome.h"
#include "collector/cli/rows.h"
#include "proto/base/clock.h"

#define CELL_BYTES 512
#define INDENT_MAX 40 /* columns */
#define BRANCH "\xe2\x94\x94\xe2\x94\x80" /* U+2514 U+2500 */

static void show(const struct screen *s, struct row_view *v)
{
	char cell[CELL_BYTES], time[CLOCK_TEXT_MAX];
	size_t indent = v->row->depth * 2u < INDENT_MAX ? v->row->depth * 2u : INDENT_MAX,
	       used = indent, len = 0;
	const Exhibit__V1__Process *p = v->subject.process;
	AUTO(free_ptr) char *what = NULL;

	for (size_t i = 2; i < indent; i++)
		(void)fputc(' ', s->out);
	if (indent)
		(void)screen_text(s, BRANCH, 2, true, COLOR_DIM);
	used += screen_cell(s, cell, row_view_process(v, cell, sizeof(cell)), 40, false,
			    v->row->focus ? COLOR_RED : COLOR_GREEN);
	(void)fputc(' ', s->out);
	used += screen_cell(s, cell, row_view_user(v, cell, sizeof(cell)), 16, false, COLOR_NONE);
	(void)fputc(' ', s->out);
	if (p && p->key)
		(void)outcome_time(
			(int64_t)((uint64_t)v->subject.context->offset_ns + p->key->start_ns), 0,
			time);
	else
		(void)outcome_time(v->time_ns, 0, time);
	used += screen_text(s, time, SIZE_MAX, false, COLOR_DIM);
	if (v->row->exited_ns) {
		used += screen_text(s, " to ", SIZE_MAX, false, COLOR_DIM);
		used += screen_text(s, outcome_time(v->row->exited_ns, 0, time), SIZE_MAX, false,
				    COLOR_DIM);
	}
	if (v->row->ended_unwatched)
		used += screen_text(s, " ended while not watched", SIZE_MAX, false, COLOR_DIM);
	(void)fputc(' ', s->out);
	what = row_view_what(v, &len);
	if (what)
		(void)screen_cell(s, what, len, s->width > used + 24 ? s->width - used - 4 : 20,
				  false, v->row->focus ? COLOR_BOLD : COLOR_NONE);
	(void)fputc('\n', s->out);
}

int verb_tree(const struct args *a)
{
	Exhibit__V1__TreeQuery m = EXHIBIT__V1__TREE_QUERY__INIT;
	struct rows_request r = { .args = a,
				  .path = "/exhibit.v1.Query/Tree",
				  .question = &m,
				  .tree = true,
				  .show = show };
	struct error e = { 0 };

	if (a->n_hosts > 1 || (!a->object && (!a->n_hosts || !a->pid)) || (a->object && a->pid)) {
		(void)error_set(
			&e, -1,
			"a tree needs the entity id of a process, or one --host with --pid");
		error_hint(&e, "exhibit tree --host web-1 --pid 4711");
		return outcome_failure(&e);
	}
	if (a->object)
		m.entity_id =
			(ProtobufCBinaryData){ strlen(a->object), (uint8_t *)(uintptr_t)a->object };
	if (a->n_hosts)
		m.host = a->hosts[0];
	m.pid = a->pid;
	m.at_ns = a->at_ns;
	r.limit = a->limit;
	r.none = a->at_ns ? "no such process is recorded for that time" :
			    "no such process is recorded";
	return rows_run(&r);
}
