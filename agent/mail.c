/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/mail.h"

#include <errno.h>

struct mail *mail_new(enum link_kind kind, const void *body, size_t len, int fd)
{
	struct mail *m = calloc(1, sizeof(*m));

	if (m != NULL)
		*m = (struct mail){ .kind = kind, .body = malloc(len + 1), .len = len, .fd = fd };
	if (m == NULL || m->body == NULL) {
		close_fd(&fd);
		free(m);
		return NULL;
	}
	if (len > 0)
		memcpy(m->body, body, len);
	return m;
}

void mail_free(struct mail *m)
{
	if (m == NULL)
		return;
	close_fd(&m->fd);
	free(m->body);
	free(m);
}

int mailbox_init(struct mailbox *b, struct error *e)
{
	b->in = queue_new(MAIL_MAX);
	b->out = queue_new(MAIL_MAX);
	if (b->in != NULL && b->out != NULL)
		return 0;
	mailbox_release(b);
	return error_set(e, -ENOMEM, "cannot take orders: out of memory");
}

static void release_queue(struct queue *q)
{
	if (q == NULL)
		return;
	for (struct mail *m; (m = queue_pop(q, 0)) != NULL;)
		mail_free(m);
	queue_free(q);
}

void mailbox_release(struct mailbox *b)
{
	release_queue(b->in);
	release_queue(b->out);
	*b = (struct mailbox){ 0 };
}
