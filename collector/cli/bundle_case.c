/* SPDX-License-Identifier: Apache-2.0 */
/* CASE/UCO (caseontology.org) as JSON-LD: the case as an investigation, orders as authorizations, acquisitions as
 * investigative actions, exhibits as provenance records over their files. Identifiers are made from what they
 * stand for, so that the same bundle gives the same document. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/bundle.h"
#include "proto/base/clock.h"
#include "proto/json.h"

#define IRI_MAX 120

static const struct {
	const char *prefix, *iri;
} context[] = {
	{ "kb", "http://example.org/kb/" },
	{ "case-investigation", "https://ontology.caseontology.org/case/investigation/" },
	{ "uco-action", "https://ontology.unifiedcyberontology.org/uco/action/" },
	{ "uco-core", "https://ontology.unifiedcyberontology.org/uco/core/" },
	{ "uco-identity", "https://ontology.unifiedcyberontology.org/uco/identity/" },
	{ "uco-observable", "https://ontology.unifiedcyberontology.org/uco/observable/" },
	{ "uco-tool", "https://ontology.unifiedcyberontology.org/uco/tool/" },
	{ "uco-types", "https://ontology.unifiedcyberontology.org/uco/types/" },
	{ "xsd", "http://www.w3.org/2001/XMLSchema#" },
};

/* "kb:KIND-UUID", the UUID from SHA-256(kind, NUL, bytes), marked as version 5: UCO knows none later. */
static const char *iri(const char *kind, const void *data, size_t len, char buf[static IRI_MAX])
{
	uint8_t text[600];
	size_t at = strlen(kind) + 1;
	struct seal_hash h = { 0 };

	if (len > sizeof(text) - at)
		len = sizeof(text) - at;
	memcpy(text, kind, at);
	memcpy(text + at, data, len);
	if (seal_sha256(text, at + len, &h) < 0)
		memset(&h, 0, sizeof(h));
	h.b[6] = (uint8_t)((h.b[6] & 0x0f) | 0x50);
	h.b[8] = (uint8_t)((h.b[8] & 0x3f) | 0x80);
	(void)snprintf(buf, IRI_MAX,
		       "kb:%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		       kind, h.b[0], h.b[1], h.b[2], h.b[3], h.b[4], h.b[5], h.b[6], h.b[7], h.b[8],
		       h.b[9], h.b[10], h.b[11], h.b[12], h.b[13], h.b[14], h.b[15]);
	return buf;
}

static void open_key(struct json *j, const char *key, char bracket)
{
	json_open(j, key, key ? strlen(key) : 0, bracket);
}

static void ref(struct json *j, const char *key, const char *to)
{
	open_key(j, key, '{');
	json_text(j, "@id", to);
	json_close(j, '}');
}

/* {"@type": ..., "@value": ...} */
static void typed(struct json *j, const char *key, const char *type, const char *value)
{
	open_key(j, key, '{');
	json_text(j, "@type", type);
	json_text(j, "@value", value);
	json_close(j, '}');
}

static void typed_time(struct json *j, const char *key, int64_t wall_ns)
{
	open_key(j, key, '{');
	json_text(j, "@type", "xsd:dateTime");
	json_time(j, "@value", wall_ns);
	json_close(j, '}');
}

static void begin_node(struct json *j, const char *id, const char *type)
{
	open_key(j, NULL, '{');
	json_text(j, "@id", id);
	json_text(j, "@type", type);
}

static bool is(const struct bundle_leaf *l, Exhibit__V1__LedgerKind kind)
{
	return l->entry && l->entry->kind == kind;
}

static const ProtobufCBinaryData *case_of(const struct bundle *b)
{
	static const ProtobufCBinaryData none;

	for (size_t i = 0; i < b->n_leaves; i++)
		if (b->leaves[i].entry && b->leaves[i].entry->case_id.len > 0)
			return &b->leaves[i].entry->case_id;
	return &none;
}

static void put_hex(struct json *j, const char *key, const void *data, size_t len)
{
	char hex[2 * SEAL_HASH_LEN + 1] = "";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len && i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	json_text(j, key, hex);
}

