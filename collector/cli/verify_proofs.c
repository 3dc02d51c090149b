/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/verify.h"
#include "proto/order.h"

/* ---- the ledger ---- */

static void check_checkpoint(struct verify *v)
{
	const struct bundle *b = &v->bundle;
	struct error why = { 0 };
	struct note_key key;

	if (!v->order) {
		verify_fault(v, "keys/order-ca.crt", 0, b->authority.len,
			     "it is no authority's certificate");
		return;
	}
	if (ledger_cert_check(b->certificate.data, b->certificate.len, v->order, 0, &key, &why) <
	    0) {
		verify_fault(v, "ledger/certificate.der", 0, b->certificate.len, "%s", why.text);
		return;
	}
	verify_explain(v,
		       "the order authority says that the key of the log '%s' is the one in "
		       "ledger/certificate.der",
		       key.name);
	if (checkpoint_open(&key, (char *)b->note.data, b->note.len, &v->checkpoint, &why) < 0) {
		verify_fault(v, "ledger/checkpoint", 0, b->note.len, "%s", why.text);
		return;
	}
	v->good_checkpoint = true;
	verify_explain(v, "this key signed the checkpoint over %" PRIu64 " leaves",
		       v->checkpoint.size);
}

static int check_leaf(struct verify *v, const struct bundle_leaf *l, struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	struct seal_hash hash;
	int r = tlog_leaf_hash(l->bytes.data ? l->bytes.data : (const uint8_t *)"", l->bytes.len,
			       &hash);

	if (r == 0)
		r = tlog_check_inclusion(l->proof, l->n, l->index, v->checkpoint.size, &hash,
					 &v->checkpoint.root);
	(void)snprintf(path, sizeof(path), "ledger/leaves/%" PRIu64 ".leaf", l->index);
	if (r == -EBADMSG)
		verify_fault(
			v, path, 0, l->bytes.len,
			"it is not in the log at this place: leaf, proof or checkpoint was changed");
	else if (r < 0)
		return error_set(e, r, "cannot check a leaf: %m");
	else if (!l->entry)
		verify_fault(v, path, 0, l->bytes.len, "it cannot be read");
	return 0;
}

int verify_ledger(struct verify *v, struct error *e)
{
	uint64_t before = v->faults;
	int r = 0;

	check_checkpoint(v);
	if (!v->good_checkpoint)
		return 0;
	for (size_t i = 0; i < v->bundle.n_leaves && r == 0; i++)
		r = check_leaf(v, &v->bundle.leaves[i], e);
	if (r == 0 && v->faults == before)
		verify_explain(v,
			       "%zu leaves are in the log under this checkpoint, each at its place "
			       "(whether the log has others of the case, only the log can say)",
			       v->bundle.n_leaves);
	return r;
}

const struct bundle_leaf *verify_leaf_of(const struct verify *v, Exhibit__V1__LedgerKind kind,
					 const struct seal_hash *object)
{
	for (size_t i = 0; i < v->bundle.n_leaves; i++) {
		const Exhibit__V1__LedgerEntry *m = v->bundle.leaves[i].entry;

		if (m && m->kind == kind && m->object.len == SEAL_HASH_LEN &&
		    memcmp(m->object.data, object->b, SEAL_HASH_LEN) == 0)
			return &v->bundle.leaves[i];
	}
	return NULL;
}

/* ---- exhibits ---- */

