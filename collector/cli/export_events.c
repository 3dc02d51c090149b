/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/export_events.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/bundle_events.h"
#include "collector/vault_json.h"
#include "proto/base/clock.h"
#include "proto/order.h"

#define EVENTS_PATH "/exhibit.v1.Query/Events"
#define BEFORE_NS (3600 * (int64_t)NSEC_PER_SEC)
#define TERMS_MAX 3

/* A question and what it points into. */
struct question {
	Exhibit__V1__EventsQuery m;
	ProtobufCBinaryData host;
	size_t n;
	Exhibit__V1__FilterTerm terms[TERMS_MAX], *pointers[TERMS_MAX];
	char pid[16];
};

static void add_term(struct question *q, const char *field, const void *value, size_t len,
		     uint32_t group)
{
	Exhibit__V1__FilterTerm *t = &q->terms[q->n];

	exhibit__v1__filter_term__init(t);
	t->field = (ProtobufCBinaryData){ strlen(field), (uint8_t *)(uintptr_t)field };
	t->op = EXHIBIT__V1__FILTER_OP__FILTER_EQUALS;
	t->value = (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)value };
	t->group = group;
	q->pointers[q->n++] = t;
}

static void set_target(struct question *q, const Exhibit__V1__Order *order)
{
	if (order->container_id.len > 0)
		add_term(q, "container.id", order->container_id.data, order->container_id.len, 1);
	if (order->process) {
		(void)snprintf(q->pid, sizeof(q->pid), "%" PRIu32, order->process->pid);
		add_term(q, "process.pid", q->pid, strlen(q->pid), 2);
		add_term(q, "process.parent.pid", q->pid, strlen(q->pid), 2);
	}
}

/* NULL: it is not among those of the case. */
static Exhibit__V1__Order *order_of(const struct bundle *b, const Exhibit__V1__ExhibitInfo *info)
{
	char id[33] = "";
	Exhibit__V1__SignedOrder *s = NULL;
	Exhibit__V1__Order *order = NULL;

	for (size_t i = 0; i < info->order_id.len && i < ORDER_ID_LEN; i++)
		(void)snprintf(id + 2 * i, 3, "%02x", info->order_id.data[i]);
	for (size_t i = 0; i < b->n_orders && !s; i++)
		if (strcmp(b->orders[i].id, id) == 0)
			s = exhibit__v1__signed_order__unpack(NULL, b->orders[i].bytes.len,
							      b->orders[i].bytes.data);
	if (s && order_parse(s->order.data, s->order.len, &order, NULL) < 0)
		order = NULL;
	if (s)
		exhibit__v1__signed_order__free_unpacked(s, NULL);
	return order;
}

/* By the host's own clock, as its events are. 0: its manifest does not say. */
static int64_t ended_ns(const struct bundle_exhibit *x)
{
	json_error_t why;
	json_t *root = NULL;
	int64_t ns = 0;

	if (x->manifest.len == 0 ||
	    vault_json_load(x->manifest.data, x->manifest.len, &root, &why) < 0)
		return 0;
	ns = json_integer_value(json_object_get(json_object_get(root, "ended"), "realtime_ns"));
	json_decref(root);
	return ns;
}

static void set_window(struct question *q, const struct args *a, const struct bundle_exhibit *x,
		       const Exhibit__V1__ExhibitInfo *info, const Exhibit__V1__Order *order)
{
	int64_t began = order ? order->made_ns : info->began_ns, ended = ended_ns(x);

	q->m.since_ns = a->since_ns ? a->since_ns : began - BEFORE_NS;
	q->m.until_ns = a->until_ns ? a->until_ns : ended > 0 ? ended : info->sealed_ns;
	/* A clock that went back meanwhile: the collector refuses what ends before it begins. */
	if (q->m.until_ns <= q->m.since_ns)
		q->m.until_ns = q->m.since_ns + 1;
}

static int take_answer(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	int r = bundle_events_append(ctx, data, len);

	return r < 0 ? error_set(e, r, "cannot keep the events of an exhibit: %m") : 0;
}