static void investigation(struct json *j, const struct bundle *b)
{
	const ProtobufCBinaryData *name = case_of(b);
	char id[IRI_MAX];
	bool any = false;

	begin_node(j, iri("investigation", name->data, name->len, id),
		   "case-investigation:Investigation");
	json_bytes(j, "uco-core:name", name->data, name->len);
	for (size_t i = 0; i < b->n_leaves; i++) {
		const struct bundle_leaf *l = &b->leaves[i];

		if (!is(l, EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER))
			continue;
		if (!any)
			open_key(j, "case-investigation:relevantAuthorization", '[');
		any = true;
		ref(j, NULL,
		    iri("authorization", l->entry->order_id.data, l->entry->order_id.len, id));
	}
	if (any)
		json_close(j, ']');
	json_close(j, '}');
}

static void identity(struct json *j, const ProtobufCBinaryData *who)
{
	char id[IRI_MAX];

	begin_node(j, iri("identity", who->data, who->len, id), "uco-identity:Identity");
	json_bytes(j, "uco-core:name", who->data, who->len);
	json_close(j, '}');
}

/* Each subject once. */
static void identities(struct json *j, const struct bundle *b)
{
	for (size_t i = 0; i < b->n_leaves; i++) {
		const Exhibit__V1__LedgerEntry *m = b->leaves[i].entry;
		bool first = m && m->subject.len > 0;

		for (size_t k = 0; k < i && first; k++) {
			const Exhibit__V1__LedgerEntry *o = b->leaves[k].entry;

			first = !o || o->subject.len != m->subject.len ||
				memcmp(o->subject.data, m->subject.data, m->subject.len) != 0;
		}
		if (first)
			identity(j, &m->subject);
	}
}

static void authorization(struct json *j, const Exhibit__V1__LedgerEntry *m)
{
	char id[IRI_MAX];

	begin_node(j, iri("authorization", m->order_id.data, m->order_id.len, id),
		   "case-investigation:Authorization");
	json_text(j, "case-investigation:authorizationType", "signed order");
	put_hex(j, "case-investigation:authorizationIdentifier", m->order_id.data, m->order_id.len);
	if (m->text.len > 0)
		json_bytes(j, "uco-core:description", m->text.data, m->text.len);
	json_close(j, '}');
}

static const struct bundle_exhibit *exhibit_of(const struct bundle *b,
					       const Exhibit__V1__LedgerEntry *m)
{
	for (size_t i = 0; i < b->n_exhibits; i++)
		if (b->exhibits[i].parsed && m->exhibit_id.len == VAULT_ID_LEN &&
		    memcmp(b->exhibits[i].parsed->exhibit_id, m->exhibit_id.data, VAULT_ID_LEN) ==
			    0)
			return &b->exhibits[i];
	return NULL;
}

static const char *file_iri(const struct bundle_exhibit *x, const struct vault_manifest_item *item,
			    char buf[static IRI_MAX])
{
	char key[VAULT_NAME_MAX + 2 * VAULT_ID_LEN + 2];
	int n = snprintf(key, sizeof(key), "%s/%s", x->id, item->name);

	return iri("file", key, (size_t)n, buf);
}

static void put_hash(struct json *j, const char *of, const struct seal_hash *sha256)
{
	char id[IRI_MAX], hex[2 * SEAL_HASH_LEN + 1];

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", sha256->b[i]);
	open_key(j, "uco-observable:hash", '[');
	begin_node(j, iri("hash", of, strlen(of), id), "uco-types:Hash");
	json_text(j, "uco-types:hashMethod", "SHA256");
	typed(j, "uco-types:hashValue", "xsd:hexBinary", hex);
	json_close(j, '}');
	json_close(j, ']');
}

static void file(struct json *j, const struct bundle_exhibit *x,
		 const struct vault_manifest_item *item)
{
	char id[IRI_MAX], facet[IRI_MAX], size[32];

	begin_node(j, file_iri(x, item, id), "uco-observable:File");
	open_key(j, "uco-core:hasFacet", '[');
	begin_node(j, iri("file-facet", id, strlen(id), facet), "uco-observable:FileFacet");
	json_bytes(j, "uco-observable:fileName", item->name, strlen(item->name));
	(void)snprintf(size, sizeof(size), "%" PRIu64, item->bytes);
	typed(j, "uco-observable:sizeInBytes", "xsd:integer", size);
	json_close(j, '}');
	begin_node(j, iri("content-data-facet", id, strlen(id), facet),
		   "uco-observable:ContentDataFacet");
	put_hash(j, id, &item->sha256);
	json_close(j, '}');
	json_close(j, ']');
	json_close(j, '}');
}