static int check_record(struct verify *v, const struct bundle_host *h, struct error *e)
{
	struct seal_hash hash;
	char path[BUNDLE_PATH_MAX];

	(void)snprintf(path, sizeof(path), "keys/%s.record", h->id);
	if (seal_sha256(h->record.data ? h->record.data : (const uint8_t *)"", h->record.len,
			&hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a record: %m");
	if (!h->readable)
		verify_fault(v, path, 0, h->record.len, "it is no record of the host '%s'", h->id);
	else if (!verify_leaf_of(v, EXHIBIT__V1__LEDGER_KIND__LEDGER_HOST_RECORD, &hash))
		verify_fault(v, path, 0, h->record.len,
			     "no leaf of the ledger is over it: it is not what the collector had");
	return 0;
}

static bool signed_by(const struct bundle_host *h, const struct bundle_exhibit *x)
{
	struct seal_verifier *key = NULL;
	bool good = h->readable && seal_verifier_new(h->key, &key, NULL) == 0 &&
		    seal_verify(key, BUNDLE_MANIFEST_DOMAIN, x->manifest.data, x->manifest.len,
				x->signature.data, x->signature.len) == 0;

	seal_verifier_free(key);
	return good;
}

static int check_exhibit(struct verify *v, const struct bundle_exhibit *x, struct error *e)
{
	const struct bundle_leaf *l;
	const struct bundle_host *h;
	struct seal_hash hash;
	char path[BUNDLE_PATH_MAX];

	(void)snprintf(path, sizeof(path), "exhibits/%s/manifest.json", x->id);
	if (seal_sha256(x->manifest.data ? x->manifest.data : (const uint8_t *)"", x->manifest.len,
			&hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a manifest: %m");
	l = verify_leaf_of(v, EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT, &hash);
	h = l ? bundle_host_of(&v->bundle, &l->entry->host_id) : NULL;
	if (!l)
		verify_fault(v, path, 0, x->manifest.len,
			     "no leaf of the ledger is over it: it is not what was sealed");
	else if (!h)
		verify_fault(v, path, 0, x->manifest.len, "the record of its host is not there");
	else if (!signed_by(h, x))
		verify_fault(v, path, 0, x->manifest.len, "the host '%s' did not sign it", h->id);
	else if (!x->parsed)
		verify_fault(v, path, 0, x->manifest.len, "it cannot be read as a manifest");
	else
		verify_explain(
			v,
			"exhibit %s: the host '%s' signed its manifest, which is leaf %" PRIu64
			" of the ledger",
			x->id, h->id, l->index);
	return 0;
}

/* Each sealed exhibit of the case is here. */
static void check_all_here(struct verify *v)
{
	for (size_t i = 0; i < v->bundle.n_leaves; i++) {
		const Exhibit__V1__LedgerEntry *m = v->bundle.leaves[i].entry;
		char id[2 * VAULT_ID_LEN + 1] = "", path[64 + sizeof(id)];
		bool here = false;

		if (!m || m->kind != EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT ||
		    m->exhibit_id.len != VAULT_ID_LEN)
			continue;
		for (size_t k = 0; k < VAULT_ID_LEN; k++)
			(void)snprintf(id + 2 * k, 3, "%02x", m->exhibit_id.data[k]);
		for (size_t k = 0; k < v->bundle.n_exhibits && !here; k++)
			here = strcmp(v->bundle.exhibits[k].id, id) == 0;
		(void)snprintf(path, sizeof(path), "exhibits/%s/", id);
		for (size_t k = 0; k < v->files.n && !here; k++)
			here = strncmp(v->files.at[k].path, path, strlen(path)) == 0;
		if (!here)
			verify_fault(v, path, 0, 0,
				     "the ledger says that this exhibit was sealed (leaf %" PRIu64
				     "), and it is not here",
				     v->bundle.leaves[i].index);
	}
}

int verify_exhibits(struct verify *v, struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < v->bundle.n_hosts && r == 0; i++)
		r = check_record(v, &v->bundle.hosts[i], e);
	for (size_t i = 0; i < v->bundle.n_exhibits && r == 0; i++)
		r = check_exhibit(v, &v->bundle.exhibits[i], e);
	if (r == 0)
		check_all_here(v);
	return r;
}

/* ---- orders ---- */

/* As the host checked it, at the time at which it was made. */
static int check_signed(struct verify *v, const Exhibit__V1__SignedOrder *m,
			const struct bundle_order *o, struct order_checked *ret, struct error *why)
{
	Exhibit__V1__Order *order = NULL;
	struct revocations *none = NULL;
	char tenant[BATCH_NAME_MAX + 1], domain[NOTE_NAME_MAX + 1];
	struct order_context c = { .authorities = v->order, .domain = domain, .tenant = tenant };
	int r = order_parse(m->order.data, m->order.len, &order, why);

	if (r == 0) {
		(void)snprintf(tenant, sizeof(tenant), "%.*s", (int)order->tenant.len,
			       (const char *)order->tenant.data);
		r = revocations_new(tenant, &none, why);
	}
	if (r == 0) {
		(void)snprintf(domain, sizeof(domain), "%.*s",
			       (int)strcspn(v->bundle.key.name, "/"), v->bundle.key.name);
		c.now_ns = order->made_ns > order->not_before_ns ? order->made_ns :
								   order->not_before_ns;
		c.revocations = none;
		r = order_check(&c, o->bytes.data, o->bytes.len, ret, why);
	}
	revocations_free(none);
	if (order)
		exhibit__v1__order__free_unpacked(order, NULL);
	return r;
}

static int check_order(struct verify *v, const struct bundle_order *o, struct error *e)
{
	struct order_checked checked = { 0 };
	struct error why = { 0 };
	char path[BUNDLE_PATH_MAX], who[IDENTITY_SPIFFE_MAX];
	Exhibit__V1__SignedOrder *m =
		exhibit__v1__signed_order__unpack(NULL, o->bytes.len, o->bytes.data);
	const struct bundle_leaf *l;
	int r = m ? check_signed(v, m, o, &checked, &why) :
		    error_set(&why, -EBADMSG, "it is no order");

	(void)e;
	(void)snprintf(path, sizeof(path), "orders/%s.order", o->id);
	if (r < 0) {
		verify_fault(v, path, 0, o->bytes.len, "%s", why.text);
	} else {
		l = verify_leaf_of(v, EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER, &checked.hash);
		if (!l)
			verify_fault(v, path, 0, o->bytes.len, "no leaf of the ledger is over it");
		else
			verify_explain(v,
				       "order %s: signed by '%s' and %zu approvers, leaf %" PRIu64
				       " of the ledger",
				       o->id, identity_spiffe(&checked.requester, who),
				       checked.n_approvers, l->index);
		order_checked_release(&checked);
	}
	if (m)
		exhibit__v1__signed_order__free_unpacked(m, NULL);
	return 0;
}

int verify_orders(struct verify *v, struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < v->bundle.n_orders && r == 0 && v->order; i++)
		r = check_order(v, &v->bundle.orders[i], e);
	return r;
}
