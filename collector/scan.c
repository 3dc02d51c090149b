/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/scan.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "collector/filter.h"
#include "proto/actions.h"
#include "proto/base/reader.h"

/* An unpacked entry of BATCH_ENTRY_MAX bytes is larger than its bytes: a pointer for each element. */
#define ROW_ARENA_MAX MiB(16)
#define BATCH_ARENA_MAX MiB(48)

/* A process entry, unpacked when an event first names it. */
struct slot {
	const uint8_t *bytes;
	size_t len;
	Exhibit__V1__Process *process;
	bool tried;
	/* Only where somebody chooses by them. */
	struct scan_keys keys;
	enum { KEYS_UNREAD, KEYS_READ, KEYS_UNCLEAR } keys_state;
};

struct scan {
	ZSTD_DCtx *zstd;
	uint8_t *raw; /* BATCH_RAW_MAX */
	struct arena *batch; /* header, processes */
	struct arena *row; /* event, values */
	struct slot *slots; /* BATCH_ENTRIES_MAX, by order of appearance */
	size_t n_slots;
	scan_want_fn *want; /* NULL: every event */
};

int scan_new(struct scan **ret, struct error *e)
{
	AUTO(scan_free_ptr) struct scan *s = calloc(1, sizeof(*s));

	if (!s)
		return error_set(e, -ENOMEM, "cannot read batches: out of memory");
	s->zstd = ZSTD_createDCtx();
	s->raw = malloc(BATCH_RAW_MAX);
	s->batch = arena_new(BATCH_ARENA_MAX, MiB(1));
	s->row = arena_new(ROW_ARENA_MAX, KiB(256));
	s->slots = calloc(BATCH_ENTRIES_MAX, sizeof(*s->slots));
	if (!s->zstd || !s->raw || !s->batch || !s->row || !s->slots)
		return error_set(e, -ENOMEM, "cannot read batches: out of memory");
	*ret = TAKE(s);
	return 0;
}

void scan_free(struct scan *s)
{
	if (!s)
		return;
	(void)ZSTD_freeDCtx(s->zstd);
	free(s->raw);
	arena_free(s->batch);
	arena_free(s->row);
	free(s->slots);
	free(s);
}

static ProtobufCBinaryData bytes_of(const void *data, size_t len)
{
	/* protobuf-c has no const; nothing writes through it. */
	return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)(uintptr_t)data };
}

void scan_context(const struct store_ref *ref, const struct batch_header *h,
		  Exhibit__V1__BatchContext *ret)
{
	exhibit__v1__batch_context__init(ret);
	ret->tenant = bytes_of(ref->tenant.b, ref->tenant.len);
	ret->host_id = bytes_of(ref->host_id.b, ref->host_id.len);
	ret->host_name = bytes_of(h->host_name.b, h->host_name.len);
	ret->boot_id = bytes_of(ref->boot_id, sizeof(ref->boot_id));
	ret->epoch = bytes_of(ref->epoch, sizeof(ref->epoch));
	ret->lane = (Exhibit__V1__Lane)ref->lane;
	ret->number = ref->number;
	ret->offset_ns = ref->offset_ns;
	ret->ingested_ns = ref->received_ns;
	ret->conflict = ref->conflict;
}

/* ---- entries --------------------------------------------------------------------------------------- */

enum entry_kind { ENTRY_UNKNOWN, ENTRY_PROCESS, ENTRY_EVENT };

static void skip_field(struct reader *r, uint64_t tag)
{
	switch (tag & 7) {
	case 0:
		(void)reader_varint(r);
		break;
	case 1:
		reader_skip(r, 8);
		break;
	case 2:
		reader_skip(r, reader_varint(r));
		break;
	case 5:
		reader_skip(r, 4);
		break;
	default:
		r->bad = true;
	}
}

/* The message inside an Entry, by hand: its bytes are passed on as stored, not packed again. */
static enum entry_kind open_entry(const uint8_t *bytes, size_t len, const uint8_t **ret_inner,
				  size_t *ret_len)
{
	struct reader r = reader_init(bytes, len);
	enum entry_kind kind = ENTRY_UNKNOWN;

	while (r.left && !r.bad) {
		uint64_t tag = reader_varint(&r);

		if (tag != (1 << 3 | 2) && tag != (2 << 3 | 2)) {
			skip_field(&r, tag);
			continue;
		}
		kind = tag >> 3 == 1 ? ENTRY_PROCESS : ENTRY_EVENT;
		*ret_len = reader_varint(&r);
		*ret_inner = reader_bytes(&r, *ret_len);
	}
	return r.bad ? ENTRY_UNKNOWN : kind;
}

