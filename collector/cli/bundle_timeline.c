/* SPDX-License-Identifier: Apache-2.0 */
/* timeline.jsonl for Timesketch: what people did (leaves of the ledger) and what happened on the hosts (events), one
 * line each, by time. Timesketch wants message, datetime, timestamp_desc, takes timestamp in microseconds, and keeps
 * the rest as fields; source, case, host, container and evidence_sha256 are the same in lines of both kinds. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/bundle_events.h"
#include "collector/cli/bundle_leaf.h"
#include "collector/cli/row_view.h"
#include "proto/json.h"
#include "proto/order.h"

#define MESSAGE_MAX 1000
#define ROW_ARENA_MAX MiB(32)

struct line {
	int64_t time_ns;
	size_t order; /* leaves first, then as the collector told them */
	const struct bundle_leaf *leaf; /* or an event: */
	const struct bundle_events *events;
	const Exhibit__V1__BatchContext *context;
	const Exhibit__V1__Row *row;
};

struct timeline {
	const struct bundle *bundle;
	struct arena *arena;
	size_t n;
	struct line *at;
};

static void put_bytes(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		json_bytes(j, key, b->data, b->len);
}

static void put_hash(struct json *j, const char *key, const uint8_t *hash)
{
	char hex[2 * SEAL_HASH_LEN + 1];

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", hash[i]);
	json_text(j, key, hex);
}

static void put_head(struct json *j, const char *message, size_t len, int64_t time_ns,
		     const char *what, const char *source)
{
	json_open(j, NULL, 0, '{');
	json_bytes(j, "message", message, len < MESSAGE_MAX ? len : MESSAGE_MAX);
	json_time(j, "datetime", time_ns);
	json_i64(j, "timestamp", time_ns / 1000);
	json_text(j, "timestamp_desc", what);
	json_text(j, "source", source);
}

/* ---- leaves --------------------------------------------------------------------------------------------------- */

static void write_leaf(const struct bundle_leaf *l, FILE *out)
{
	const Exhibit__V1__LedgerEntry *m = l->entry;
	const char *state = m->state > 0 ? order_state_name((Exhibit__V1__OrderState)m->state) :
					   NULL;
	struct json j = json_init(out);
	char message[512], what[64];

	(void)snprintf(what, sizeof(what), "%s%s%s", bundle_kind_name(m->kind), state ? " " : "",
		       state ? state : "");
	(void)snprintf(message, sizeof(message), "%s%s%.*s", what, m->text.len ? ": " : "",
		       (int)(m->text.len < 400 ? m->text.len : 400), (const char *)m->text.data);
	put_head(&j, message, strlen(message), m->wall_ns, what, "ledger");
	if (m->object.len == SEAL_HASH_LEN)
		put_hash(&j, "evidence_sha256", m->object.data);
	bundle_put_leaf(&j, l);
	json_close(&j, '}');
	json_line(&j);
}

/* ---- events --------------------------------------------------------------------------------------------------- */

static const ProtobufCBinaryData *case_of(const struct bundle *b)
{
	for (size_t i = 0; i < b->n_leaves; i++)
		if (b->leaves[i].entry && b->leaves[i].entry->case_id.len > 0)
			return &b->leaves[i].entry->case_id;
	return NULL;
}

static void put_message(struct json *j, struct row_view *v)
{
	const char *action = field_action(v->subject.event);
	AUTO(free_ptr) char *what = NULL;
	AUTO(free_ptr) char *message = NULL;
	char who[128];
	size_t len = 0, total = 0;
	FILE *text = open_memstream(&message, &total);

	(void)row_view_process(v, who, sizeof(who));
	what = row_view_what(v, &len);
	if (text) {
		(void)fprintf(text, "%s %s: ", action, who);
		(void)fwrite(what, 1, what ? len : 0, text);
		(void)fclose(text);
	}
	put_head(j, message ? message : action, message ? total : strlen(action), v->time_ns,
		 action, "event");
}

