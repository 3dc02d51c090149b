/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/row_set.h"

#include <errno.h>
#include <string.h>

static struct row_context *context_new(const struct store_ref *ref,
				       const Exhibit__V1__BatchContext *from)
{
	struct row_context *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->users = 1;
	c->ref = *ref;
	c->host_name.len = (uint8_t)(from->host_name.len < BATCH_NAME_MAX ? from->host_name.len :
									    BATCH_NAME_MAX);
	if (c->host_name.len)
		memcpy(c->host_name.b, from->host_name.data, c->host_name.len);
	c->message = *from;
	c->message.tenant = (ProtobufCBinaryData){ c->ref.tenant.len, c->ref.tenant.b };
	c->message.host_id = (ProtobufCBinaryData){ c->ref.host_id.len, c->ref.host_id.b };
	c->message.host_name = (ProtobufCBinaryData){ c->host_name.len, c->host_name.b };
	c->message.boot_id = (ProtobufCBinaryData){ sizeof(c->ref.boot_id), c->ref.boot_id };
	c->message.epoch = (ProtobufCBinaryData){ sizeof(c->ref.epoch), c->ref.epoch };
	return c;
}

static void context_drop(struct row_context *c)
{
	if (c && --c->users == 0)
		free(c);
}

static void process_drop(struct row_process *p)
{
	if (p && --p->users == 0)
		free(p);
}

/* Memory that goes when the row goes: its process counts for whoever holds it last. */
static size_t weight(const struct kept_row *r)
{
	return sizeof(*r) + r->event_len + sizeof(void *) +
	       (r->process && r->process->users == 1 ? r->process->len : 0);
}

void kept_row_free(struct kept_row *r)
{
	if (!r)
		return;
	context_drop(r->context);
	process_drop(r->process);
	free(r);
}

/* Events of one process mostly follow one another: the last one's copy is shared. */
static int share_process(struct row_set *s, const struct scan_row *row, struct row_process **ret)
{
	*ret = NULL;
	if (!row->process)
		return 0;
	if (s->last_process != row->process) {
		struct row_process *p = malloc(sizeof(*p) + row->process_len);

		if (!p)
			return -ENOMEM;
		*p = (struct row_process){ .users = 1, .len = row->process_len };
		memcpy(p->bytes, row->process, row->process_len);
		process_drop(s->last);
		s->last = p;
		s->last_process = row->process;
		s->bytes += p->len;
	}
	s->last->users++;
	*ret = s->last;
	return 0;
}

static int make_room(struct row_set *s)
{
	size_t cap = s->cap ? s->cap * 2 : 16;
	struct kept_row **rows;

	if (s->n < s->cap)
		return 0;
	rows = reallocarray(s->rows, cap, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	s->rows = rows;
	s->cap = cap;
	return 0;
}

int row_set_add(struct row_set *s, const struct scan_row *row, const struct row_key *key)
{
	struct kept_row *r;

	if (!s->context)
		s->context = context_new(s->ref, row->subject.context);
	if (!s->context || make_room(s) < 0)
		return -ENOMEM;
	r = malloc(sizeof(*r) + row->event_len);
	if (!r)
		return -ENOMEM;
	*r = (struct kept_row){ .key = *key, .event_len = row->event_len };
	if (share_process(s, row, &r->process) < 0) {
		free(r);
		return -ENOMEM;
	}
	memcpy(r->event, row->event, row->event_len);
	r->context = s->context;
	r->context->users++;
	s->rows[s->n++] = r;
	s->bytes += sizeof(*r) + r->event_len + sizeof(void *);
	return 0;
}

static int by_key(const void *a, const void *b)
{
	return row_key_compare(&(*(struct kept_row *const *)a)->key,
			       &(*(struct kept_row *const *)b)->key);
}

void row_set_sort(struct row_set *s)
{
	process_drop(s->last);
	s->last = NULL;
	s->last_process = NULL;
	if (s->n > 1)
		qsort(s->rows, s->n, sizeof(*s->rows), by_key);
}

static void lighten(struct row_set *s, const struct kept_row *r)
{
	size_t w = weight(r);

	s->bytes -= w < s->bytes ? w : s->bytes;
}

struct kept_row *row_set_take(struct row_set *s)
{
	struct kept_row *r;

	if (s->next == s->n)
		return NULL;
	r = s->rows[s->next++];
	lighten(s, r);
	return r;
}

void row_set_cut(struct row_set *s, const struct row_key *key)
{
	while (s->n > s->next && row_key_compare(&s->rows[s->n - 1]->key, key) >= 0) {
		struct kept_row *r = s->rows[--s->n];

		lighten(s, r);
		kept_row_free(r);
	}
}

void row_set_release(struct row_set *s)
{
	for (; s->next < s->n; s->next++)
		kept_row_free(s->rows[s->next]);
	process_drop(s->last);
	context_drop(s->context);
	free(s->rows);
	*s = (struct row_set){ 0 };
}