static const struct slot *slot_of(struct scan *s, uint32_t number)
{
	struct slot *slot;

	if (number == 0 || number > s->n_slots)
		return NULL;
	slot = &s->slots[number - 1];
	if (!slot->tried) {
		slot->tried = true;
		slot->process = exhibit__v1__process__unpack(arena_protobuf(s->batch), slot->len,
							     slot->bytes);
	}
	return slot->process ? slot : NULL;
}

/* ---- passing over --------------------------------------------------------------------------------- */

static void read_key(struct reader r, struct entity *ret)
{
	while (r.left && !r.bad) {
		uint64_t tag = reader_varint(&r);

		if (tag == 1 << 3)
			ret->pid = (uint32_t)reader_varint(&r);
		else if (tag == 2 << 3)
			ret->start_ns = reader_varint(&r);
		else if (tag == 3 << 3)
			ret->exec_id = reader_varint(&r);
		else
			skip_field(&r, tag);
	}
}

/* Where a field stands twice, unpacking has the last word: the keys are unclear, and the process is wanted. */
static void read_keys(struct slot *slot, const struct store_ref *ref)
{
	struct reader r = reader_init(slot->bytes, slot->len);
	unsigned int ids = 0, parents = 0;

	memcpy(slot->keys.id.boot_id, ref->boot_id, ENTITY_BOOT_LEN);
	memcpy(slot->keys.parent.boot_id, ref->boot_id, ENTITY_BOOT_LEN);
	while (r.left && !r.bad) {
		uint64_t tag = reader_varint(&r);

		if (tag == (1 << 3 | 2) && ids++ == 0)
			read_key(reader_sub(&r, reader_varint(&r)), &slot->keys.id);
		else if (tag == (2 << 3 | 2) && parents++ == 0)
			read_key(reader_sub(&r, reader_varint(&r)), &slot->keys.parent);
		else
			skip_field(&r, tag);
	}
	slot->keys.has_parent = slot->keys.parent.pid != 0;
	slot->keys_state = r.bad || ids > 1 || parents > 1 ? KEYS_UNCLEAR : KEYS_READ;
}

/* Which process entry an event names; false: not clear. */
static bool process_of(const uint8_t *bytes, size_t len, uint64_t *ret)
{
	struct reader r = reader_init(bytes, len);
	unsigned int n = 0;

	*ret = 0;
	while (r.left && !r.bad) {
		uint64_t tag = reader_varint(&r);

		if (tag != 4 << 3) {
			skip_field(&r, tag);
			continue;
		}
		*ret = reader_varint(&r);
		n++;
	}
	return !r.bad && n <= 1;
}

static bool wanted(struct scan *s, const struct store_ref *ref, void *ctx, const uint8_t *event,
		   size_t len)
{
	uint64_t number;
	struct slot *slot;

	if (!s->want || !process_of(event, len, &number) || number > s->n_slots)
		return true;
	if (number == 0)
		return false; /* of no process */
	slot = &s->slots[number - 1];
	if (slot->keys_state == KEYS_UNREAD)
		read_keys(slot, ref);
	return slot->keys_state == KEYS_UNCLEAR || s->want(ctx, &slot->keys);
}

void scan_set_want(struct scan *s, scan_want_fn *want)
{
	s->want = want;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
	return v < low ? low : v > high ? high : v;
}

/* What one batch's walk needs at hand. */
struct walk {
	struct scan *s;
	const struct store_ref *ref;
	const struct filter *filter;
	Exhibit__V1__BatchContext context;
	scan_fn *fn;
	void *ctx;
	struct scan_counts *counts;
};

