/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/retention_record.h"

#include "batch.pb-c.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VERSION 1
#define REASON_MAX 64
#define HOST_RECORD_MAX KiB(64)
#define ARENA_MAX KiB(256)

/* protobuf-c's structs have no const; nothing is written through them by packing. */
static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	return (ProtobufCBinaryData){ .data = (uint8_t *)data, .len = len };
}

static bool take(const ProtobufCBinaryData *from, void *to, size_t len)
{
	if (from->len != len)
		return false;
	memcpy(to, from->data, len);
	return true;
}

static bool take_name(const ProtobufCBinaryData *from, struct batch_name *to)
{
	if (from->len == 0 || from->len > BATCH_NAME_MAX)
		return false;
	batch_name_set(to, from->data, from->len);
	return true;
}

static void stream_fill(const struct retention_stream *s, Exhibit__V1__RemovedStream *m)
{
	exhibit__v1__removed_stream__init(m);
	m->host_id = borrowed(s->key.host_id.b, s->key.host_id.len);
	m->boot_id = borrowed(s->key.boot_id, BATCH_BOOT_LEN);
	m->epoch = borrowed(s->key.epoch, BATCH_EPOCH_LEN);
	m->lane = (Exhibit__V1__Lane)s->key.lane;
	m->first_number = s->first_number;
	m->last_number = s->last_number;
	m->last_header_hash = borrowed(s->last_hash.b, SEAL_HASH_LEN);
}

static bool fill(const struct retention_info *i, struct arena *a, Exhibit__V1__RetentionRecord *m)
{
	Exhibit__V1__RemovedStream *streams = arena_alloc(a, (i->n_streams + 1) * sizeof(*streams));
	Exhibit__V1__RemovedStream **list = arena_alloc(a, (i->n_streams + 1) * sizeof(*list));

	if (!streams || !list)
		return false;
	exhibit__v1__retention_record__init(m);
	m->version = VERSION;
	m->tenant = borrowed(i->tenant.b, i->tenant.len);
	if (i->has_segment) {
		m->segment_id = borrowed(i->segment.b, SEGMENT_ID_LEN);
		m->segment_sha256 = borrowed(i->sha256.b, SEAL_HASH_LEN);
		m->all_segments = i->all.segments;
		m->all_events = i->all.events;
		m->all_first_wall_ns = i->all.first_wall_ns;
		m->all_last_wall_ns = i->all.last_wall_ns;
	}
	m->bytes = i->bytes;
	m->batches = i->batches;
	m->events = i->events;
	m->first_wall_ns = i->first_wall_ns;
	m->last_wall_ns = i->last_wall_ns;
	m->removed_wall_ns = i->removed_wall_ns;
	m->reason = borrowed(i->reason, strlen(i->reason));
	for (size_t k = 0; k < i->n_streams; k++) {
		stream_fill(&i->streams[k], &streams[k]);
		list[k] = &streams[k];
	}
	m->n_streams = i->n_streams;
	m->streams = list;
	return true;
}

static uint8_t *pack(const ProtobufCMessage *m, struct arena *a, size_t *ret_len)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *bytes = arena_alloc(a, len);

	*ret_len = len;
	if (bytes)
		(void)protobuf_c_message_pack(m, bytes);
	return bytes;
}

int retention_record_make(const struct retention_info *i, struct seal_key *k, struct arena *a,
			  const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	Exhibit__V1__SignedRetentionRecord out = EXHIBIT__V1__SIGNED_RETENTION_RECORD__INIT;
	uint8_t signature[SEAL_SIGNATURE_LEN];
	Exhibit__V1__RetentionRecord m;
	uint8_t *record = NULL;
	size_t len;
	int r;

	if (fill(i, a, &m))
		record = pack(&m.base, a, &len);
	if (!record)
		return error_set(e, -ENOMEM, "cannot allocate a retention record");
	r = seal_sign(k, SEAL_DOMAIN_RETENTION, record, len, signature, e);
	if (r)
		return r;
	out.record = borrowed(record, len);
	out.signature = borrowed(signature, sizeof(signature));
	*ret_bytes = pack(&out.base, a, ret_len);
	return *ret_bytes ? 0 : error_set(e, -ENOMEM, "cannot allocate a retention record");
}

