/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/orders_state.h"

#include <errno.h>
#include <zlib.h>

#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/base/writer.h"

#define MAGIC "EXHRUN01"

static const uint8_t *get_bytes(struct reader *r, size_t max, size_t *ret_len)
{
	size_t len = reader_u32(r);

	*ret_len = len;
	if (len > max)
		r->bad = true;
	return r->bad ? NULL : reader_bytes(r, len);
}

int orders_state_parse(const void *data, size_t len, struct orders_state *ret)
{
	struct reader r = reader_init(data, len);
	struct orders_state s = { 0 };
	uint8_t magic[8];

	reader_copy(&r, magic, sizeof(magic));
	s.attempts = reader_u32(&r);
	reader_copy(&r, s.exhibit_id, sizeof(s.exhibit_id));
	reader_copy(&r, s.boot_id, sizeof(s.boot_id));
	s.wall_ns = (int64_t)reader_u64(&r);
	s.monotonic_ns = reader_u64(&r);
	s.boottime_ns = reader_u64(&r);
	s.order = get_bytes(&r, ORDER_SIGNED_MAX, &s.order_len);
	s.manifest = get_bytes(&r, ORDERS_STATE_MANIFEST_MAX, &s.manifest_len);
	uint32_t sum = reader_u32(&r);

	if (!reader_done(&r) || memcmp(magic, MAGIC, sizeof(magic)) != 0 ||
	    sum != (uint32_t)crc32_z(0, data, len - 4))
		return -EBADMSG;
	*ret = s;
	return 0;
}

int orders_state_save(const char *path, const struct orders_state *s, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = malloc(ORDERS_STATE_MAX);
	struct writer w = writer_init(data, data == NULL ? 0 : ORDERS_STATE_MAX);

	writer_bytes(&w, MAGIC, 8);
	writer_u32(&w, s->attempts);
	writer_bytes(&w, s->exhibit_id, sizeof(s->exhibit_id));
	writer_bytes(&w, s->boot_id, sizeof(s->boot_id));
	writer_u64(&w, (uint64_t)s->wall_ns);
	writer_u64(&w, s->monotonic_ns);
	writer_u64(&w, s->boottime_ns);
	writer_u32(&w, (uint32_t)s->order_len);
	writer_bytes(&w, s->order, s->order_len);
	writer_u32(&w, (uint32_t)s->manifest_len);
	writer_bytes(&w, s->manifest, s->manifest_len);
	if (!w.bad)
		writer_u32(&w, (uint32_t)crc32_z(0, data, w.done));
	if (w.bad)
		return error_set(e, -ENOMEM, "cannot remember an acquisition: out of memory");
	return files_replace(path, data, w.done, 0600, e);
}