static int visit_event(struct walk *w, const uint8_t *bytes, size_t len, uint32_t index)
{
	struct scan *s = w->s;
	const struct slot *slot;
	struct scan_row row = { .event = bytes, .event_len = len, .index = index };
	Exhibit__V1__Event *event;

	if (!wanted(s, w->ref, w->ctx, bytes, len)) {
		w->counts->events++;
		return 0;
	}
	arena_reset(s->row);
	event = exhibit__v1__event__unpack(arena_protobuf(s->row), len, bytes);
	if (!event) {
		w->counts->unreadable++;
		return 0;
	}
	w->counts->events++;
	w->counts->unknown += !action_by_number((uint32_t)event->action);
	slot = slot_of(s, event->process);
	if (slot) {
		row.process = slot->bytes;
		row.process_len = slot->len;
	}
	row.subject = (struct subject){ &w->context, event, slot ? slot->process : NULL, s->row,
					.failed = false };
	row.time_ns = clamp((int64_t)((uint64_t)w->ref->offset_ns + event->boottime_ns),
			    w->ref->first_wall_ns, w->ref->last_wall_ns);
	if (w->filter && !filter_match(w->filter, &row.subject))
		return row.subject.failed ? -ENOMEM : 0;
	return w->fn(w->ctx, &row);
}

static int visit_entries(struct walk *w, const uint8_t *raw, size_t raw_len, struct error *e)
{
	struct reader r = reader_init(raw, raw_len);
	const uint8_t *entry, *inner = NULL;
	size_t len, inner_len = 0;
	int result = 0;

	w->s->n_slots = 0;
	for (uint32_t i = 0; result == 0 && batch_next(&r, &entry, &len); i++) {
		switch (open_entry(entry, len, &inner, &inner_len)) {
		case ENTRY_PROCESS:
			if (w->s->n_slots < BATCH_ENTRIES_MAX)
				w->s->slots[w->s->n_slots++] =
					(struct slot){ .bytes = inner, .len = inner_len };
			break;
		case ENTRY_EVENT:
			result = visit_event(w, inner, inner_len, i);
			break;
		case ENTRY_UNKNOWN:
			w->counts->unreadable++;
			break;
		}
	}
	if (result == 0 && r.bad)
		return error_set(e, -EBADMSG, "batch %llu has entries that are cut short",
				 (unsigned long long)w->ref->number);
	return result;
}

/* ---- batches ----------------------------------------------------------------------------------------- */

static int decompress(struct scan *s, const struct batch_view *view, struct error *e)
{
	size_t n;

	if (view->header.raw_bytes > BATCH_RAW_MAX)
		return error_set(e, -EBADMSG, "batch %llu claims %u bytes",
				 (unsigned long long)view->header.number, view->header.raw_bytes);
	n = ZSTD_decompressDCtx(s->zstd, s->raw, view->header.raw_bytes, view->payload,
				view->payload_len);
	if (ZSTD_isError(n) || n != view->header.raw_bytes)
		return error_set(e, -EBADMSG, "batch %llu cannot be decompressed: %s",
				 (unsigned long long)view->header.number,
				 ZSTD_isError(n) ? ZSTD_getErrorName(n) : "too short");
	return 0;
}

int scan_bytes(struct scan *s, const struct store_ref *ref, const uint8_t *bytes, size_t len,
	       const struct filter *f, scan_fn *fn, void *ctx, struct scan_counts *counts,
	       struct error *e)
{
	struct walk w = { .s = s, .ref = ref, .filter = f, .fn = fn, .ctx = ctx, .counts = counts };
	struct batch_view view;
	int r;

	arena_reset(s->batch);
	r = batch_parse(bytes, len, s->batch, &view, e);
	if (r < 0)
		return r;
	if (view.header.raw_bytes) {
		r = decompress(s, &view, e);
		if (r < 0)
			return r;
	}
	if (f && !filter_may_match(f, s->raw, view.header.raw_bytes))
		return 0;
	scan_context(ref, &view.header, &w.context);
	return visit_entries(&w, s->raw, view.header.raw_bytes, e);
}

int scan_batch(struct scan *s, struct store *store, const struct store_ref *ref,
	       const struct filter *f, scan_fn *fn, void *ctx, struct scan_counts *counts,
	       struct error *e)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	size_t len;
	int r = store_read(store, ref, &bytes, &len, e);

	if (r < 0)
		return r;
	return scan_bytes(s, ref, bytes, len, f, fn, ctx, counts, e);
}
