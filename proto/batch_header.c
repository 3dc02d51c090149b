/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/batch_header.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "batch.pb-c.h"

#define BYTES(p, n) ((ProtobufCBinaryData){ .len = (n), .data = (uint8_t *)(uintptr_t)(p) })

bool batch_take_name(const uint8_t *bytes, size_t len, size_t min, struct batch_name *ret)
{
	if (len < min || len > BATCH_NAME_MAX)
		return false;
	ret->len = (uint8_t)len;
	if (len > 0)
		memcpy(ret->b, bytes, len);
	return true;
}

bool batch_take_fixed(const uint8_t *bytes, size_t len, void *ret, size_t want)
{
	if (len != want)
		return false;
	if (want > 0)
		memcpy(ret, bytes, want);
	return true;
}

static int check_sequences(const struct batch_header *h, struct error *e)
{
	if (h->count == 0)
		return h->first_sequence == 0 && h->last_sequence == 0 ?
			       0 :
			       error_set(
				       e, -EINVAL,
				       "first_sequence and last_sequence are not 0 without an event");
	if (h->first_sequence == 0 || h->last_sequence < h->first_sequence ||
	    h->last_sequence - h->first_sequence != h->count - 1u)
		return error_set(e, -EINVAL,
				 "first_sequence %" PRIu64 " and last_sequence %" PRIu64
				 " do not span count %u",
				 h->first_sequence, h->last_sequence, h->count);
	return 0;
}

static int check_times(const struct batch_header *h, struct error *e)
{
	if (h->first_boottime_ns > h->last_boottime_ns)
		return error_set(e, -EINVAL, "first_boottime_ns is later than last_boottime_ns");
	if (h->last_boottime_ns > BATCH_BOOTTIME_MAX ||
	    h->sealed_boottime_ns > BATCH_BOOTTIME_MAX || h->watermark_ns > BATCH_BOOTTIME_MAX)
		return error_set(e, -EINVAL, "a boottime is beyond 2^61 ns");
	if (h->sealed_wall_ns > BATCH_WALL_MAX || h->sealed_wall_ns < -BATCH_WALL_MAX)
		return error_set(e, -EINVAL, "sealed_wall_ns is beyond 2^62 ns");
	return 0;
}

int batch_header_check(const struct batch_header *h, struct error *e)
{
	int r;

	if (h->tenant.len == 0 || h->host_id.len == 0)
		return error_set(e, -EINVAL, "%s is empty",
				 h->tenant.len == 0 ? "tenant" : "host_id");
	if (h->lane != BATCH_LANE_CRITICAL && h->lane != BATCH_LANE_BULK)
		return error_set(e, -EINVAL, "lane %u does not exist", (unsigned int)h->lane);
	if (h->number == 0)
		return error_set(e, -EINVAL, "number is 0");
	if (!h->has_previous && h->number != 1)
		return error_set(e, -EINVAL, "previous_hash is absent from number %" PRIu64,
				 h->number);
	if (h->entries > BATCH_ENTRIES_MAX || h->count > BATCH_EVENTS_MAX)
		return error_set(e, -EINVAL, "count %u of entries %u: the most are %d of %d",
				 h->count, h->entries, BATCH_EVENTS_MAX, BATCH_ENTRIES_MAX);
	if (h->count > h->entries || h->gaps > h->count)
		return error_set(e, -EINVAL,
				 "gaps %u, count %u and entries %u contradict each other", h->gaps,
				 h->count, h->entries);
	if (h->raw_bytes > BATCH_RAW_MAX)
		return error_set(e, -EINVAL, "raw_bytes %u: the most are %u", h->raw_bytes,
				 (unsigned int)BATCH_RAW_MAX);
	if (h->n_rings > BATCH_RINGS_MAX)
		return error_set(e, -EINVAL, "%zu rings: the most are %d", h->n_rings,
				 BATCH_RINGS_MAX);
	r = check_sequences(h, e);
	return r < 0 ? r : check_times(h, e);
}

