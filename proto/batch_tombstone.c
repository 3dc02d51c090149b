/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "batch.pb-c.h"
#include "proto/batch_header.h"
#include "proto/batch_signed.h"

#define CLASSES ARRAY_LEN(((struct batch_dropped *)NULL)->counts)
#define BYTES(p, n) ((ProtobufCBinaryData){ .len = (n), .data = (uint8_t *)(uintptr_t)(p) })

/* The messages of one Dropped side by side, so that one allocation holds them. */
struct dropped_message {
	Exhibit__V1__Dropped m;
	Exhibit__V1__ClassCount count[CLASSES];
	Exhibit__V1__ClassCount *counts[CLASSES];
};

static void dropped_to_message(const struct batch_dropped *d, struct dropped_message *to)
{
	exhibit__v1__dropped__init(&to->m);
	to->m.number = d->number;
	to->m.header_hash = BYTES(d->header_hash.b, SEAL_HASH_LEN);
	to->m.previous_hash = BYTES(d->previous.b, d->has_previous ? SEAL_HASH_LEN : 0);
	to->m.first_sequence = d->first_sequence;
	to->m.last_sequence = d->last_sequence;
	to->m.first_boottime_ns = d->first_boottime_ns;
	to->m.last_boottime_ns = d->last_boottime_ns;
	to->m.counts = to->counts;
	for (uint32_t i = 0; i < CLASSES; i++) {
		Exhibit__V1__ClassCount *c = &to->count[to->m.n_counts];

		if (d->counts[i] == 0)
			continue;
		exhibit__v1__class_count__init(c);
		c->class_ = (Exhibit__V1__Class)i;
		c->count = d->counts[i];
		to->counts[to->m.n_counts++] = c;
	}
}

static int pack_dropped(const struct batch_tombstone *t, struct arena *a, Exhibit__V1__Tombstone *m)
{
	struct dropped_message *d = arena_alloc(a, t->n_dropped * sizeof(*d));

	m->dropped = arena_alloc(a, t->n_dropped * sizeof(*m->dropped));
	if (!d || !m->dropped)
		return -ENOMEM;
	m->n_dropped = t->n_dropped;
	for (size_t i = 0; i < t->n_dropped; i++) {
		dropped_to_message(&t->dropped[i], &d[i]);
		m->dropped[i] = &d[i].m;
	}
	return 0;
}

static int check_dropped(const struct batch_dropped *d, const struct batch_dropped *before,
			 struct error *e)
{
	uint64_t room = d->first_sequence > 0 ? d->last_sequence - d->first_sequence + 1 : 0;

	if (d->number == 0 || (!d->has_previous && d->number != 1))
		return error_set(e, -EINVAL, "number %" PRIu64 " without a previous one",
				 d->number);
	if (before && (d->number != before->number + 1 ||
		       memcmp(d->previous.b, before->header_hash.b, SEAL_HASH_LEN) != 0))
		return error_set(e, -EINVAL, "number %" PRIu64 " does not continue %" PRIu64,
				 d->number, before->number);
	if (d->last_sequence < d->first_sequence ||
	    (d->first_sequence == 0) != (d->last_sequence == 0) || room > BATCH_EVENTS_MAX)
		return error_set(e, -EINVAL, "number %" PRIu64 " has false sequences", d->number);
	if (d->first_boottime_ns > d->last_boottime_ns || d->last_boottime_ns > BATCH_BOOTTIME_MAX)
		return error_set(e, -EINVAL, "number %" PRIu64 " has false times", d->number);
	for (size_t i = 0; i < CLASSES; i++) {
		if (d->counts[i] > room)
			return error_set(e, -EINVAL,
					 "number %" PRIu64 " counts more than its sequences",
					 d->number);
		room -= d->counts[i];
	}
	return 0;
}