static void provenance(struct json *j, const struct bundle_exhibit *x)
{
	char id[IRI_MAX];

	begin_node(j, iri("provenance-record", x->id, strlen(x->id), id),
		   "case-investigation:ProvenanceRecord");
	json_text(j, "case-investigation:exhibitNumber", x->id);
	open_key(j, "uco-core:object", '[');
	for (size_t i = 0; i < x->parsed->n_items; i++)
		ref(j, NULL, file_iri(x, &x->parsed->items[i], id));
	json_close(j, ']');
	json_close(j, '}');
}

/* The acquisition ends when its exhibit is sealed; it begins, as far as the log knows, with its order. */
static void acquisition(struct json *j, const struct bundle *b, const struct bundle_leaf *l,
			const struct bundle_exhibit *x)
{
	const Exhibit__V1__LedgerEntry *m = l->entry;
	char id[IRI_MAX];

	begin_node(j, iri("investigative-action", x->id, strlen(x->id), id),
		   "case-investigation:InvestigativeAction");
	json_text(j, "uco-core:name", "acquired");
	for (size_t i = 0; i < b->n_leaves; i++) {
		const Exhibit__V1__LedgerEntry *o = b->leaves[i].entry;

		if (is(&b->leaves[i], EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER) &&
		    m->order_id.len > 0 && o->order_id.len == m->order_id.len &&
		    memcmp(o->order_id.data, m->order_id.data, m->order_id.len) == 0) {
			typed_time(j, "uco-action:startTime", o->wall_ns);
			break;
		}
	}
	typed_time(j, "uco-action:endTime", m->wall_ns);
	if (m->subject.len > 0)
		ref(j, "uco-action:performer",
		    iri("identity", m->subject.data, m->subject.len, id));
	open_key(j, "uco-action:instrument", '[');
	ref(j, NULL, iri("tool", "exhibit", 7, id));
	json_close(j, ']');
	open_key(j, "uco-action:result", '[');
	ref(j, NULL, iri("provenance-record", x->id, strlen(x->id), id));
	for (size_t i = 0; i < x->parsed->n_items; i++)
		ref(j, NULL, file_iri(x, &x->parsed->items[i], id));
	json_close(j, ']');
	json_close(j, '}');
}

static void tool(struct json *j)
{
	char id[IRI_MAX];

	begin_node(j, iri("tool", "exhibit", 7, id), "uco-tool:Tool");
	json_text(j, "uco-core:name", "Exhibit");
	json_close(j, '}');
}

static void exhibit(struct json *j, const struct bundle *b, const struct bundle_leaf *l)
{
	const struct bundle_exhibit *x = exhibit_of(b, l->entry);

	if (!x || x->parsed->n_items == 0)
		return;
	acquisition(j, b, l, x);
	provenance(j, x);
	for (size_t i = 0; i < x->parsed->n_items; i++)
		file(j, x, &x->parsed->items[i]);
}

void bundle_write_case(const struct bundle *b, FILE *out)
{
	struct json j = json_init(out);

	json_open(&j, NULL, 0, '{');
	open_key(&j, "@context", '{');
	for (size_t i = 0; i < ARRAY_LEN(context); i++)
		json_text(&j, context[i].prefix, context[i].iri);
	json_close(&j, '}');
	open_key(&j, "@graph", '[');
	investigation(&j, b);
	identities(&j, b);
	tool(&j);
	for (size_t i = 0; i < b->n_leaves; i++) {
		if (is(&b->leaves[i], EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER))
			authorization(&j, b->leaves[i].entry);
		if (is(&b->leaves[i], EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT))
			exhibit(&j, b, &b->leaves[i]);
	}
	json_close(&j, ']');
	json_close(&j, '}');
	json_line(&j);
}
