/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/answer.h"

#include <errno.h>
#include <string.h>

#include "proto/base/arena.h"

#define ROWS_MAX 256 /* of one message */
#define BYTES_CLOSE KiB(64) /* ... or so many bytes; one more row keeps it below RPC_MESSAGE_MAX */
#define ARENA_MAX MiB(2)

struct page {
	Exhibit__V1__EventsPage message;
	Exhibit__V1__BatchContext context;
	Exhibit__V1__Row *rows[ROWS_MAX];
};

struct answer {
	struct answer_sink sink;
	struct arena *arena; /* everything of the message being built */
	struct page *page; /* the last one */
	Exhibit__V1__EventsPage *pages[ROWS_MAX];
	size_t n_pages, n_rows, bytes;
	uint64_t total;
};

int answer_new(const struct answer_sink *sink, struct answer **ret, struct error *e)
{
	AUTO(answer_free_ptr) struct answer *a = calloc(1, sizeof(*a));

	if (a)
		a->arena = arena_new(ARENA_MAX, ARENA_MAX);
	if (!a || !a->arena)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	a->sink = *sink;
	*ret = TAKE(a);
	return 0;
}

void answer_free(struct answer *a)
{
	if (!a)
		return;
	arena_free(a->arena);
	free(a);
}

static bool copy(struct answer *a, const void *data, size_t len, ProtobufCBinaryData *ret)
{
	*ret = (ProtobufCBinaryData){ .len = len,
				      .data = len ? arena_copy(a->arena, data, len) : NULL };
	a->bytes += len + 8;
	return !len || ret->data;
}

static bool copy_same(struct answer *a, const ProtobufCBinaryData *from, ProtobufCBinaryData *ret)
{
	return copy(a, from->data, from->len, ret);
}

static bool same(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool same_batch(const Exhibit__V1__BatchContext *a, const Exhibit__V1__BatchContext *b)
{
	return a->number == b->number && a->lane == b->lane && a->ingested_ns == b->ingested_ns &&
	       a->offset_ns == b->offset_ns && a->conflict == b->conflict &&
	       same(&a->host_id, &b->host_id) && same(&a->boot_id, &b->boot_id) &&
	       same(&a->epoch, &b->epoch);
}

static int open_page(struct answer *a, const Exhibit__V1__BatchContext *from)
{
	struct page *p;

	if (a->page && same_batch(&a->page->context, from))
		return 0;
	/* Room for the rows that this message can still take. */
	p = arena_alloc(a->arena,
			offsetof(struct page, rows) + (ROWS_MAX - a->n_rows) * sizeof(p->rows[0]));
	if (!p)
		return -ENOMEM;
	exhibit__v1__events_page__init(&p->message);
	p->context = *from;
	if (!copy_same(a, &from->tenant, &p->context.tenant) ||
	    !copy_same(a, &from->host_id, &p->context.host_id) ||
	    !copy_same(a, &from->host_name, &p->context.host_name) ||
	    !copy_same(a, &from->boot_id, &p->context.boot_id) ||
	    !copy_same(a, &from->epoch, &p->context.epoch))
		return -ENOMEM;
	p->message.context = &p->context;
	p->message.rows = p->rows;
	a->pages[a->n_pages++] = &p->message;
	a->page = p;
	return 0;
}

static int add_row(struct answer *a, const struct answer_row *from)
{
	Exhibit__V1__Row *row = arena_alloc(a->arena, sizeof(*row));
	int r = row ? open_page(a, from->context) : -ENOMEM;

	if (r < 0)
		return r;
	exhibit__v1__row__init(row);
	row->depth = from->depth;
	row->focus = from->focus;
	row->exited_ns = from->exited_ns;
	row->ended_unwatched = from->ended_unwatched;
	if (!copy(a, from->event, from->event_len, &row->event) ||
	    !copy(a, from->process, from->process ? from->process_len : 0, &row->process))
		return -ENOMEM;
	if (from->key && !copy(a, from->key->b, sizeof(from->key->b), &a->page->message.cursor))
		return -ENOMEM;
	a->page->rows[a->page->message.n_rows++] = row;
	a->n_rows++;
	a->total++;
	return 0;
}

int answer_row(struct answer *a, const struct answer_row *row)
{
	int r = add_row(a, row);

	if (r < 0)
		return r;
	return a->n_rows == ROWS_MAX || a->bytes >= BYTES_CLOSE ? answer_flush(a) : 0;
}

uint64_t answer_rows(const struct answer *a)
{
	return a->total;
}

static int send_message(struct answer *a, Exhibit__V1__Completeness *completeness)
{
	Exhibit__V1__EventsAnswer message = EXHIBIT__V1__EVENTS_ANSWER__INIT;
	size_t len;
	uint8_t *data;

	message.n_pages = a->n_pages;
	message.pages = a->pages;
	message.completeness = completeness;
	len = exhibit__v1__events_answer__get_packed_size(&message);
	data = malloc(len + 1);
	if (!data)
		return -ENOMEM;
	(void)exhibit__v1__events_answer__pack(&message, data);
	arena_reset(a->arena);
	a->page = NULL;
	a->n_pages = a->n_rows = a->bytes = 0;
	return a->sink.send(a->sink.ctx, data, len);
}

int answer_flush(struct answer *a)
{
	return a->n_rows ? send_message(a, NULL) : 0;
}

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}