static int check_tombstone(const struct batch_tombstone *t, struct error *e)
{
	if (t->tenant.len == 0 || t->host_id.len == 0)
		return error_set(e, -EINVAL, "%s is empty",
				 t->tenant.len == 0 ? "tenant" : "host_id");
	if (t->lane != BATCH_LANE_CRITICAL && t->lane != BATCH_LANE_BULK)
		return error_set(e, -EINVAL, "lane %u does not exist", (unsigned int)t->lane);
	if (t->n_dropped == 0 || t->n_dropped > BATCH_DROPPED_MAX)
		return error_set(e, -EINVAL, "dropped has %zu elements: from 1 to %d", t->n_dropped,
				 BATCH_DROPPED_MAX);
	if (t->boottime_ns > BATCH_BOOTTIME_MAX || t->wall_ns > BATCH_WALL_MAX ||
	    t->wall_ns < -BATCH_WALL_MAX || t->offset_ns > BATCH_WALL_MAX ||
	    t->offset_ns < -BATCH_WALL_MAX)
		return error_set(e, -EINVAL, "a time is out of range");
	for (size_t i = 0; i < t->n_dropped; i++) {
		int r = check_dropped(&t->dropped[i], i > 0 ? &t->dropped[i - 1] : NULL, e);

		if (r < 0)
			return r;
	}
	return 0;
}

int batch_seal_tombstone(struct seal_key *k, const struct batch_tombstone *t, struct arena *a,
			 const uint8_t **ret_bytes, size_t *ret_len, struct error *e)
{
	Exhibit__V1__Tombstone m = EXHIBIT__V1__TOMBSTONE__INIT;
	uint8_t public[SEAL_PUBLIC_LEN], key_id[SEAL_KEY_ID_LEN];
	uint8_t *bytes;
	size_t len;
	int r = check_tombstone(t, e);

	if (r < 0)
		return error_wrap(e, r, "cannot seal a tombstone");
	seal_key_public(k, public);
	seal_key_id(public, key_id);
	m.version = BATCH_VERSION;
	m.tenant = BYTES(t->tenant.b, t->tenant.len);
	m.host_id = BYTES(t->host_id.b, t->host_id.len);
	m.boot_id = BYTES(t->boot_id, sizeof(t->boot_id));
	m.epoch = BYTES(t->epoch, sizeof(t->epoch));
	m.lane = (Exhibit__V1__Lane)t->lane;
	m.wall_ns = t->wall_ns;
	m.boottime_ns = t->boottime_ns;
	m.key_id = BYTES(key_id, sizeof(key_id));
	m.reason = BYTES(t->reason, t->reason ? strlen(t->reason) : 0);
	m.offset_ns = t->offset_ns;
	if (pack_dropped(t, a, &m) < 0)
		return error_set(e, -ENOMEM, "cannot seal a tombstone: %m");
	len = exhibit__v1__tombstone__get_packed_size(&m);
	bytes = arena_alloc(a, len);
	if (!bytes)
		return error_set(e, -ENOMEM, "cannot seal a tombstone: %m");
	len = exhibit__v1__tombstone__pack(&m, bytes);
	return batch_signed_seal(k, SEAL_DOMAIN_TOMBSTONE, bytes, len, a, ret_bytes, ret_len, e);
}

static int take_counts(const Exhibit__V1__Dropped *m, struct batch_dropped *d)
{
	for (size_t i = 0; i < m->n_counts; i++) {
		/* Classes that this program does not know count as unknown. */
		uint32_t class = (uint32_t)m->counts[i]->class_ < CLASSES ?
					 (uint32_t)m->counts[i]->class_ :
					 0;

		if (__builtin_add_overflow(d->counts[class], m->counts[i]->count,
					   &d->counts[class]))
			return -EBADMSG;
	}
	return 0;
}

static int take_dropped(const Exhibit__V1__Dropped *m, struct batch_dropped *d, struct error *e)
{
	*d = (struct batch_dropped){
		.number = m->number,
		.first_sequence = m->first_sequence,
		.last_sequence = m->last_sequence,
		.first_boottime_ns = m->first_boottime_ns,
		.last_boottime_ns = m->last_boottime_ns,
		.has_previous = m->previous_hash.len > 0,
	};
	if (!batch_take_fixed(m->header_hash.data, m->header_hash.len, d->header_hash.b,
			      SEAL_HASH_LEN) ||
	    !batch_take_fixed(m->previous_hash.data, m->previous_hash.len, d->previous.b,
			      d->has_previous ? SEAL_HASH_LEN : 0))
		return error_set(e, -EBADMSG, "a hash of number %" PRIu64 " does not have %d bytes",
				 m->number, SEAL_HASH_LEN);
	if (take_counts(m, d) < 0)
		return error_set(e, -EBADMSG, "number %" PRIu64 " counts beyond 2^64", m->number);
	return 0;
}