/* The messages for rings, and the pointers to them that protobuf-c wants. */
static int pack_rings(const struct batch_header *h, struct arena *a, Exhibit__V1__BatchHeader *m)
{
	Exhibit__V1__RingReached *rings = arena_alloc(a, h->n_rings * sizeof(*rings));

	m->rings = arena_alloc(a, h->n_rings * sizeof(*m->rings));
	if (!rings || !m->rings)
		return -ENOMEM;
	m->n_rings = h->n_rings;
	for (size_t i = 0; i < h->n_rings; i++) {
		exhibit__v1__ring_reached__init(&rings[i]);
		rings[i].ring = h->rings[i].ring;
		rings[i].cpu = h->rings[i].cpu;
		rings[i].sequence = h->rings[i].sequence;
		m->rings[i] = &rings[i];
	}
	return 0;
}

static void to_message(const struct batch_header *h, Exhibit__V1__BatchHeader *m)
{
	exhibit__v1__batch_header__init(m);
	m->version = BATCH_VERSION;
	m->tenant = BYTES(h->tenant.b, h->tenant.len);
	m->host_id = BYTES(h->host_id.b, h->host_id.len);
	m->host_name = BYTES(h->host_name.b, h->host_name.len);
	m->boot_id = BYTES(h->boot_id, sizeof(h->boot_id));
	m->epoch = BYTES(h->epoch, sizeof(h->epoch));
	m->lane = (Exhibit__V1__Lane)h->lane;
	m->number = h->number;
	m->first_sequence = h->first_sequence;
	m->last_sequence = h->last_sequence;
	m->count = h->count;
	m->entries = h->entries;
	m->gaps = h->gaps;
	m->first_boottime_ns = h->first_boottime_ns;
	m->last_boottime_ns = h->last_boottime_ns;
	m->sealed_boottime_ns = h->sealed_boottime_ns;
	m->sealed_wall_ns = h->sealed_wall_ns;
	m->synchronised = h->synchronised;
	m->watermark_ns = h->watermark_ns;
	m->previous_hash = BYTES(h->previous.b, h->has_previous ? sizeof(h->previous.b) : 0);
	m->last_checkpoint =
		BYTES(h->last_checkpoint.b, h->has_checkpoint ? sizeof(h->last_checkpoint.b) : 0);
	m->raw_bytes = h->raw_bytes;
	m->raw_sha256 = BYTES(h->raw_sha256.b, sizeof(h->raw_sha256.b));
	m->compressed_bytes = h->compressed_bytes;
	m->compressed_sha256 = BYTES(h->compressed_sha256.b, sizeof(h->compressed_sha256.b));
	m->merkle_root = BYTES(h->merkle_root.b, sizeof(h->merkle_root.b));
	m->key_id = BYTES(h->key_id, sizeof(h->key_id));
}

int batch_header_pack(const struct batch_header *h, struct arena *a, const uint8_t **ret_bytes,
		      size_t *ret_len, struct error *e)
{
	Exhibit__V1__BatchHeader m;
	uint8_t *bytes;
	size_t len;

	to_message(h, &m);
	if (pack_rings(h, a, &m) < 0)
		return error_set(e, -ENOMEM, "cannot pack a batch header: %m");
	len = exhibit__v1__batch_header__get_packed_size(&m);
	bytes = arena_alloc(a, len);
	if (!bytes)
		return error_set(e, -ENOMEM, "cannot pack a batch header: %m");
	*ret_len = exhibit__v1__batch_header__pack(&m, bytes);
	*ret_bytes = bytes;
	return 0;
}

struct fixed_field {
	const char *name;
	const ProtobufCBinaryData *from;
	void *to;
	size_t len;
};