int answer_completeness(const struct completeness *c, const struct missing_list *missing,
			struct answer_missing *storage, Exhibit__V1__Completeness *out)
{
	exhibit__v1__completeness__init(out);
	storage->rows = calloc(missing->n + 1, sizeof(*storage->rows));
	storage->pointers = calloc(missing->n + 1, sizeof(*storage->pointers));
	storage->later = calloc(c->n_later + 1, sizeof(*storage->later));
	storage->later_pointers = calloc(c->n_later + 1, sizeof(*storage->later_pointers));
	if (!storage->rows || !storage->pointers || !storage->later || !storage->later_pointers)
		return -ENOMEM;
	for (size_t i = 0; i < missing->n; i++) {
		const struct missing *m = &missing->items[i];
		Exhibit__V1__Incomplete *row = &storage->rows[i];

		exhibit__v1__incomplete__init(row);
		row->host_id = borrowed(m->host_id.b, m->host_id.len);
		row->host_name = borrowed(m->host_name.b, m->host_name.len);
		row->reason = borrowed(m->reason, strlen(m->reason));
		row->class_ = (Exhibit__V1__Class)m->class;
		if (m->has_count) {
			row->has_count_case = EXHIBIT__V1__INCOMPLETE__HAS_COUNT_COUNT;
			row->count = m->count;
		}
		row->from_ns = m->from_ns;
		row->to_ns = m->to_ns;
		storage->pointers[i] = row;
	}
	for (size_t i = 0; i < c->n_later; i++) {
		Exhibit__V1__RecordBegin *row = &storage->later[i];

		exhibit__v1__record_begin__init(row);
		row->host_id = borrowed(c->later[i].host_id.b, c->later[i].host_id.len);
		row->host_name = borrowed(c->later[i].host_name.b, c->later[i].host_name.len);
		row->since_ns = c->later[i].since_ns;
		storage->later_pointers[i] = row;
	}
	out->later = storage->later_pointers;
	out->n_later = c->n_later;
	out->later_total = c->later_total;
	out->hosts = c->hosts;
	out->since_ns = c->since_ns;
	out->until_ns = c->until_ns;
	out->missing = storage->pointers;
	out->n_missing = missing->n;
	out->missing_total = missing->total;
	return 0;
}

void answer_missing_release(struct answer_missing *m)
{
	free(m->rows);
	free(m->pointers);
	free(m->later);
	free(m->later_pointers);
}

int answer_complete(struct answer *a, const struct completeness *c,
		    const struct missing_list *missing, bool cut)
{
	AUTO(answer_missing_release) struct answer_missing storage = { 0 };
	Exhibit__V1__Completeness message;
	int r = answer_flush(a);

	if (r < 0)
		return r;
	r = answer_completeness(c, missing, &storage, &message);
	if (r < 0)
		return r;
	message.cut = cut;
	message.rows = a->total;
	return send_message(a, &message);
}