static int take_all_dropped(const Exhibit__V1__Tombstone *m, struct arena *a,
			    struct batch_tombstone *t, struct error *e)
{
	int r = 0;

	if (m->n_dropped == 0 || m->n_dropped > BATCH_DROPPED_MAX)
		return error_set(e, -EBADMSG, "dropped has %zu elements: from 1 to %d",
				 m->n_dropped, BATCH_DROPPED_MAX);
	t->dropped = arena_alloc(a, m->n_dropped * sizeof(*t->dropped));
	if (!t->dropped)
		return error_set(e, -ENOMEM, "cannot read a tombstone: %m");
	t->n_dropped = m->n_dropped;
	for (size_t i = 0; r == 0 && i < m->n_dropped; i++)
		r = take_dropped(m->dropped[i], &t->dropped[i], e);
	return r;
}

/* The reason as text that ends with a NUL; control bytes are the printer's concern. */
static int take_reason(const ProtobufCBinaryData *reason, struct arena *a,
		       struct batch_tombstone *t, struct error *e)
{
	struct batch_name name = { 0 };
	char *text;

	if (!batch_take_name(reason->data, reason->len, 0, &name) || memchr(name.b, 0, name.len))
		return error_set(e, -EBADMSG, "reason is longer than %d bytes, or holds a NUL",
				 BATCH_NAME_MAX);
	text = arena_zalloc(a, name.len + 1u);
	if (!text)
		return error_set(e, -ENOMEM, "cannot read a tombstone: %m");
	memcpy(text, name.b, name.len);
	t->reason = text;
	return 0;
}

static int tombstone_from_message(const Exhibit__V1__Tombstone *m, struct arena *a,
				  struct batch_tombstone *t, struct error *e)
{
	int r;

	if (m->version != BATCH_VERSION)
		return error_set(e, -EPROTONOSUPPORT, "version %u; this program knows version %d",
				 m->version, BATCH_VERSION);
	t->lane = (enum batch_lane)m->lane;
	t->wall_ns = m->wall_ns;
	t->boottime_ns = m->boottime_ns;
	t->offset_ns = m->offset_ns;
	if (!batch_take_name(m->tenant.data, m->tenant.len, 1, &t->tenant) ||
	    !batch_take_name(m->host_id.data, m->host_id.len, 1, &t->host_id))
		return error_set(e, -EBADMSG, "tenant or host_id is empty or longer than %d bytes",
				 BATCH_NAME_MAX);
	if (!batch_take_fixed(m->boot_id.data, m->boot_id.len, t->boot_id, sizeof(t->boot_id)) ||
	    !batch_take_fixed(m->epoch.data, m->epoch.len, t->epoch, sizeof(t->epoch)))
		return error_set(e, -EBADMSG, "boot_id or epoch does not have %d bytes",
				 BATCH_BOOT_LEN);
	if (!batch_take_fixed(m->key_id.data, m->key_id.len, t->key_id, sizeof(t->key_id)))
		return error_set(e, -EBADMSG, "key_id does not have %d bytes", SEAL_KEY_ID_LEN);
	r = take_reason(&m->reason, a, t, e);
	if (r == 0)
		r = take_all_dropped(m, a, t, e);
	if (r < 0)
		return r;
	return check_tombstone(t, e) < 0 ? -EBADMSG : 0;
}

int batch_open_tombstone(const void *bytes, size_t len, struct seal_verifier *v, struct arena *a,
			 struct batch_tombstone *ret_t, struct error *e)
{
	Exhibit__V1__Tombstone *m;
	const uint8_t *inner;
	size_t inner_len;
	int r = batch_signed_open(v, SEAL_DOMAIN_TOMBSTONE, bytes, len, &inner, &inner_len, e);

	memset(ret_t, 0, sizeof(*ret_t));
	if (r < 0)
		return error_wrap(e, r, "false tombstone");
	m = exhibit__v1__tombstone__unpack((ProtobufCAllocator *)arena_protobuf(a), inner_len,
					   inner);
	if (!m)
		return error_set(e, -EBADMSG,
				 "false tombstone: it is not a Tombstone, or too large");
	r = tombstone_from_message(m, a, ret_t, e);
	if (r < 0 && e)
		e->code = r;
	return r < 0 ? error_wrap(e, r, "false tombstone") : 0;
}
