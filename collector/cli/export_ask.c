/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/export_ask.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "collector/cli/config.h"
#include "collector/cli/export_events.h"
#include "collector/cli/session.h"
#include "proto/authorities.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/order.h"

#define AGAIN_NS (60 * NSEC_PER_SEC)

typedef int (*take_fn)(void *ctx, const uint8_t *data, size_t len, struct error *e);

int export_call(const struct args *a, const char *path, const void *question, take_fn fn, void *ctx,
		struct error *e)
{
	AUTO(session_free_ptr) struct session *s = NULL;
	int r = session_open(a, path, question, &s, e);

	if (r < 0)
		return r;
	for (;;) {
		AUTO(free_ptr) uint8_t *data = NULL;
		size_t len;

		r = session_next(s, &data, &len, e);
		if (r <= 0)
			break;
		r = fn(ctx, data, len, e);
		if (r < 0)
			return r;
	}
	return r == 0 && session_interrupted() ? error_set(e, -EINTR, "interrupted") : r;
}

/* ---- a collector that goes away ---- */

struct patience {
	uint64_t until_ns; /* 0: nothing broke since it last said something */
};

/* Whether to ask again. */
static bool wait_again(struct patience *p, int r, bool got_on)
{
	uint64_t now = clock_monotonic_ns();

	if ((r != -ECONNREFUSED && r != -ECANCELED && r != -ETIMEDOUT) || session_interrupted())
		return false;
	if (got_on || p->until_ns == 0) {
		p->until_ns = now + AGAIN_NS;
		(void)fputs("the collector is away; going on when it is back\n", stderr);
	}
	if (now >= p->until_ns)
		return false;
	(void)usleep(500000);
	return true;
}

static int unreadable(struct error *e)
{
	(void)error_set(e, -EBADMSG,
			"the collector's answer cannot be read; is it of another version?");
	return -EBADMSG;
}

static int no_memory(struct error *e)
{
	(void)error_set(e, -ENOMEM, "cannot make the bundle: out of memory");
	return -ENOMEM;
}

/* ---- the ledger ---- */

static int take_certificate(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct bundle *b = ctx;
	Exhibit__V1__CheckpointReply *m = exhibit__v1__checkpoint_reply__unpack(NULL, len, data);
	int r = m && m->update ? 0 : unreadable(e);

	if (r == 0 &&
	    blob_set(&b->certificate, m->update->certificate.data, m->update->certificate.len) < 0)
		r = no_memory(e);
	if (m)
		exhibit__v1__checkpoint_reply__free_unpacked(m, NULL);
	return r;
}

static int add_leaf(struct bundle *b, const Exhibit__V1__EntriesReply *m, struct error *e)
{
	struct bundle_leaf *l;

	if (m->n_inclusion > TLOG_PROOF_MAX)
		return unreadable(e);
	l = bundle_add_leaf(b);
	if (!l || blob_set(&l->bytes, m->entry.data, m->entry.len) < 0)
		return no_memory(e);
	l->index = m->index;
	for (; l->n < m->n_inclusion; l->n++) {
		if (m->inclusion[l->n].len != SEAL_HASH_LEN)
			return unreadable(e);
		memcpy(l->proof[l->n].b, m->inclusion[l->n].data, SEAL_HASH_LEN);
	}
	return 0;
}

static int take_leaf(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct bundle *b = ctx;
	Exhibit__V1__EntriesReply *m = exhibit__v1__entries_reply__unpack(NULL, len, data);
	int r = m ? add_leaf(b, m, e) : unreadable(e);

	if (r == 0 && m->checkpoint.len > 0 &&
	    blob_set(&b->note, m->checkpoint.data, m->checkpoint.len) < 0)
		r = no_memory(e);
	if (m)
		exhibit__v1__entries_reply__free_unpacked(m, NULL);
	return r;
}

