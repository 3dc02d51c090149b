/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/order_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/order_manifest.h"
#include "collector/cli/session.h"
#include "proto/base/clock.h"

#define LIST_PATH "/exhibit.v1.Orders/List"
#define AGAIN_S 300 /* how long a collector may be away */

void order_watch_begin(struct order_watch *w, const struct args *a, Exhibit__V1__Order *o)
{
	*w = (struct order_watch){ .args = a, .order = o, .n = o->n_hosts };
	memcpy(w->id, o->order_id.data, ORDER_ID_LEN);
	for (size_t i = 0; i < w->n; i++)
		(void)snprintf(w->hosts[i].host, sizeof(w->hosts[i].host), "%.*s",
			       (int)o->hosts[i].len, (const char *)o->hosts[i].data);
}

static void step_free(Exhibit__V1__OrderStep *step)
{
	if (step)
		exhibit__v1__order_step__free_unpacked(step, NULL);
}

void order_watch_release(struct order_watch *w)
{
	for (size_t i = 0; i < w->n; i++)
		step_free(w->hosts[i].last);
	step_free(w->whole);
	if (w->order)
		exhibit__v1__order__free_unpacked(w->order, NULL);
	*w = (struct order_watch){ 0 };
}

bool order_watch_over(const struct order_watch *w)
{
	if (w->whole && order_state_is_over(w->whole->state))
		return true;
	for (size_t i = 0; i < w->n; i++)
		if (!w->hosts[i].last || !order_state_is_over(w->hosts[i].last->state))
			return false;
	return true;
}

/* ---- standard error ------------------------------------------------------------------------------------ */

