/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/bundle_events.h"

#include <errno.h>
#include <string.h>

#include "proto/base/reader.h"
#include "proto/json.h"

#define HEAD_LEN 4

int bundle_events_append(struct bundle_events *x, const void *message, size_t len)
{
	size_t sum = x->bytes.len + HEAD_LEN + len;
	uint8_t *more;

	if (len > BUNDLE_EVENTS_BYTES_MAX || sum > BUNDLE_EVENTS_BYTES_MAX)
		return -EFBIG;
	more = realloc(x->bytes.data, sum);
	if (!more)
		return -ENOMEM;
	x->bytes.data = more;
	for (size_t i = 0; i < HEAD_LEN; i++)
		more[x->bytes.len + i] = (uint8_t)(len >> (8 * i));
	if (len > 0)
		memcpy(more + x->bytes.len + HEAD_LEN, message, len);
	x->bytes.len = sum;
	return 0;
}

static bool take_answer(struct bundle_events *x, const uint8_t *data, size_t len)
{
	Exhibit__V1__EventsAnswer *m = exhibit__v1__events_answer__unpack(NULL, len, data);
	Exhibit__V1__EventsAnswer **more =
		m ? realloc(x->answers, (x->n_answers + 1) * sizeof(*more)) : NULL;

	if (!more) {
		if (m)
			exhibit__v1__events_answer__free_unpacked(m, NULL);
		return false;
	}
	x->answers = more;
	more[x->n_answers++] = m;
	return true;
}

void bundle_events_understand(struct bundle_events *x)
{
	struct reader r = reader_init(x->bytes.data, x->bytes.len);
	bool good = x->bytes.len > 0;

	while (good && r.left > 0) {
		size_t len = reader_u32(&r);
		const uint8_t *data = reader_bytes(&r, len);

		if (!data)
			good = false;
		else if (x->question)
			good = take_answer(x, data, len);
		else
			good = (x->question = exhibit__v1__events_query__unpack(NULL, len, data));
	}
	x->readable = good && x->question;
}

void bundle_events_release(struct bundle_events *x)
{
	blob_release(&x->bytes);
	if (x->question)
		exhibit__v1__events_query__free_unpacked(x->question, NULL);
	for (size_t i = 0; i < x->n_answers; i++)
		exhibit__v1__events_answer__free_unpacked(x->answers[i], NULL);
	free(x->answers);
}

uint64_t bundle_events_rows(const struct bundle_events *x)
{
	uint64_t n = 0;

	for (size_t i = 0; i < x->n_answers; i++)
		for (size_t k = 0; k < x->answers[i]->n_pages; k++)
			n += x->answers[i]->pages[k]->n_rows;
	return n;
}

const Exhibit__V1__Completeness *bundle_events_completeness(const struct bundle_events *x)
{
	return x->n_answers > 0 ? x->answers[x->n_answers - 1]->completeness : NULL;
}

bool bundle_events_complete(const struct bundle_events *x)
{
	const Exhibit__V1__Completeness *c = bundle_events_completeness(x);

	/* A host of which nothing is recorded then lacks nothing, and is not complete for that. */
	return c && !c->cut && c->missing_total == 0 && c->hosts > 0;
}

/* ---- events/ID.json ---------------------------------------------------------------------------------------- */

static void put_bytes(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		json_bytes(j, key, b->data, b->len);
}

static void put_time(struct json *j, const char *key, int64_t ns)
{
	if (ns != 0)
		json_time(j, key, ns);
}

static void put_question(struct json *j, const Exhibit__V1__EventsQuery *q)
{
	for (size_t i = 0; i < q->n_hosts; i++)
		put_bytes(j, "host", &q->hosts[i]);
	json_open(j, "terms", strlen("terms"), '[');
	for (size_t i = 0; i < q->n_terms; i++) {
		json_open(j, NULL, 0, '{');
		put_bytes(j, "field", &q->terms[i]->field);
		put_bytes(j, "value", &q->terms[i]->value);
		json_u64(j, "group", q->terms[i]->group);
		json_close(j, '}');
	}
	json_close(j, ']');
	put_time(j, "since", q->since_ns);
	put_time(j, "until", q->until_ns);
	json_u64(j, "limit", q->limit);
}

static void put_missing(struct json *j, const Exhibit__V1__Completeness *c)
{
	json_u64(j, "missing_total", c->missing_total);
	json_open(j, "missing", strlen("missing"), '[');
	for (size_t i = 0; i < c->n_missing; i++) {
		const Exhibit__V1__Incomplete *m = c->missing[i];

		json_open(j, NULL, 0, '{');
		put_bytes(j, "host", &m->host_id);
		put_bytes(j, "reason", &m->reason);
		if (m->has_count_case == EXHIBIT__V1__INCOMPLETE__HAS_COUNT_COUNT)
			json_u64(j, "count", m->count);
		put_time(j, "from", m->from_ns);
		put_time(j, "to", m->to_ns);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_open(j, "begins_later", strlen("begins_later"), '[');
	for (size_t i = 0; i < c->n_later; i++) {
		json_open(j, NULL, 0, '{');
		put_bytes(j, "host", &c->later[i]->host_id);
		put_time(j, "since", c->later[i]->since_ns);
		json_close(j, '}');
	}
	json_close(j, ']');
}

void bundle_write_events(const struct bundle_events *x, FILE *out)
{
	const Exhibit__V1__Completeness *c = bundle_events_completeness(x);
	struct json j = json_init(out);

	json_open(&j, NULL, 0, '{');
	json_text(&j, "exhibit", x->id);
	json_text(&j, "vouched_by",
		  "the collector alone: no host's signature and no leaf of the ledger is "
		  "over these rows");
	if (x->question)
		put_question(&j, x->question);
	json_bool(&j, "asked", x->n_answers > 0);
	json_u64(&j, "events", bundle_events_rows(x));
	json_bool(&j, "cut", c ? c->cut : true);
	json_bool(&j, "complete", bundle_events_complete(x));
	if (c) {
		json_u64(&j, "hosts_recorded", c->hosts);
		put_time(&j, "known_until", c->until_ns);
		put_missing(&j, c);
	}
	json_close(&j, '}');
	json_line(&j);
}