static int ask_ledger(const struct args *a, const char *case_id, struct bundle *b, struct error *e)
{
	Exhibit__V1__CheckpointRequest checkpoint = EXHIBIT__V1__CHECKPOINT_REQUEST__INIT;
	Exhibit__V1__EntriesRequest entries = EXHIBIT__V1__ENTRIES_REQUEST__INIT;
	int r = export_call(a, "/exhibit.v1.Ledger/Checkpoint", &checkpoint, take_certificate, b,
			    e);

	entries.case_id = (ProtobufCBinaryData){ strlen(case_id), (uint8_t *)(uintptr_t)case_id };
	return r == 0 ? export_call(a, "/exhibit.v1.Ledger/Entries", &entries, take_leaf, b, e) : r;
}

/* ---- hosts ---- */

struct host_question {
	struct bundle *b;
	const ProtobufCBinaryData *id;
};

static int take_host(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct host_question *q = ctx;
	Exhibit__V1__EntriesReply *m = exhibit__v1__entries_reply__unpack(NULL, len, data);
	struct bundle_host *h = NULL;
	int r = m ? add_leaf(q->b, m, e) : unreadable(e);

	if (r == 0)
		h = bundle_add_host(q->b);
	if (r == 0 && (!h || blob_set(&h->record, m->object.data, m->object.len) < 0))
		r = no_memory(e);
	if (r == 0)
		(void)snprintf(h->id, sizeof(h->id), "%.*s", (int)q->id->len,
			       (const char *)q->id->data);
	if (r == 0 && !bundle_name_valid(h->id))
		r = error_set(e, -EBADMSG, "the collector names a host that no bundle can hold");
	if (m)
		exhibit__v1__entries_reply__free_unpacked(m, NULL);
	return r;
}

static int ask_hosts(const struct args *a, const struct exhibit_list *list, struct bundle *b,
		     struct error *e)
{
	struct checkpoint c;
	const char *text;
	int r = ledger_cert_check(b->certificate.data, b->certificate.len, NULL, 0, &b->key, e);
	size_t len;

	if (r == 0)
		r = note_open(&b->key, (char *)b->note.data, b->note.len, &text, &len, e);
	if (r == 0)
		r = checkpoint_parse(text, len, &c, e);
	for (size_t i = 0; i < list->n && r == 0; i++) {
		Exhibit__V1__EntriesRequest m = EXHIBIT__V1__ENTRIES_REQUEST__INIT;
		struct host_question q = { b, &list->at[i]->host_id };

		if (q.id->len == 0 || bundle_host_of(b, q.id))
			continue;
		m.host_id = *q.id;
		m.size = c.size;
		r = export_call(a, "/exhibit.v1.Ledger/Entries", &m, take_host, &q, e);
	}
	return r;
}

/* ---- orders ---- */

static int take_order(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct bundle *b = ctx;
	Exhibit__V1__OrderAnswer *m = exhibit__v1__order_answer__unpack(NULL, len, data);
	Exhibit__V1__Order *order = NULL;
	int r = m ? 0 : unreadable(e);

	if (r == 0 && m->kind_case == EXHIBIT__V1__ORDER_ANSWER__KIND_ORDER) {
		struct bundle_order *o = bundle_add_order(b);

		len = exhibit__v1__signed_order__get_packed_size(m->order);
		r = order_parse(m->order->order.data, m->order->order.len, &order, e);
		if (r == 0 && (!o || !(o->bytes.data = malloc(len + 1))))
			r = no_memory(e);
		if (r == 0) {
			o->bytes.len = exhibit__v1__signed_order__pack(m->order, o->bytes.data);
			for (size_t i = 0; i < ORDER_ID_LEN; i++)
				(void)snprintf(o->id + 2 * i, 3, "%02x", order->order_id.data[i]);
		}
	}
	if (order)
		exhibit__v1__order__free_unpacked(order, NULL);
	if (m)
		exhibit__v1__order_answer__free_unpacked(m, NULL);
	return r;
}

