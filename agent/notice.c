/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/notice.h"

#define TEXTS 9

static struct bytes *const *texts_of(struct event_order *o, struct bytes *ret[static TEXTS + 1])
{
	ret[0] = &o->order_id;
	ret[1] = &o->reason;
	ret[2] = &o->requester;
	ret[3] = &o->case_id;
	ret[4] = &o->exhibit_id;
	ret[5] = &o->manifest_sha256;
	ret[6] = &o->order_sha256;
	ret[7] = &o->actor;
	ret[8] = &o->certificate_sha256;
	ret[TEXTS] = NULL;
	return ret;
}

struct notice *notice_new(const struct event_order *order, uint32_t action, uint32_t error,
			  uint64_t boottime_ns)
{
	struct event_order copy = *order;
	struct bytes *texts[TEXTS + 1];
	size_t sum = 0, at = 0;

	for (struct bytes *const *t = texts_of(&copy, texts); *t != NULL; t++) {
		if ((*t)->len > NOTICE_TEXT_MAX)
			(*t)->len = NOTICE_TEXT_MAX;
		sum += (*t)->len;
	}
	struct notice *n = malloc(sizeof(*n) + sum);

	if (n == NULL)
		return NULL;
	for (struct bytes *const *t = texts_of(&copy, texts); *t != NULL; t++) {
		if ((*t)->len == 0)
			continue;
		memcpy(n->text + at, (*t)->at, (*t)->len);
		(*t)->at = n->text + at;
		at += (*t)->len;
	}
	n->order = copy;
	n->action = action;
	n->error = error;
	n->boottime_ns = boottime_ns;
	return n;
}

void notice_free(struct notice *n)
{
	free(n);
}
