/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/entries.h"

#include <errno.h>
#include <inttypes.h>

#include "proto/actions.h"
#include "proto/wire.h"

/* Field numbers of event.proto. */
enum { ENTRY_PROCESS = 1, ENTRY_EVENT = 2 };
enum { EVENT_SEQUENCE = 1, EVENT_ACTION = 3, EVENT_PROCESS = 4 };

struct tally {
	const struct batch_header *h;
	uint64_t events, gaps, processes;
};

static int check_event(struct tally *t, const uint8_t *bytes, size_t len, struct error *e)
{
	struct reader r = reader_init(bytes, len);
	uint64_t sequence = 0, action = 0, process = 0;
	struct wire_field f;

	while (wire_next(&r, &f)) {
		if (f.type != WIRE_VARINT)
			continue;
		if (f.number == EVENT_SEQUENCE)
			sequence = f.value;
		else if (f.number == EVENT_ACTION)
			action = f.value;
		else if (f.number == EVENT_PROCESS)
			process = f.value;
	}
	if (r.bad)
		return error_set(e, -EBADMSG, "an event of batch %" PRIu64 " cannot be read",
				 t->h->number);
	if (sequence != t->h->first_sequence + t->events)
		return error_set(e, -EBADMSG,
				 "batch %" PRIu64 " holds sequence %" PRIu64 " where %" PRIu64
				 " must stand",
				 t->h->number, sequence, t->h->first_sequence + t->events);
	if (process > t->processes)
		return error_set(e, -EBADMSG,
				 "an event of batch %" PRIu64 " names a process that was not said",
				 t->h->number);
	t->events++;
	t->gaps += action == ACTION_GAP;
	return 0;
}

static int check_entry(struct tally *t, const uint8_t *entry, size_t len, struct error *e)
{
	struct reader r = reader_init(entry, len);
	struct wire_field f, kind = { 0 };

	while (wire_next(&r, &f))
		if (f.type == WIRE_LEN && f.number <= ENTRY_EVENT)
			kind = f; /* the last of a oneof counts */
	if (r.bad)
		return error_set(e, -EBADMSG, "an entry of batch %" PRIu64 " cannot be read",
				 t->h->number);
	if (kind.number == ENTRY_EVENT)
		return check_event(t, kind.bytes, kind.len, e);
	t->processes += kind.number == ENTRY_PROCESS;
	return 0; /* other kinds are of a later protocol: kept, and shown as unknown */
}

int entries_check(const struct batch_header *h, const uint8_t *raw, size_t raw_len, struct error *e)
{
	struct reader r = reader_init(raw, raw_len);
	struct tally t = { .h = h };
	const uint8_t *entry;
	size_t len;

	while (batch_next(&r, &entry, &len)) {
		int code = check_entry(&t, entry, len, e);

		if (code < 0)
			return code;
	}
	if (t.events != h->count)
		return error_set(e, -EBADMSG,
				 "batch %" PRIu64 " holds %" PRIu64
				 " events, its header says %" PRIu32,
				 h->number, t.events, h->count);
	if (t.gaps != h->gaps)
		return error_set(e, -EBADMSG,
				 "batch %" PRIu64 " holds %" PRIu64
				 " gaps, its header says %" PRIu32,
				 h->number, t.gaps, h->gaps);
	return 0;
}