static int take_fixed_fields(const Exhibit__V1__BatchHeader *m, struct batch_header *h,
			     struct error *e)
{
	const struct fixed_field fields[] = {
		{ "boot_id", &m->boot_id, h->boot_id, sizeof(h->boot_id) },
		{ "epoch", &m->epoch, h->epoch, sizeof(h->epoch) },
		{ "raw_sha256", &m->raw_sha256, h->raw_sha256.b, sizeof(h->raw_sha256.b) },
		{ "compressed_sha256", &m->compressed_sha256, h->compressed_sha256.b,
		  sizeof(h->compressed_sha256.b) },
		{ "merkle_root", &m->merkle_root, h->merkle_root.b, sizeof(h->merkle_root.b) },
		{ "key_id", &m->key_id, h->key_id, sizeof(h->key_id) },
		{ "previous_hash", &m->previous_hash, h->previous.b,
		  h->has_previous ? sizeof(h->previous.b) : 0 },
		{ "last_checkpoint", &m->last_checkpoint, h->last_checkpoint.b,
		  h->has_checkpoint ? sizeof(h->last_checkpoint.b) : 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		const struct fixed_field *f = &fields[i];

		if (!batch_take_fixed(f->from->data, f->from->len, f->to, f->len))
			return error_set(e, -EBADMSG, "%s has %zu bytes instead of %zu", f->name,
					 f->from->len, f->len);
	}
	return 0;
}

static int take_names(const Exhibit__V1__BatchHeader *m, struct batch_header *h, struct error *e)
{
	if (!batch_take_name(m->tenant.data, m->tenant.len, 1, &h->tenant))
		return error_set(e, -EBADMSG, "tenant has %zu bytes", m->tenant.len);
	if (!batch_take_name(m->host_id.data, m->host_id.len, 1, &h->host_id))
		return error_set(e, -EBADMSG, "host_id has %zu bytes", m->host_id.len);
	if (!batch_take_name(m->host_name.data, m->host_name.len, 0, &h->host_name))
		return error_set(e, -EBADMSG, "host_name has %zu bytes", m->host_name.len);
	return 0;
}

static int take_rings(const Exhibit__V1__BatchHeader *m, struct arena *a, struct batch_header *h,
		      struct error *e)
{
	struct batch_ring *rings;

	if (m->n_rings > BATCH_RINGS_MAX)
		return error_set(e, -EBADMSG, "%zu rings: the most are %d", m->n_rings,
				 BATCH_RINGS_MAX);
	rings = arena_alloc(a, m->n_rings * sizeof(*rings));
	if (!rings)
		return error_set(e, -ENOMEM, "cannot read a batch header: %m");
	for (size_t i = 0; i < m->n_rings; i++)
		rings[i] = (struct batch_ring){ .ring = m->rings[i]->ring,
						.cpu = m->rings[i]->cpu,
						.sequence = m->rings[i]->sequence };
	h->rings = rings;
	h->n_rings = m->n_rings;
	return 0;
}

static void take_numbers(const Exhibit__V1__BatchHeader *m, struct batch_header *h)
{
	h->lane = (enum batch_lane)m->lane;
	h->number = m->number;
	h->first_sequence = m->first_sequence;
	h->last_sequence = m->last_sequence;
	h->count = m->count;
	h->entries = m->entries;
	h->gaps = m->gaps;
	h->first_boottime_ns = m->first_boottime_ns;
	h->last_boottime_ns = m->last_boottime_ns;
	h->sealed_boottime_ns = m->sealed_boottime_ns;
	h->sealed_wall_ns = m->sealed_wall_ns;
	h->synchronised = m->synchronised;
	h->watermark_ns = m->watermark_ns;
	h->raw_bytes = m->raw_bytes;
	h->compressed_bytes = m->compressed_bytes;
	h->has_previous = m->previous_hash.len > 0;
	h->has_checkpoint = m->last_checkpoint.len > 0;
}

static int from_message(const Exhibit__V1__BatchHeader *m, struct arena *a, struct batch_header *h,
			struct error *e)
{
	int r;

	if (m->version != BATCH_VERSION)
		return error_set(e, -EPROTONOSUPPORT, "version %u; this program knows version %d",
				 m->version, BATCH_VERSION);
	take_numbers(m, h);
	r = take_names(m, h, e);
	if (r == 0)
		r = take_fixed_fields(m, h, e);
	if (r == 0)
		r = take_rings(m, a, h, e);
	if (r < 0)
		return r;
	return batch_header_check(h, e) < 0 ? -EBADMSG : 0;
}

int batch_header_parse(const uint8_t *bytes, size_t len, struct arena *a,
		       struct batch_header *ret_h, struct error *e)
{
	Exhibit__V1__BatchHeader *m;
	int r;

	memset(ret_h, 0, sizeof(*ret_h));
	if (len > BATCH_HEADER_MAX)
		return error_set(e, -EBADMSG,
				 "false batch: its header has %zu bytes, the most are %u", len,
				 (unsigned int)BATCH_HEADER_MAX);
	m = exhibit__v1__batch_header__unpack((ProtobufCAllocator *)arena_protobuf(a), len, bytes);
	if (!m)
		return error_set(e, -EBADMSG,
				 "false batch: its header is not a BatchHeader, or too large");
	r = from_message(m, a, ret_h, e);
	if (r < 0) {
		if (e)
			e->code = r;
		return error_wrap(e, r, "false batch header");
	}
	return 0;
}
