/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.v1.Ledger: the newest checkpoint with a proof that it follows from an older one, and leaves with proofs
 * that they are in it. A tenant sees its own leaves. Asking for a case's leaves is an export, which is a leaf
 * itself, and in the answer. */
#include "collector/ledger_calls.h"
#include "collector/query.h"
#include "collector/row.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LEAVES_MAX 1000000 /* of one question */

static int send_message(const struct query *q, const ProtobufCMessage *m, struct error *e)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *data = malloc(len + 1);
	int r;

	if (!data)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	(void)protobuf_c_message_pack(m, data);
	r = q->sink.send(q->sink.ctx, data, len);
	return r < 0 ? error_set(e, r, "the asker is gone") : 0;
}

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

static size_t hashes_of(const struct seal_hash *hashes, size_t n, ProtobufCBinaryData *ret)
{
	for (size_t i = 0; i < n; i++)
		ret[i] = borrowed(hashes[i].b, SEAL_HASH_LEN);
	return n;
}

int query_ledger_checkpoint(const struct query *q, const Exhibit__V1__CheckpointRequest *m,
			    struct error *e)
{
	Exhibit__V1__CheckpointReply reply = EXHIBIT__V1__CHECKPOINT_REPLY__INIT;
	AUTO(free_ptr) uint8_t *packed = NULL;
	uint64_t size;
	size_t len;
	int r = ledger_call_update(q->env->ledger, m->old_size, &packed, &len, &size, e);

	if (r == 0 && m->old_size > size)
		r = error_set(
			e, -EINVAL,
			"the ledger has %llu leaves, not %llu: it is not the one that grew from there",
			(unsigned long long)size, (unsigned long long)m->old_size);
	if (r < 0)
		return r;
	reply.update = exhibit__v1__ledger_update__unpack(NULL, len, packed);
	if (!reply.update)
		return error_set(e, -ENOMEM, "cannot answer: out of memory");
	r = send_message(q, &reply.base, e);
	exhibit__v1__ledger_update__free_unpacked(reply.update, NULL);
	return r;
}

/* ---- leaves ---- */

struct answering {
	const struct query *q;
	char *note;
	uint64_t size;
	uint64_t sent;
	const uint8_t *object; /* of the leaf that is sent; NULL: none */
	size_t object_len;
};

static bool own(const struct query *q, const uint8_t *entry, size_t len)
{
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, entry);
	bool same = m && m->tenant.len == q->tenant.len &&
		    memcmp(m->tenant.data, q->tenant.b, q->tenant.len) == 0;

	if (m)
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return same;
}

static int send_leaf(struct answering *a, uint64_t index, struct error *e)
{
	Exhibit__V1__EntriesReply reply = EXHIBIT__V1__ENTRIES_REPLY__INIT;
	struct seal_hash proof[LEDGER_PROOF_MAX];
	ProtobufCBinaryData hashes[LEDGER_PROOF_MAX];
	AUTO(free_ptr) uint8_t *entry = NULL;
	size_t len = 0, n = 0;
	int r = ledger_entry(a->q->env->ledger, index, &entry, &len, e);

	if (r < 0 || !own(a->q, entry, len))
		return r;
	r = ledger_inclusion(a->q->env->ledger, index, a->size, proof, &n, e);
	if (r < 0)
		return r;
	if (a->sent++ == 0 && a->note)
		reply.checkpoint = borrowed(a->note, strlen(a->note));
	reply.index = index;
	reply.entry = borrowed(entry, len);
	reply.object = borrowed(a->object, a->object_len);
	reply.n_inclusion = hashes_of(proof, n, hashes);
	reply.inclusion = hashes;
	return send_message(a->q, &reply.base, e);
}

static int note_export(const struct query *q, const Exhibit__V1__EntriesRequest *m, struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &entry };
	char name[IDENTITY_SPIFFE_MAX];
	int r;

	(void)identity_spiffe(q->who, name);
	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_EXPORT;
	entry.tenant = borrowed(q->tenant.b, q->tenant.len);
	entry.subject = borrowed(name, strlen(name));
	entry.case_id = m->case_id;
	r = ledger_append(q->env->ledger, list, 1, NULL, e);
	return r < 0 ? r : ledger_checkpoint(q->env->ledger, e);
}

static int send_found(struct answering *a, const Exhibit__V1__EntriesRequest *m, struct error *e)
{
	AUTO(free_ptr) uint64_t *found = NULL;
	size_t n = 0;
	int r = ledger_find(a->q->env->ledger, m->case_id.data, m->case_id.len, m->exhibit_id.data,
			    m->exhibit_id.len, a->size, LEAVES_MAX, &found, &n, e);

	for (size_t i = 0; i < n && r == 0; i++)
		r = send_leaf(a, found[i], e);
	return r;
}

static int send_range(struct answering *a, const Exhibit__V1__EntriesRequest *m, struct error *e)
{
	uint64_t last = m->last == 0 || m->last > a->size ? a->size : m->last;
	int r = 0;

	for (uint64_t i = m->first; i < last && r == 0; i++)
		r = a->q->sink.cancelled(a->q->sink.ctx) ?
			    error_set(e, -ECANCELED, "the asker is gone") :
			    send_leaf(a, i, e);
	return r;
}

/* The last leaf of it: a record that retention moved may have several. */
static int send_record(struct answering *a, const struct store_host *host, struct error *e)
{
	AUTO(free_ptr) uint64_t *found = NULL;
	struct seal_hash hash;
	size_t n = 0;
	int r = seal_sha256(host->record, host->record_len, &hash);

	if (r == 0)
		r = ledger_find(a->q->env->ledger, NULL, 0, hash.b, SEAL_HASH_LEN, a->size,
				LEAVES_MAX, &found, &n, e);
	if (r < 0 || n == 0)
		return r;
	a->object = host->record;
	a->object_len = host->record_len;
	return send_leaf(a, found[n - 1], e);
}

static int send_host(struct answering *a, const ProtobufCBinaryData *id, struct error *e)
{
	struct store_host *hosts = NULL;
	size_t n = 0;
	int r = store_hosts(a->q->env->store, &hosts, &n, e);

	for (size_t i = 0; i < n && r == 0; i++)
		if (batch_name_equal(&hosts[i].tenant, &a->q->tenant) &&
		    hosts[i].host_id.len == id->len &&
		    memcmp(hosts[i].host_id.b, id->data, id->len) == 0)
			r = send_record(a, &hosts[i], e);
	store_hosts_free(hosts, n);
	return r;
}

static int begin(struct answering *a, const Exhibit__V1__EntriesRequest *m, struct error *e)
{
	int r = m->case_id.len > 0 ? note_export(a->q, m, e) : 0;

	if (r == 0)
		r = ledger_newest(a->q->env->ledger, &a->note, &a->size, e);
	if (r < 0 || m->size == 0)
		return r;
	if (m->size > a->size)
		return error_set(e, -EINVAL, "the ledger has %llu leaves, not %llu",
				 (unsigned long long)a->size, (unsigned long long)m->size);
	a->size = m->size;
	free(a->note);
	a->note = NULL;
	return 0;
}

int query_ledger_entries(const struct query *q, const Exhibit__V1__EntriesRequest *m,
			 struct error *e)
{
	struct answering a = { .q = q };
	int r = begin(&a, m, e);

	if (r == 0 && m->host_id.len > 0)
		r = send_host(&a, &m->host_id, e);
	else if (r == 0 && (m->case_id.len > 0 || m->exhibit_id.len > 0))
		r = send_found(&a, m, e);
	else if (r == 0)
		r = send_range(&a, m, e);
	free(a.note);
	return r;
}
