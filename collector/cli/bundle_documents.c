/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that people and their tools read: custody record, how to check. The same bytes for
 * the same leaves, always. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/cli/bundle_leaf.h"
#include "proto/json.h"
#include "proto/order.h"

static void put_hex(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	char hex[2 * SEAL_HASH_LEN + 1] = "";

	if (b->len == 0 || b->len > SEAL_HASH_LEN)
		return;
	for (size_t i = 0; i < b->len; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", b->data[i]);
	json_text(j, key, hex);
}

static void put_text(struct json *j, const char *key, const ProtobufCBinaryData *b)
{
	if (b->len > 0)
		json_bytes(j, key, b->data, b->len);
}

void bundle_put_leaf(struct json *j, const struct bundle_leaf *l)
{
	const Exhibit__V1__LedgerEntry *m = l->entry;

	json_u64(j, "ledger_index", l->index);
	json_text(j, "kind", bundle_kind_name(m->kind));
	put_text(j, "who", &m->subject);
	put_text(j, "host", &m->host_id);
	put_text(j, "case", &m->case_id);
	put_hex(j, "order", &m->order_id);
	put_hex(j, "exhibit", &m->exhibit_id);
	put_hex(j, "object_sha256", &m->object);
	if (m->size > 0)
		json_u64(j, "object_bytes", m->size);
	if (m->state > 0 && order_state_name((Exhibit__V1__OrderState)m->state))
		json_text(j, "state", order_state_name((Exhibit__V1__OrderState)m->state));
	put_text(j, "text", &m->text);
}

void bundle_write_custody(const struct bundle *b, FILE *out)
{
	for (size_t i = 0; i < b->n_leaves; i++) {
		struct json j = json_init(out);

		if (!b->leaves[i].entry)
			continue;
		json_open(&j, NULL, 0, '{');
		json_time(&j, "time", b->leaves[i].entry->wall_ns);
		bundle_put_leaf(&j, &b->leaves[i]);
		json_close(&j, '}');
		json_line(&j);
	}
}

void bundle_write_readme(const struct bundle *b, FILE *out)
{
	(void)b;
	(void)fputs(
		"An export of Exhibit: evidence of one case, and what proves that it is whole and unchanged.\n"
		"\n"
		"exhibits/ID/items/    the evidence, in formats of the field (LiME, ELF core, pcapng, tar, raw)\n"
		"exhibits/ID/manifest.json, .sig, .signed   what the host says of it; its Ed25519 signature; the bytes\n"
		"                      that it signed (\"exhibit/manifest/v1\", NUL, SHA-256 of manifest.json)\n"
		"exhibits/ID/chunks/   SHA-256 of each MiB of an item: to say where damage is\n"
		"orders/               what was asked for, signed by who asked and who approved\n"
		"ledger/checkpoint     signed head of the collector's append-only log (C2SP tlog-checkpoint); its text,\n"
		"                      bare signature and key also as checkpoint.txt, .sig, key.pem, vkey\n"
		"ledger/leaves/        each step and object of the case as a leaf of that log, and the proof that it is in\n"
		"                      (C2SP tlog-proof)\n"
		"ledger/certificate.*  by which the order authority says whose log it is\n"
		"keys/                 the order authority; each host's record and key\n"
		"custody.jsonl         the leaves for reading: who did what, when, why\n"
		"events/               what the collector had stored of each exhibit's target around its order, and in\n"
		"                      ID.json how it was chosen, what was cut, what is missing; only the collector\n"
		"                      vouches for it\n"
		"timeline.jsonl        leaves and events on one axis of time, for Timesketch\n"
		"case.jsonld           the leaves in CASE/UCO\n"
		"\n"
		"All of it, with no network and no daemon:   exhibit verify FILE-OR-FOLDER --explain\n"
		"\n"
		"By other means:\n"
		"  sha256sum -c SHA256SUMS\n"
		"  openssl verify -CAfile keys/order-ca.crt ledger/certificate.crt\n"
		"  openssl pkeyutl -verify -rawin -pubin -inkey ledger/key.pem -in ledger/checkpoint.txt \\\n"
		"      -sigfile ledger/checkpoint.sig\n"
		"  openssl pkeyutl -verify -rawin -pubin -inkey keys/HOST.pem -in exhibits/ID/manifest.signed \\\n"
		"      -sigfile exhibits/ID/manifest.sig\n"
		"  (tail -c 32 exhibits/ID/manifest.signed | xxd -p -c 32; sha256sum exhibits/ID/manifest.json) shows the\n"
		"  same SHA-256 twice; the object of the exhibit's leaf is that value too.\n"
		"  Proofs: any implementation of RFC 6962; Go's golang.org/x/mod/sumdb/note and tlog read ledger/vkey,\n"
		"  ledger/checkpoint and *.tlog-proof.\n",
		out);
}
