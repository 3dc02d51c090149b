/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/frame_id.h"

static int of_batch(const void *bytes, size_t len, struct arena *a, struct window_id *ret,
		    struct error *e)
{
	struct batch_view v;
	int r = batch_parse(bytes, len, a, &v, e);

	if (r < 0)
		return r;
	*ret = (struct window_id){ .number = v.header.number, .hash = v.hash };
	memcpy(ret->boot_id, v.header.boot_id, sizeof(ret->boot_id));
	memcpy(ret->epoch, v.header.epoch, sizeof(ret->epoch));
	return 0;
}

static int of_tombstone(const void *bytes, size_t len, struct arena *a, struct window_id *ret,
			struct error *e)
{
	struct batch_tombstone t;
	int r = batch_open_tombstone(bytes, len, NULL, a, &t, e);

	if (r < 0)
		return r;
	const struct batch_dropped *last = &t.dropped[t.n_dropped - 1];

	*ret = (struct window_id){ .number = last->number, .hash = last->header_hash };
	memcpy(ret->boot_id, t.boot_id, sizeof(ret->boot_id));
	memcpy(ret->epoch, t.epoch, sizeof(ret->epoch));
	return 0;
}

int frame_id(enum journal_kind kind, const void *bytes, size_t len, struct arena *a,
	     struct window_id *ret, struct error *e)
{
	arena_reset(a);
	return kind == JOURNAL_BATCH ? of_batch(bytes, len, a, ret, e) :
				       of_tombstone(bytes, len, a, ret, e);
}