static int put_question(struct bundle_events *x, const Exhibit__V1__EventsQuery *m, struct error *e)
{
	size_t len = exhibit__v1__events_query__get_packed_size(m);
	AUTO(free_ptr) uint8_t *packed = malloc(len + 1);

	if (!packed)
		return error_set(e, -ENOMEM, "cannot ask for events: out of memory");
	return take_answer(x, packed, exhibit__v1__events_query__pack(m, packed), e);
}

/* What does not fit is asked for again with half as many. */
static int ask(const struct args *a, struct question *q, struct bundle_events *x, struct error *e)
{
	int r;

	do {
		blob_release(&x->bytes);
		*e = (struct error){ 0 };
		r = put_question(x, &q->m, e);
		if (r == 0 && q->m.limit > 0)
			r = export_call(a, EVENTS_PATH, &q->m, take_answer, x, e);
		if (r == -EFBIG)
			q->m.limit /= 2;
	} while (r == -EFBIG);
	return r;
}

static int ask_one(const struct args *a, const Exhibit__V1__ExhibitInfo *info,
		   const struct bundle_exhibit *exhibit, uint64_t limit, struct bundle *b,
		   struct error *e)
{
	struct question q = { .host = info->host_id };
	Exhibit__V1__Order *order = order_of(b, info);
	struct bundle_events *x = bundle_add_event(b);
	int r = x ? 0 : error_set(e, -ENOMEM, "cannot ask for events: out of memory");

	exhibit__v1__events_query__init(&q.m);
	q.m.hosts = &q.host;
	q.m.n_hosts = 1;
	q.m.limit = limit;
	if (order)
		set_target(&q, order);
	q.m.terms = q.pointers;
	q.m.n_terms = q.n;
	set_window(&q, a, exhibit, info, order);
	if (r == 0) {
		(void)snprintf(x->id, sizeof(x->id), "%s", exhibit->id);
		r = ask(a, &q, x, e);
	}
	if (order)
		exhibit__v1__order__free_unpacked(order, NULL);
	if (r < 0)
		return r;
	bundle_events_understand(x);
	return x->readable ?
		       0 :
		       error_set(
			       e, -EBADMSG,
			       "the collector's events cannot be read; is it of another version?");
}

int export_events(const struct args *a, const struct exhibit_list *list, struct bundle *b,
		  struct error *e)
{
	uint64_t each = !a->has_limit ? BUNDLE_EVENTS_EACH : a->limit ? a->limit : UINT64_MAX;
	uint64_t left = BUNDLE_EVENTS_ALL_MAX;
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0 && !a->no_events; i++) {
		r = ask_one(a, list->at[i], &b->exhibits[i], each < left ? each : left, b, e);
		if (r == 0)
			left -= bundle_events_rows(&b->events[b->n_events - 1]);
	}
	return r;
}

/* ---- saying ---------------------------------------------------------------------------------------------------- */

bool export_events_complete(const struct bundle *b)
{
	for (size_t i = 0; i < b->n_events; i++)
		if (!bundle_events_complete(&b->events[i]))
			return false;
	return true;
}

static void say_one(const struct bundle_events *x)
{
	const Exhibit__V1__Completeness *c = bundle_events_completeness(x);
	char since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

	(void)fprintf(stderr, "events around exhibit %.8s: %" PRIu64 ", %s to %s", x->id,
		      bundle_events_rows(x), outcome_time(x->question->since_ns, 0, since),
		      outcome_time(x->question->until_ns, 0, until));
	if (!c)
		(void)fputs("; none, since the bundle holds as many as it may", stderr);
	else if (c->cut)
		(void)fputs("; CUT: only the newest of them, --limit takes more", stderr);
	if (c && c->hosts == 0)
		(void)fputs("; INCOMPLETE: the host was not recorded then", stderr);
	if (c && c->missing_total > 0)
		(void)fprintf(stderr, "; INCOMPLETE: %" PRIu64 " gaps, named in events/%s.json",
			      c->missing_total, x->id);
	(void)fputc('\n', stderr);
}

void export_events_say(const struct bundle *b)
{
	for (size_t i = 0; i < b->n_events; i++)
		say_one(&b->events[i]);
}