static int ask_orders(const struct args *a, const char *case_id, struct bundle *b, struct error *e)
{
	Exhibit__V1__OrdersQuery q = EXHIBIT__V1__ORDERS_QUERY__INIT;

	q.case_id = (ProtobufCBinaryData){ strlen(case_id), (uint8_t *)(uintptr_t)case_id };
	q.limit = BUNDLE_EXHIBITS_MAX;
	return export_call(a, "/exhibit.v1.Orders/List", &q, take_order, b, e);
}

/* ---- exhibits ---- */

static int take_manifest(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct bundle_exhibit *x = ctx;
	Exhibit__V1__FetchReply *m = exhibit__v1__fetch_reply__unpack(NULL, len, data);
	int r = m && m->kind_case == EXHIBIT__V1__FETCH_REPLY__KIND_MANIFEST ? 0 : unreadable(e);

	if (r == 0 &&
	    (blob_set(&x->manifest, m->manifest->manifest.data, m->manifest->manifest.len) < 0 ||
	     blob_set(&x->signature, m->manifest->signature.data, m->manifest->signature.len) < 0))
		r = no_memory(e);
	if (m)
		exhibit__v1__fetch_reply__free_unpacked(m, NULL);
	return r;
}

static int ask_exhibit(const struct args *a, const Exhibit__V1__ExhibitInfo *info, struct bundle *b,
		       struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	struct bundle_exhibit *x = bundle_add_exhibit(b);

	if (!x)
		return no_memory(e);
	if (info->exhibit_id.len != VAULT_ID_LEN)
		return unreadable(e);
	for (size_t i = 0; i < VAULT_ID_LEN; i++)
		(void)snprintf(x->id + 2 * i, 3, "%02x", info->exhibit_id.data[i]);
	if (info->manifest_sha256.len == 0)
		return 0; /* sealed without one */
	q.exhibit_id = info->exhibit_id;
	return export_call(a, VAULT_PATH_FETCH, &q, take_manifest, x, e);
}

static int ask_exhibits(const struct args *a, const char *case_id, struct bundle *b,
			struct exhibit_list *list, struct error *e)
{
	Exhibit__V1__ExhibitsQuery q = EXHIBIT__V1__EXHIBITS_QUERY__INIT;
	int r;

	q.case_id = (ProtobufCBinaryData){ strlen(case_id), (uint8_t *)(uintptr_t)case_id };
	r = exhibit_list_ask(a, VAULT_PATH_EXHIBITS, &q, list, e);
	/* What is still arriving is of a later export. */
	for (size_t i = 0; i < list->n && r == 0; i++) {
		if (list->at[i]->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
			return error_set(e, -EAGAIN, "an exhibit of the case is still arriving");
		r = ask_exhibit(a, list->at[i], b, e);
	}
	return r;
}

/* Sealed meanwhile, an exhibit would have a leaf and no place. */
static int check_unchanged(const struct args *a, const char *case_id,
			   const struct exhibit_list *list, struct error *e)
{
	Exhibit__V1__ExhibitsQuery q = EXHIBIT__V1__EXHIBITS_QUERY__INIT;
	AUTO(exhibit_list_release) struct exhibit_list again = { 0 };
	int r;

	q.case_id = (ProtobufCBinaryData){ strlen(case_id), (uint8_t *)(uintptr_t)case_id };
	r = exhibit_list_ask(a, VAULT_PATH_EXHIBITS, &q, &again, e);
	if (r == 0 && again.n != list->n) {
		(void)error_set(e, -EAGAIN, "the case got another exhibit meanwhile");
		error_hint(e, "export it again");
		return -EAGAIN;
	}
	return r;
}

static int by_index(const void *a, const void *b)
{
	const struct bundle_leaf *x = a, *y = b;

	return x->index < y->index ? -1 : x->index > y->index;
}

/* The authority that this CLI trusts: whoever verifies compares it with the one that they trust. */
static int take_authority(const struct args *a, struct bundle *b, struct error *e)
{
	struct cli_config c = { 0 };
	int r = cli_config_load(a->config, &c, e);

	if (r == 0)
		r = files_read(c.order_ca, AUTHORITIES_FILE_MAX, &b->authority.data,
			       &b->authority.len, e);
	options_release(&cli_options, &c);
	return r;
}

static int ask_all(const struct args *a, const char *case_id, struct bundle *b,
		   struct exhibit_list *list, struct error *e)
{
	int r = take_authority(a, b, e);