static bool stream_take(const Exhibit__V1__RemovedStream *m, const struct batch_name *tenant,
			struct retention_stream *s)
{
	*s = (struct retention_stream){ .key.tenant = *tenant,
					.first_number = m->first_number,
					.last_number = m->last_number };
	s->key.lane = (uint8_t)m->lane;
	return take_name(&m->host_id, &s->key.host_id) &&
	       take(&m->boot_id, s->key.boot_id, BATCH_BOOT_LEN) &&
	       take(&m->epoch, s->key.epoch, BATCH_EPOCH_LEN) &&
	       take(&m->last_header_hash, s->last_hash.b, SEAL_HASH_LEN) &&
	       s->last_number <= INT64_MAX && s->first_number <= s->last_number;
}

static bool record_take(const Exhibit__V1__RetentionRecord *m, struct arena *a,
			struct retention_info *i)
{
	char *reason = arena_zalloc(a, REASON_MAX + 1);

	*i = (struct retention_info){ .bytes = m->bytes,
				      .batches = m->batches,
				      .events = m->events,
				      .first_wall_ns = m->first_wall_ns,
				      .last_wall_ns = m->last_wall_ns,
				      .removed_wall_ns = m->removed_wall_ns,
				      .reason = reason,
				      .all = { .segments = m->all_segments,
					       .events = m->all_events,
					       .first_wall_ns = m->all_first_wall_ns,
					       .last_wall_ns = m->all_last_wall_ns } };
	i->streams = arena_alloc(a, (m->n_streams + 1) * sizeof(*i->streams));
	if (!reason || !i->streams || m->version != VERSION || m->reason.len > REASON_MAX ||
	    m->n_streams > RETENTION_STREAMS_MAX || !take_name(&m->tenant, &i->tenant))
		return false;
	if (m->reason.len > 0)
		memcpy(reason, m->reason.data, m->reason.len);
	(void)snprintf(i->all.reason, sizeof(i->all.reason), "%s", reason);
	i->has_segment = m->segment_id.len > 0;
	if (i->has_segment && (!take(&m->segment_id, i->segment.b, SEGMENT_ID_LEN) ||
			       !take(&m->segment_sha256, i->sha256.b, SEAL_HASH_LEN)))
		return false;
	for (size_t k = 0; k < m->n_streams; k++)
		if (!stream_take(m->streams[k], &i->tenant, &i->streams[i->n_streams++]))
			return false;
	return true;
}

int retention_record_open(const uint8_t *bytes, size_t len, struct seal_verifier *v,
			  struct arena *a, struct retention_info *ret_i, struct error *e)
{
	ProtobufCAllocator *allocator = arena_protobuf(a);
	Exhibit__V1__SignedRetentionRecord *s;
	Exhibit__V1__RetentionRecord *m;

	s = exhibit__v1__signed_retention_record__unpack(allocator, len, bytes);
	m = s ? exhibit__v1__retention_record__unpack(allocator, s->record.len, s->record.data) :
		NULL;
	if (!m || !record_take(m, a, ret_i))
		return error_set(e, -EBADMSG, "a retention record does not parse");
	if (v && seal_verify(v, SEAL_DOMAIN_RETENTION, s->record.data, s->record.len,
			     s->signature.data, s->signature.len))
		return error_set(e, -EBADMSG, "the signature of a retention record is false");
	return 0;
}

static void arena_drop(struct arena **a)
{
	arena_free(*a);
}

int host_record_open(const uint8_t *bytes, size_t len, struct host_record_info *ret_i)
{
	AUTO(arena_drop) struct arena *a = arena_new(ARENA_MAX, 0);
	Exhibit__V1__SignedHostRecord *s;
	Exhibit__V1__HostRecord *m;

	if (!a)
		return -ENOMEM;
	s = len <= HOST_RECORD_MAX ?
		    exhibit__v1__signed_host_record__unpack(arena_protobuf(a), len, bytes) :
		    NULL;
	m = s ? exhibit__v1__host_record__unpack(arena_protobuf(a), s->record.len, s->record.data) :
		NULL;
	if (!m || !take_name(&m->tenant, &ret_i->tenant) ||
	    !take_name(&m->host_id, &ret_i->host_id) ||
	    !take(&m->sealing_key, ret_i->sealing_key, SEAL_PUBLIC_LEN))
		return -EBADMSG;
	seal_key_id(ret_i->sealing_key, ret_i->key_id);
	return 0;
}
