/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "batch.pb-c.h"
#include "proto/batch_header.h"
#include "proto/batch_signed.h"

#define BYTES(p, n) ((ProtobufCBinaryData){ .len = (n), .data = (uint8_t *)(uintptr_t)(p) })

static int check_idle(const struct batch_idle *t, struct error *e)
{
	if (t->tenant.len == 0 || t->host_id.len == 0)
		return error_set(e, -EINVAL, "%s is empty",
				 t->tenant.len == 0 ? "tenant" : "host_id");
	if (t->lane != BATCH_LANE_CRITICAL && t->lane != BATCH_LANE_BULK)
		return error_set(e, -EINVAL, "lane %u does not exist", (unsigned int)t->lane);
	if (t->number > 0 && !t->has_hash)
		return error_set(e, -EINVAL, "a number without header_hash");
	if (t->watermark_ns > BATCH_BOOTTIME_MAX || t->boottime_ns > BATCH_BOOTTIME_MAX ||
	    t->wall_ns > BATCH_WALL_MAX || t->wall_ns < -BATCH_WALL_MAX)
		return error_set(e, -EINVAL, "a time is out of range");
	return 0;
}

int batch_seal_idle(struct seal_key *k, const struct batch_idle *t, struct arena *a,
		    const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	Exhibit__V1__Idle m = EXHIBIT__V1__IDLE__INIT;
	uint8_t public[SEAL_PUBLIC_LEN], key_id[SEAL_KEY_ID_LEN];
	uint8_t *bytes;
	size_t len;
	int r = check_idle(t, e);

	if (r < 0)
		return error_wrap(e, r, "cannot seal an idle message");
	seal_key_public(k, public);
	seal_key_id(public, key_id);
	m.version = BATCH_VERSION;
	m.tenant = BYTES(t->tenant.b, t->tenant.len);
	m.host_id = BYTES(t->host_id.b, t->host_id.len);
	m.boot_id = BYTES(t->boot_id, sizeof(t->boot_id));
	m.epoch = BYTES(t->epoch, sizeof(t->epoch));
	m.lane = (Exhibit__V1__Lane)t->lane;
	m.number = t->number;
	m.header_hash = BYTES(t->header_hash.b, t->has_hash ? SEAL_HASH_LEN : 0);
	m.watermark_ns = t->watermark_ns;
	m.boottime_ns = t->boottime_ns;
	m.wall_ns = t->wall_ns;
	m.synchronised = t->synchronised;
	m.key_id = BYTES(key_id, sizeof(key_id));
	len = exhibit__v1__idle__get_packed_size(&m);
	bytes = arena_alloc(a, len);
	if (!bytes)
		return error_set(e, -ENOMEM, "cannot seal an idle message: %m");
	len = exhibit__v1__idle__pack(&m, bytes);
	return batch_signed_seal(k, SEAL_DOMAIN_IDLE, bytes, len, a, ret_bytes, ret_len, e);
}

static int idle_from_message(const Exhibit__V1__Idle *m, struct batch_idle *t, struct error *e)
{
	if (m->version != BATCH_VERSION)
		return error_set(e, -EPROTONOSUPPORT, "version %u; this program knows version %d",
				 m->version, BATCH_VERSION);
	t->lane = (enum batch_lane)m->lane;
	t->number = m->number;
	t->watermark_ns = m->watermark_ns;
	t->boottime_ns = m->boottime_ns;
	t->wall_ns = m->wall_ns;
	t->synchronised = m->synchronised;
	t->has_hash = m->header_hash.len > 0;
	if (!batch_take_name(m->tenant.data, m->tenant.len, 1, &t->tenant) ||
	    !batch_take_name(m->host_id.data, m->host_id.len, 1, &t->host_id))
		return error_set(e, -EBADMSG, "tenant or host_id is empty or longer than %d bytes",
				 BATCH_NAME_MAX);
	if (!batch_take_fixed(m->boot_id.data, m->boot_id.len, t->boot_id, sizeof(t->boot_id)) ||
	    !batch_take_fixed(m->epoch.data, m->epoch.len, t->epoch, sizeof(t->epoch)) ||
	    !batch_take_fixed(m->key_id.data, m->key_id.len, t->key_id, sizeof(t->key_id)) ||
	    !batch_take_fixed(m->header_hash.data, m->header_hash.len, t->header_hash.b,
			      t->has_hash ? SEAL_HASH_LEN : 0))
		return error_set(e, -EBADMSG,
				 "boot_id, epoch, key_id or header_hash has a false length");
	return check_idle(t, e) < 0 ? -EBADMSG : 0;
}

int batch_open_idle(const void *bytes, size_t len, struct seal_verifier *v, struct arena *a,
		    struct batch_idle *ret_t, struct error *e)
{
	Exhibit__V1__Idle *m;
	const uint8_t *inner;
	size_t inner_len;
	int r = batch_signed_open(v, SEAL_DOMAIN_IDLE, bytes, len, &inner, &inner_len, e);

	memset(ret_t, 0, sizeof(*ret_t));
	if (r < 0)
		return error_wrap(e, r, "false idle message");
	m = exhibit__v1__idle__unpack((ProtobufCAllocator *)arena_protobuf(a), inner_len, inner);
	if (!m)
		return error_set(e, -EBADMSG,
				 "false idle message: it is not an Idle, or too large");
	r = idle_from_message(m, ret_t, e);
	if (r < 0 && e)
		e->code = r;
	return r < 0 ? error_wrap(e, r, "false idle message") : 0;
}
