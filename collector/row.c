/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/row.h"

#include "proto/base/reader.h"
#include "proto/base/writer.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

void batch_name_set(struct batch_name *n, const void *data, size_t len)
{
	n->len = (uint8_t)len;
	memcpy(n->b, data, n->len);
}

bool batch_name_equal(const struct batch_name *a, const struct batch_name *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

int batch_name_compare(const struct batch_name *a, const struct batch_name *b)
{
	int r = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return r ? r : (int)a->len - (int)b->len;
}

bool stream_key_equal(const struct stream_key *a, const struct stream_key *b)
{
	return a->lane == b->lane && memcmp(a->boot_id, b->boot_id, BATCH_BOOT_LEN) == 0 &&
	       memcmp(a->epoch, b->epoch, BATCH_EPOCH_LEN) == 0 &&
	       batch_name_equal(&a->host_id, &b->host_id) &&
	       batch_name_equal(&a->tenant, &b->tenant);
}

int stream_key_hash(const struct stream_key *k, uint64_t *ret_hash)
{
	uint8_t text[2 * (1 + BATCH_NAME_MAX) + BATCH_BOOT_LEN + BATCH_EPOCH_LEN + 1];
	struct writer w = writer_init(text, sizeof(text));
	struct seal_hash hash;
	int r;

	writer_u8(&w, k->tenant.len);
	writer_bytes(&w, k->tenant.b, k->tenant.len);
	writer_u8(&w, k->host_id.len);
	writer_bytes(&w, k->host_id.b, k->host_id.len);
	writer_bytes(&w, k->boot_id, BATCH_BOOT_LEN);
	writer_bytes(&w, k->epoch, BATCH_EPOCH_LEN);
	writer_u8(&w, k->lane);
	r = seal_sha256(text, w.done, &hash);
	if (r)
		return r;
	*ret_hash = 0;
	for (size_t i = 0; i < 8; i++)
		*ret_hash |= (uint64_t)hash.b[i] << (8 * i);
	return 0;
}

/* Boot time and offset come from a host: no overflow, whatever they are. */
static int64_t wall_of(uint64_t boottime_ns, int64_t offset_ns)
{
	int64_t boot = boottime_ns > INT64_MAX ? INT64_MAX : (int64_t)boottime_ns, wall;

	if (__builtin_add_overflow(boot, offset_ns, &wall))
		return offset_ns < 0 ? INT64_MIN : INT64_MAX;
	return wall;
}

void row_of_batch(const struct batch_view *v, struct row *ret_row, struct stream_key *ret_key)
{
	const struct batch_header *h = &v->header;
	int64_t sealed = h->sealed_boottime_ns > INT64_MAX ? INT64_MAX :
							     (int64_t)h->sealed_boottime_ns;
	int64_t offset = 0;
	bool empty = h->count == 0;

	if (__builtin_sub_overflow(h->sealed_wall_ns, sealed, &offset))
		offset = INT64_MIN;
	*ret_row = (struct row){
		.kind = FRAME_BATCH,
		.flags = h->has_previous ? ROW_HAS_PREVIOUS : 0,
		.numbers = 1,
		.number = h->number,
		.first_sequence = h->first_sequence,
		.last_sequence = h->last_sequence,
		.count = h->count,
		.gaps = h->gaps,
		.first_wall_ns = empty ? h->sealed_wall_ns : wall_of(h->first_boottime_ns, offset),
		.last_wall_ns = empty ? h->sealed_wall_ns : wall_of(h->last_boottime_ns, offset),
		.offset_ns = offset,
		.watermark_wall_ns = wall_of(h->watermark_ns, offset),
		.hash = v->hash,
	};
	if (h->has_previous)
		ret_row->previous = h->previous;
	*ret_key = (struct stream_key){ .tenant = h->tenant,
					.host_id = h->host_id,
					.lane = (uint8_t)h->lane };
	memcpy(ret_key->boot_id, h->boot_id, BATCH_BOOT_LEN);
	memcpy(ret_key->epoch, h->epoch, BATCH_EPOCH_LEN);
}

static void add_dropped(struct row *row, const struct batch_dropped *d, int64_t offset_ns)
{
	int64_t first = wall_of(d->first_boottime_ns, offset_ns),
		last = wall_of(d->last_boottime_ns, offset_ns);
	uint64_t count = row->count;

	if (first < row->first_wall_ns)
		row->first_wall_ns = first;
	if (last > row->last_wall_ns)
		row->last_wall_ns = last;
	if (d->first_sequence && (!row->first_sequence || d->first_sequence < row->first_sequence))
		row->first_sequence = d->first_sequence;
	if (d->last_sequence > row->last_sequence)
		row->last_sequence = d->last_sequence;
	for (size_t i = 0; i < ARRAY_LEN(d->counts); i++)
		if (__builtin_add_overflow(count, d->counts[i], &count))
			count = UINT64_MAX;
	row->count = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

void row_of_tombstone(const struct batch_tombstone *t, struct row *ret_row,
		      struct stream_key *ret_key)
{
	const struct batch_dropped *first = t->dropped, *last = t->dropped + t->n_dropped - 1;

	*ret_row = (struct row){
		.kind = FRAME_TOMBSTONE,
		.flags = first->has_previous ? ROW_HAS_PREVIOUS : 0,
		.numbers = (uint32_t)t->n_dropped,
		.number = first->number,
		.gaps = (uint32_t)t->n_dropped,
		.first_wall_ns = INT64_MAX,
		.last_wall_ns = INT64_MIN,
		.offset_ns = t->offset_ns,
		.hash = last->header_hash,
	};
	if (first->has_previous)
		ret_row->previous = first->previous;
	for (size_t i = 0; i < t->n_dropped; i++)
		add_dropped(ret_row, &t->dropped[i], t->offset_ns);
	ret_row->watermark_wall_ns = ret_row->last_wall_ns;
	*ret_key = (struct stream_key){ .tenant = t->tenant,
					.host_id = t->host_id,
					.lane = (uint8_t)t->lane };
	memcpy(ret_key->boot_id, t->boot_id, BATCH_BOOT_LEN);
	memcpy(ret_key->epoch, t->epoch, BATCH_EPOCH_LEN);
}

static uint32_t row_crc(const uint8_t *buf, uint32_t ordinal)
{
	uint8_t number[4];
	struct writer w = writer_init(number, sizeof(number));

	writer_u32(&w, ordinal);
	return (uint32_t)crc32(crc32(0, number, sizeof(number)), buf, ROW_PACKED - 4);
}

void row_pack(const struct row *row, uint32_t ordinal, uint8_t buf[static ROW_PACKED])
{
	struct writer w = writer_init(buf, ROW_PACKED);

	writer_u64(&w, row->offset);
	writer_u32(&w, row->length);
	writer_u32(&w, row->stream);
	writer_u8(&w, row->kind);
	writer_u8(&w, row->flags);
	writer_u16(&w, 0);
	writer_u32(&w, row->numbers);
	writer_u64(&w, row->number);
	writer_u64(&w, row->first_sequence);
	writer_u64(&w, row->last_sequence);
	writer_u32(&w, row->count);
	writer_u32(&w, row->gaps);
	writer_u64(&w, (uint64_t)row->first_wall_ns);
	writer_u64(&w, (uint64_t)row->last_wall_ns);
	writer_u64(&w, (uint64_t)row->offset_ns);
	writer_u64(&w, (uint64_t)row->received_ns);
	writer_u64(&w, (uint64_t)row->watermark_wall_ns);
	writer_bytes(&w, row->hash.b, SEAL_HASH_LEN);
	writer_bytes(&w, row->previous.b, SEAL_HASH_LEN);
	writer_zero(&w, ROW_PACKED - 4 - w.done);
	writer_u32(&w, row_crc(buf, ordinal));
}

bool row_parse(const uint8_t buf[static ROW_PACKED], uint32_t ordinal, struct row *ret_row)
{
	struct reader r = reader_init(buf, ROW_PACKED);

	ret_row->offset = reader_u64(&r);
	ret_row->length = reader_u32(&r);
	ret_row->stream = reader_u32(&r);
	ret_row->kind = reader_u8(&r);
	ret_row->flags = reader_u8(&r);
	reader_skip(&r, 2);
	ret_row->numbers = reader_u32(&r);
	ret_row->number = reader_u64(&r);
	ret_row->first_sequence = reader_u64(&r);
	ret_row->last_sequence = reader_u64(&r);
	ret_row->count = reader_u32(&r);
	ret_row->gaps = reader_u32(&r);
	ret_row->first_wall_ns = (int64_t)reader_u64(&r);
	ret_row->last_wall_ns = (int64_t)reader_u64(&r);
	ret_row->offset_ns = (int64_t)reader_u64(&r);
	ret_row->received_ns = (int64_t)reader_u64(&r);
	ret_row->watermark_wall_ns = (int64_t)reader_u64(&r);
	reader_copy(&r, ret_row->hash.b, SEAL_HASH_LEN);
	reader_copy(&r, ret_row->previous.b, SEAL_HASH_LEN);
	reader_skip(&r, r.left - 4);
	return reader_u32(&r) == row_crc(buf, ordinal) && ret_row->kind >= FRAME_BATCH &&
	       ret_row->kind <= FRAME_RETENTION &&
	       (ret_row->stream == ROW_NO_STREAM) == (ret_row->kind >= FRAME_HOST_RECORD);
}
