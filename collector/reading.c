/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/reading.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static void note_fault(struct reading *r, const struct store_ref *ref, const struct error *why)
{
	struct missing *m = missing_add(r->missing, &ref->host_id, NULL);

	if (!m)
		return;
	m->has_count = ref->count > 0;
	m->count = ref->count;
	m->from_ns = ref->first_wall_ns;
	m->to_ns = ref->last_wall_ns;
	if (why->code == -ENOENT)
		(void)snprintf(m->reason, sizeof(m->reason),
			       "a batch was removed by retention while it was asked for");
	else
		(void)snprintf(m->reason, sizeof(m->reason),
			       "a stored batch cannot be read: %.200s", why->text);
}

int reading_batch(struct reading *r, const struct store_ref *ref, bool again, scan_fn *fn,
		  void *ctx, struct error *e)
{
	struct scan_counts counts = { 0 };
	struct error why = { 0 };
	int result;

	if (r->cancelled && r->cancelled(r->cancel_ctx))
		return error_set(e, -ECANCELED, "the question was cancelled");
	result = scan_batch(r->scan, r->store, ref, r->filter, fn, ctx, &counts, &why);
	if (!again) {
		r->unknown += counts.unknown;
		r->unreadable += counts.unreadable;
		r->batches++;
	}
	if (result == -ENOENT || result == -EBADMSG) {
		if (!again)
			note_fault(r, ref, &why);
		return 0;
	}
	if (result < 0 && e) {
		*e = why;
		if (!why.text[0])
			return error_set(e, result, "cannot read a batch: %m");
	}
	return result;
}

static void tell(struct reading *r, uint64_t count, const char *what)
{
	struct missing *m = count ? missing_add(r->missing, NULL, NULL) : NULL;

	if (!m)
		return;
	m->has_count = true;
	m->count = count;
	(void)snprintf(m->reason, sizeof(m->reason), "%" PRIu64 " stored %s", count, what);
}

void reading_end(struct reading *r)
{
	tell(r, r->unknown,
	     "events have an action that this collector does not know; they are shown as unknown");
	tell(r, r->unreadable, "entries cannot be read by this collector");
	r->unknown = r->unreadable = 0;
}
