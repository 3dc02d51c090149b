/* SPDX-License-Identifier: Apache-2.0 */
/* What the seal thread, which owns the link, and the orders thread pass to each other: messages of the link with
 * what they own. Sealing never waits for it. Any thread. */
#ifndef AGENT_MAIL_H
#define AGENT_MAIL_H

#include "agent/link.h"
#include "proto/base/queue.h"

#define MAIL_MAX 256 /* each way */

struct mail {
	enum link_kind kind;
	bool new_link; /* to orders: an uplink has started; kind says nothing */
	uint8_t *body;
	size_t len;
	int fd; /* -1: none */
};

/* A copy of body; fd: taken over, also on failure. NULL: out of memory. */
struct mail *mail_new(enum link_kind kind, const void *body, size_t len, int fd);
void mail_free(struct mail *m); /* closes fd; NULL allowed */

struct mailbox {
	struct queue *in; /* to orders */
	struct queue *out; /* to the link */
};

MUST_CHECK int mailbox_init(struct mailbox *b, struct error *e);
void mailbox_release(struct mailbox *b); /* what is left in it is freed; zeroed allowed */

#endif