static void say(struct order_watch *w, const Exhibit__V1__OrderStep *step)
{
	const struct screen s = { .out = stderr };
	bool live = isatty(STDERR_FILENO) == 1;
	bool progress = step->state == EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS;
	char note[ERROR_TEXT_MAX + 64];

	if (w->quiet || (progress && !live))
		return;
	if (w->shown)
		(void)fputs("\r\033[K", stderr);
	if (step->host_id.len) {
		(void)screen_cell(&s, step->host_id.data, step->host_id.len, SIZE_MAX, false,
				  COLOR_NONE);
		(void)fputs(": ", stderr);
	}
	(void)fputs(order_state_name(step->state), stderr);
	if (progress && step->bytes_total) {
		(void)fprintf(stderr, " %" PRIu64 " of %" PRIu64 " MiB", step->bytes_done >> 20,
			      step->bytes_total >> 20);
	} else if (step->state != EXHIBIT__V1__ORDER_STATE__ORDER_MADE) {
		order_step_note(step, note, sizeof(note));
		if (note[0])
			(void)fputs(", ", stderr);
		(void)screen_cell(&s, note, strlen(note), SIZE_MAX, false, COLOR_NONE);
	}
	w->shown = progress;
	if (!progress)
		(void)fputc('\n', stderr);
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static Exhibit__V1__OrderStep **place_of(struct order_watch *w, const Exhibit__V1__OrderStep *step)
{
	if (step->host_id.len == 0)
		return &w->whole;
	for (size_t i = 0; i < w->n; i++)
		if (strlen(w->hosts[i].host) == step->host_id.len &&
		    memcmp(w->hosts[i].host, step->host_id.data, step->host_id.len) == 0)
			return &w->hosts[i].last;
	return NULL;
}

/* Takes step. After a broken connection steps come again: what is older is not told twice. */
static void take_step(struct order_watch *w, Exhibit__V1__OrderStep *step)
{
	Exhibit__V1__OrderStep **place = place_of(w, step);

	if (step->state == EXHIBIT__V1__ORDER_STATE__ORDER_MADE)
		w->made = true;
	if (!place || (*place && (*place)->wall_ns >= step->wall_ns &&
		       (*place)->state != EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS &&
		       !order_state_is_over(step->state))) {
		step_free(step);
		return;
	}
	if (!*place || (*place)->state != step->state ||
	    step->state == EXHIBIT__V1__ORDER_STATE__ORDER_PROGRESS)
		say(w, step);
	step_free(*place);
	*place = step;
}

static int take_answer(struct order_watch *w, const uint8_t *data, size_t len, struct error *e)
{
	Exhibit__V1__OrderAnswer *m = exhibit__v1__order_answer__unpack(NULL, len, data);

	if (!m)
		return error_set(
			e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	if (m->kind_case == EXHIBIT__V1__ORDER_ANSWER__KIND_STEP) {
		take_step(w, m->step);
		m->step = NULL;
	}
	exhibit__v1__order_answer__free_unpacked(m, NULL);
	return 0;
}

static bool is_reached(const struct order_watch *w, enum order_watch_until until)
{
	switch (until) {
	case ORDER_WATCH_OVER:
		return false; /* the collector ends it */
	case ORDER_WATCH_MADE:
		return w->made;
	case ORDER_WATCH_STARTED:
		for (size_t i = 0; i < w->n; i++)
			if (w->hosts[i].last && w->hosts[i].last->exhibit_id.len == ORDER_ID_LEN)
				return true;
	}
	return false;
}

static int run_once(struct order_watch *w, const char *path, const void *question,
		    enum order_watch_until until, struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int r = session_open(w->args, path, question, &s, e);

	while (r >= 0) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			return r;
		r = take_answer(w, data, len, e);
		if (r == 0 && is_reached(w, until))
			return 0;
	}
	return r;
}

static int list(struct order_watch *w, bool follow, enum order_watch_until until, struct error *e)
{
	Exhibit__V1__OrdersQuery q = EXHIBIT__V1__ORDERS_QUERY__INIT;

	q.order_id = (ProtobufCBinaryData){ sizeof(w->id), w->id };
	q.follow = follow;
	return run_once(w, LIST_PATH, &q, until, e);
}

/* The collector has the order: whatever happened to the connection, the order is there to be asked for. */
static int run_again(struct order_watch *w, enum order_watch_until until, struct error *e)
{
	uint64_t end = clock_monotonic_ns() + AGAIN_S * NSEC_PER_SEC;
	int r;

	(void)fprintf(stderr, "the collector is away, the order is not; asking again\n");
	do {
		(void)usleep(1000000);
		if (session_interrupted())
			return 0;
		*e = (struct error){ 0 };
		r = list(w, true, until, e);
	} while (r < 0 && clock_monotonic_ns() < end);
	return r;
}

static void wipe(struct order_watch *w)
{
	if (w->shown)
		(void)fputs("\r\033[K", stderr);
	w->shown = false;
}

int order_watch_run(struct order_watch *w, const char *path, const void *question,
		    enum order_watch_until until, struct error *e)
{
	int r = run_once(w, path, question, until, e);

	while (r < 0 && w->made && until != ORDER_WATCH_MADE && !order_watch_over(w) &&
	       !session_interrupted())
		r = run_again(w, until, e);
	wipe(w);
	return order_watch_over(w) ? 0 : r;
}

int order_watch_again(struct order_watch *w, bool follow, struct error *e)
{
	int r = list(w, follow, ORDER_WATCH_OVER, e);

	while (follow && r < 0 && !order_watch_over(w) && !session_interrupted())
		r = run_again(w, ORDER_WATCH_OVER, e);
	wipe(w);
	return order_watch_over(w) ? 0 : r;
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static const char *const headers[] = { "HOST", "STATE", "EXHIBIT", "WHAT", NULL };

static void show_row(struct table *t, const char *host, const Exhibit__V1__OrderStep *step)
{
	char id[ORDER_ID_TEXT];

	table_add(t, COLOR_BOLD, "%s", host);
	table_add(t, order_state_color(step->state), "%s", order_state_name(step->state));
	table_add(t, COLOR_NONE, "%s",
		  step->exhibit_id.len ? order_id_text(&step->exhibit_id, id) : "-");
	table_add_bytes(t, COLOR_NONE, step->reason.data, step->reason.len);
}

/* With the manifest of what came; false: it cannot be had, and the row lacks it. */
static bool show_json(const struct order_watch *w, FILE *out, const Exhibit__V1__OrderStep *step)
{
	AUTO(free_ptr) char *manifest = NULL;
	struct error e = { 0 };
	bool whole = step->exhibit_id.len == 0 || step->manifest_sha256.len == 0 ||
		     order_manifest(w->args, step, &manifest, &e) == 0;

	if (!whole)
		(void)outcome_failure(&e);
	order_step_json(out, w->order, step, manifest);
	return whole;
}

/* A host that is done and has something to say about it says what is lacking (agent/orders_upload.c). */
int order_watch_code(const struct order_watch *w)
{
	size_t done = 0, whole = 0;

	for (size_t i = 0; i < w->n; i++) {
		const Exhibit__V1__OrderStep *last = w->hosts[i].last;
		bool is_done = last && last->state == EXHIBIT__V1__ORDER_STATE__ORDER_DONE;

		done += is_done;
		whole += is_done && last->reason.len == 0;
	}
	if (!order_watch_over(w))
		return EXIT_INCOMPLETE;
	return whole == w->n ? EXIT_FOUND : done ? EXIT_INCOMPLETE : EXIT_ERROR;
}

int order_watch_show(struct order_watch *w)
{
	AUTO(table_free_ptr) struct table *t = table_new(headers);
	struct screen s;
	bool whole = true;

	screen_init(&s, w->args);
	for (size_t i = 0; t && i < w->n; i++) {
		const Exhibit__V1__OrderStep *step = w->hosts[i].last;

		if (!step)
			step = w->whole;
		if (!step)
			continue;
		if (s.table)
			show_row(t, w->hosts[i].host, step);
		else
			whole = show_json(w, s.out, step) && whole;
	}
	if (t && s.table)
		table_print(t, &s);
	int code = outcome_deaf() ? EXIT_ERROR : order_watch_code(w);

	return code == EXIT_FOUND && !whole ? EXIT_INCOMPLETE : code;
}