	if (r == 0)
		r = ask_exhibits(a, case_id, b, list, e);
	if (r == 0)
		r = ask_orders(a, case_id, b, e);
	if (r == 0)
		r = ask_ledger(a, case_id, b, e);
	if (r == 0)
		r = check_unchanged(a, case_id, list, e);
	/* The export's own leaf is always there. */
	if (r == 0 && b->n_leaves < 2 && list->n == 0) {
		(void)error_set(e, -ENOENT, "the collector knows no case '%.100s'", case_id);
		error_hint(e,
			   "'exhibit exhibits' and 'exhibit orders' show the cases that there are");
		return -ENOENT;
	}
	if (r == 0)
		r = ask_hosts(a, list, b, e);
	return r == 0 ? export_events(a, list, b, e) : r;
}

int export_ask(const struct args *a, const char *case_id, struct bundle *b,
	       struct exhibit_list *list, struct error *e)
{
	struct patience p = { 0 };
	bool answered = false;
	int r;

	/* From the start: what belongs together is asked for in one go. */
	do {
		bundle_release(b);
		exhibit_list_release(list);
		*e = (struct error){ 0 };
		r = ask_all(a, case_id, b, list, e);
		answered |= list->n > 0 || b->n_orders > 0 || b->note.len > 0;
	} while (r < 0 && answered && wait_again(&p, r, false));
	if (r < 0)
		return r;
	qsort(b->leaves, b->n_leaves, sizeof(*b->leaves), by_index);
	bundle_understand(b);
	return 0;
}

/* ---- items ---- */

struct item_bytes {
	int (*fn)(void *ctx, const void *data, size_t len, struct error *e);
	void *ctx;
	uint64_t bytes;
};

static int take_bytes(void *ctx, const uint8_t *data, size_t len, struct error *e)
{
	struct item_bytes *i = ctx;
	Exhibit__V1__FetchReply *m = exhibit__v1__fetch_reply__unpack(NULL, len, data);
	int r = m && m->kind_case == EXHIBIT__V1__FETCH_REPLY__KIND_DATA ? 0 : unreadable(e);

	if (r == 0) {
		i->bytes += m->data.len;
		r = i->fn(i->ctx, m->data.data, m->data.len, e);
	}
	if (m)
		exhibit__v1__fetch_reply__free_unpacked(m, NULL);
	return r;
}

int export_item(const struct args *a, const Exhibit__V1__ExhibitInfo *info,
		const Exhibit__V1__ItemInfo *item,
		int (*fn)(void *ctx, const void *data, size_t len, struct error *e), void *ctx,
		struct error *e)
{
	Exhibit__V1__FetchRequest q = EXHIBIT__V1__FETCH_REQUEST__INIT;
	struct item_bytes bytes = { .fn = fn, .ctx = ctx };
	struct patience p = { 0 };
	int r;

	q.exhibit_id = info->exhibit_id;
	q.name = item->name;
	do {
		q.offset = bytes.bytes;
		*e = (struct error){ 0 };
		r = export_call(a, VAULT_PATH_FETCH, &q, take_bytes, &bytes, e);
	} while (r < 0 && wait_again(&p, r, bytes.bytes > q.offset));
	if (r == 0 && bytes.bytes != item->bytes)
		r = error_set(e, -EBADMSG,
			      "the collector sent %" PRIu64 " bytes of an item of %" PRIu64,
			      bytes.bytes, item->bytes);
	return r;
}
