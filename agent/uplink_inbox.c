/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/uplink_inbox.h"

#include <stdio.h>

struct inbox_call {
	struct queue *to;
	uint64_t stream_no;
	size_t max_message;
	struct inbox_item *end; /* made in advance: the end must be told */
};

void inbox_item_free(struct inbox_item *i)
{
	free(i->data);
	free(i);
}

struct inbox_call *inbox_call_new(struct queue *to, uint64_t stream_no, size_t max_message)
{
	struct inbox_call *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	*c = (struct inbox_call){ .to = to,
				  .stream_no = stream_no,
				  .max_message = max_message,
				  .end = calloc(1, sizeof(*c->end)) };
	if (c->end != NULL)
		return c;
	free(c);
	return NULL;
}

void inbox_call_free(struct inbox_call *c)
{
	free(c->end);
	free(c);
}

static void put(struct inbox_call *c, struct inbox_item *i, enum inbox_kind kind)
{
	i->kind = kind;
	i->stream_no = c->stream_no;
	if (!queue_push(c->to, i))
		inbox_item_free(i); /* closed: the uplink ends */
}

/* Without memory, or too long for anything that we know: begin anew. */
static void on_message(struct rpc_stream *s, uint8_t *data, size_t len, void *ctx)
{
	struct inbox_call *c = ctx;
	struct inbox_item *i = len > c->max_message ? NULL : calloc(1, sizeof(*i));

	if (i == NULL) {
		free(data);
		rpc_stream_cancel(s);
		return;
	}
	i->data = data;
	i->len = len;
	put(c, i, INBOX_MESSAGE);
}

static void on_sendable(struct rpc_stream *s, void *ctx)
{
	struct inbox_item *i = calloc(1, sizeof(*i));

	if (i == NULL)
		rpc_stream_cancel(s);
	else
		put(ctx, i, INBOX_SENDABLE);
}

static void on_closed(struct rpc_stream *s, enum rpc_status status, const char *text, void *ctx)
{
	struct inbox_call *c = ctx;

	(void)s;
	c->end->status = status;
	(void)snprintf(c->end->text, sizeof(c->end->text), "%s", text);
	put(c, TAKE(c->end), INBOX_CLOSED);
	inbox_call_free(c);
}

const struct rpc_stream_ops inbox_ops = {
	.on_message = on_message,
	.on_sendable = on_sendable,
	.on_closed = on_closed,
};