static void write_event(const struct timeline *t, const struct line *l, FILE *out)
{
	const ProtobufCBinaryData *case_id = case_of(t->bundle);
	struct json j = json_init(out);
	struct seal_hash hash;
	struct row_view v;

	if (!row_view_open(&v, l->context, l->row, t->arena))
		return; /* sorted by what could be read */
	put_message(&j, &v);
	if (seal_sha256(l->row->event.data, l->row->event.len, &hash) == 0)
		put_hash(&j, "evidence_sha256", hash.b);
	if (case_id)
		put_bytes(&j, "case", case_id);
	put_bytes(&j, "host", &l->context->host_id);
	put_bytes(&j, "host_name", &l->context->host_name);
	if (v.subject.process && v.subject.process->container_id.len > 0)
		put_bytes(&j, "container", &v.subject.process->container_id);
	json_text(&j, "exhibit", l->events->id);
	fields_write_json_at(&j, "ecs", &v.subject);
	json_close(&j, '}');
	json_line(&j);
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static int by_bytes(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	size_t len = a->len < b->len ? a->len : b->len;
	int r = len > 0 ? memcmp(a->data, b->data, len) : 0;

	return r != 0 ? r : (a->len > b->len) - (a->len < b->len);
}

/* The same stored event, as two exhibits of one target have it. */
static int by_event(const struct line *x, const struct line *y)
{
	int r = by_bytes(&x->context->host_id, &y->context->host_id);

	if (r == 0)
		r = by_bytes(&x->context->epoch, &y->context->epoch);
	if (r == 0)
		r = (x->context->lane > y->context->lane) - (x->context->lane < y->context->lane);
	if (r == 0)
		r = (x->context->number > y->context->number) -
		    (x->context->number < y->context->number);
	return r == 0 ? by_bytes(&x->row->event, &y->row->event) : r;
}

static int by_time(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int r = (x->time_ns > y->time_ns) - (x->time_ns < y->time_ns);

	if (r == 0)
		r = (x->row != NULL) - (y->row != NULL);
	if (r == 0 && x->row)
		r = by_event(x, y);
	if (r == 0 && x->row)
		r = strcmp(x->events->id, y->events->id);
	return r != 0 ? r : (x->order > y->order) - (x->order < y->order);
}

static void add(struct timeline *t, struct line l)
{
	l.order = t->n;
	t->at[t->n++] = l;
}

static void add_events(struct timeline *t, const struct bundle_events *x)
{
	for (size_t i = 0; i < x->n_answers; i++)
		for (size_t k = 0; k < x->answers[i]->n_pages; k++) {
			const Exhibit__V1__EventsPage *p = x->answers[i]->pages[k];

			for (size_t n = 0; n < p->n_rows; n++) {
				struct row_view v;

				if (row_view_open(&v, p->context, p->rows[n], t->arena))
					add(t, (struct line){ .time_ns = v.time_ns,
							      .events = x,
							      .context = p->context,
							      .row = p->rows[n] });
			}
		}
}

static int gather(struct timeline *t)
{
	const struct bundle *b = t->bundle;
	size_t most = b->n_leaves;

	for (size_t i = 0; i < b->n_events; i++)
		most += bundle_events_rows(&b->events[i]);
	t->at = calloc(most + 1, sizeof(*t->at));
	t->arena = arena_new(ROW_ARENA_MAX, MiB(1));
	if (!t->at || !t->arena)
		return -ENOMEM;
	for (size_t i = 0; i < b->n_leaves; i++)
		if (b->leaves[i].entry)
			add(t, (struct line){ .time_ns = b->leaves[i].entry->wall_ns,
					      .leaf = &b->leaves[i] });
	for (size_t i = 0; i < b->n_events; i++)
		add_events(t, &b->events[i]);
	qsort(t->at, t->n, sizeof(*t->at), by_time);
	return 0;
}

int bundle_write_timeline(const struct bundle *b, FILE *out)
{
	struct timeline t = { .bundle = b };
	int r = gather(&t);

	for (size_t i = 0; r == 0 && i < t.n; i++) {
		const struct line *l = &t.at[i], *before = i > 0 ? &t.at[i - 1] : NULL;

		if (l->leaf)
			write_leaf(l->leaf, out);
		else if (!before || !before->row || before->time_ns != l->time_ns ||
			 by_event(before, l) != 0)
			write_event(&t, l, out);
	}
	free(t.at);
	arena_free(t.arena);
	return r;
}
