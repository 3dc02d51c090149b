/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/cli/bundle.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "batch.pb-c.h"
#include "collector/cli/bundle_events.h"
#include "collector/retention_record.h"
#include "proto/base/base64.h"
#include "proto/identity.h"
#include "proto/openssl_util.h"

void blob_release(struct blob *b)
{
	free(b->data);
	*b = (struct blob){ 0 };
}

int blob_set(struct blob *b, const void *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	free(b->data);
	*b = (struct blob){ copy, len };
	return 0;
}

void bundle_release(struct bundle *b)
{
	for (size_t i = 0; i < b->n_leaves; i++) {
		blob_release(&b->leaves[i].bytes);
		if (b->leaves[i].entry)
			exhibit__v1__ledger_entry__free_unpacked(b->leaves[i].entry, NULL);
	}
	for (size_t i = 0; i < b->n_exhibits; i++) {
		blob_release(&b->exhibits[i].manifest);
		blob_release(&b->exhibits[i].signature);
		free(b->exhibits[i].parsed);
	}
	for (size_t i = 0; i < b->n_hosts; i++)
		blob_release(&b->hosts[i].record);
	for (size_t i = 0; i < b->n_orders; i++)
		blob_release(&b->orders[i].bytes);
	for (size_t i = 0; i < b->n_events; i++)
		bundle_events_release(&b->events[i]);
	free(b->events);
	free(b->leaves);
	free(b->exhibits);
	free(b->hosts);
	free(b->orders);
	blob_release(&b->note);
	blob_release(&b->certificate);
	blob_release(&b->authority);
	*b = (struct bundle){ 0 };
}

struct bundle_leaf *bundle_add_leaf(struct bundle *b)
{
	if (b->n_leaves == BUNDLE_LEAVES_MAX)
		return NULL;
	if (b->n_leaves == b->max_leaves) {
		size_t max = b->max_leaves ? 2 * b->max_leaves : 64;
		struct bundle_leaf *more = reallocarray(b->leaves, max, sizeof(*more));

		if (!more)
			return NULL;
		b->leaves = more;
		b->max_leaves = max;
	}
	b->leaves[b->n_leaves] = (struct bundle_leaf){ 0 };
	return &b->leaves[b->n_leaves++];
}

#define ADD(type, list, count)                                                                     \
	struct type *bundle_add_##list(struct bundle *b)                                           \
	{                                                                                          \
		struct type *more;                                                                 \
                                                                                                   \
		if (b->count == BUNDLE_EXHIBITS_MAX)                                               \
			return NULL;                                                               \
		more = reallocarray(b->list##s, b->count + 1, sizeof(*more));                      \
		if (!more)                                                                         \
			return NULL;                                                               \
		b->list##s = more;                                                                 \
		more[b->count] = (struct type){ 0 };                                               \
		return &more[b->count++];                                                          \
	}
ADD(bundle_exhibit, exhibit, n_exhibits)
ADD(bundle_host, host, n_hosts)
ADD(bundle_order, order, n_orders)
ADD(bundle_events, event, n_events)

bool bundle_name_valid(const char *name)
{
	return identity_part_valid(name, strlen(name));
}

/* ---- understanding ---- */

static void read_host(struct bundle_host *h)
{
	struct host_record_info info;

	if (host_record_open(h->record.data, h->record.len, &info) < 0 ||
	    info.host_id.len != strlen(h->id) ||
	    memcmp(info.host_id.b, h->id, info.host_id.len) != 0)
		return;
	memcpy(h->key, info.sealing_key, SEAL_PUBLIC_LEN);
	h->readable = true;
}

void bundle_understand(struct bundle *b)
{
	for (size_t i = 0; i < b->n_leaves; i++)
		b->leaves[i].entry = exhibit__v1__ledger_entry__unpack(NULL, b->leaves[i].bytes.len,
								       b->leaves[i].bytes.data);
	for (size_t i = 0; i < b->n_exhibits; i++)
		if (b->exhibits[i].manifest.len > 0 &&
		    vault_manifest_read(b->exhibits[i].manifest.data, b->exhibits[i].manifest.len,
					&b->exhibits[i].parsed, NULL) < 0)
			b->exhibits[i].parsed = NULL;
	for (size_t i = 0; i < b->n_hosts; i++)
		read_host(&b->hosts[i]);
	if (ledger_cert_check(b->certificate.data, b->certificate.len, NULL, 0, &b->key, NULL) < 0)
		b->key.name[0] = '\0';
}

const char *bundle_kind_name(unsigned int kind)
{
	static const char *const names[] = {
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH] = "batch",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_TOMBSTONE] = "tombstone",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_HOST_RECORD] = "host record",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION] = "retention",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_ORDER] = "order",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_APPROVAL] = "approval",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_STEP] = "step",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT] = "exhibit",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_EXPORT] = "export",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD] = "hold",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_REVOCATIONS] = "revocations",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_FETCH] = "fetch",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_ARCHIVE] = "archive",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD] = "rebuild",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_TOKEN] = "token",
		[EXHIBIT__V1__LEDGER_KIND__LEDGER_ENROLMENT] = "enrolment",
	};

	return kind < ARRAY_LEN(names) && names[kind] ? names[kind] : "unknown";
}

const struct bundle_host *bundle_host_of(const struct bundle *b, const ProtobufCBinaryData *id)
{
	for (size_t i = 0; i < b->n_hosts; i++)
		if (strlen(b->hosts[i].id) == id->len &&
		    memcmp(b->hosts[i].id, id->data, id->len) == 0)
			return &b->hosts[i];
	return NULL;
}

int bundle_signed_text(const struct blob *manifest, uint8_t *ret)
{
	struct seal_hash hash;
	int r = seal_sha256(manifest->data, manifest->len, &hash);

	if (r < 0)
		return r;
	memcpy(ret, BUNDLE_MANIFEST_DOMAIN, sizeof(BUNDLE_MANIFEST_DOMAIN));
	memcpy(ret + sizeof(BUNDLE_MANIFEST_DOMAIN), hash.b, SEAL_HASH_LEN);
	return 0;
}

/* ---- as files ---- */

#define PATH(...)                                                                                  \
	(snprintf(path, sizeof(path), __VA_ARGS__) < (int)sizeof(path) ?                           \
		 0 :                                                                               \
		 error_set(e, -ENAMETOOLONG, "a path in the bundle is too long"))

static int emit_leaf(const struct bundle *b, const struct bundle_leaf *l, bundle_emit emit,
		     void *ctx, struct error *e)
{
	char path[BUNDLE_PATH_MAX], text[TLOG_PROOF_TEXT_MAX];
	struct tlog_proof p = { .index = l->index,
				.n = l->n,
				.checkpoint = (const char *)b->note.data,
				.checkpoint_len = b->note.len };
	size_t len;
	int r = PATH("ledger/leaves/%" PRIu64 ".leaf", l->index);

	memcpy(p.hashes, l->proof, sizeof(p.hashes));
	if (r == 0)
		r = emit(ctx, path, l->bytes.data, l->bytes.len, e);
	if (r == 0 && tlog_proof_format(&p, text, sizeof(text), &len) < 0)
		r = error_set(e, -E2BIG, "a proof is too long");
	if (r == 0)
		r = PATH("ledger/leaves/%" PRIu64 ".tlog-proof", l->index);
	return r == 0 ? emit(ctx, path, text, len, e) : r;
}

static int emit_exhibit(const struct bundle_exhibit *x, bundle_emit emit, void *ctx,
			struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	int r;

	if (x->manifest.len == 0)
		return 0;
	r = PATH("exhibits/%s/manifest.json", x->id);
	if (r == 0)
		r = emit(ctx, path, x->manifest.data, x->manifest.len, e);
	if (r == 0)
		r = PATH("exhibits/%s/manifest.sig", x->id);
	return r == 0 ? emit(ctx, path, x->signature.data, x->signature.len, e) : r;
}

int bundle_primary(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	int r = emit(ctx, "keys/order-ca.crt", b->authority.data, b->authority.len, e);

	if (r == 0)
		r = emit(ctx, "ledger/certificate.der", b->certificate.data, b->certificate.len, e);
	if (r == 0)
		r = emit(ctx, "ledger/checkpoint", b->note.data, b->note.len, e);
	for (size_t i = 0; i < b->n_hosts && r == 0; i++) {
		r = PATH("keys/%s.record", b->hosts[i].id);
		if (r == 0)
			r = emit(ctx, path, b->hosts[i].record.data, b->hosts[i].record.len, e);
	}
	for (size_t i = 0; i < b->n_orders && r == 0; i++) {
		r = PATH("orders/%s.order", b->orders[i].id);
		if (r == 0)
			r = emit(ctx, path, b->orders[i].bytes.data, b->orders[i].bytes.len, e);
	}
	for (size_t i = 0; i < b->n_leaves && r == 0; i++)
		r = emit_leaf(b, &b->leaves[i], emit, ctx, e);
	for (size_t i = 0; i < b->n_exhibits && r == 0; i++)
		r = emit_exhibit(&b->exhibits[i], emit, ctx, e);
	for (size_t i = 0; i < b->n_events && r == 0; i++) {
		r = PATH("events/%s.events", b->events[i].id);
		if (r == 0)
			r = emit(ctx, path, b->events[i].bytes.data, b->events[i].bytes.len, e);
	}
	return r;
}

/* A key for `openssl pkeyutl`. */
static int emit_pem(const char *path, const uint8_t key[static SEAL_PUBLIC_LEN], bundle_emit emit,
		    void *ctx, struct error *e)
{
	AUTO(pkey_free_ptr)
	EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, SEAL_PUBLIC_LEN);
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len;

	if (!pkey || !bio || PEM_write_bio_PUBKEY(bio, pkey) != 1)
		return error_set(e, -ENOMEM, "cannot encode a key: %s", openssl_reason());
	len = BIO_get_mem_data(bio, &data);
	return emit(ctx, path, data, (size_t)len, e);
}

/* The checkpoint's text and the bare signature of its own log, for `openssl pkeyutl`. */
static int emit_checkpoint(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	char vkey[NOTE_VKEY_MAX + 1], head[NOTE_NAME_MAX + 8];
	const char *text, *line;
	uint8_t signature[NOTE_KEY_ID_LEN + SEAL_SIGNATURE_LEN];
	size_t len, n;
	int r;

	if (!b->key.name[0] ||
	    note_open(&b->key, (char *)b->note.data, b->note.len, &text, &len, NULL) < 0)
		return 0; /* verify names it elsewhere */
	r = emit(ctx, "ledger/checkpoint.txt", text, len, e);
	n = (size_t)snprintf(head, sizeof(head), "\n\xe2\x80\x94 %s ", b->key.name);
	line = memmem(text + len, b->note.len - len, head, n);
	if (r == 0 && line &&
	    base64_decode(line + n, BASE64_LEN(sizeof(signature)), signature, sizeof(signature),
			  &len) == 0)
		r = emit(ctx, "ledger/checkpoint.sig", signature + NOTE_KEY_ID_LEN,
			 SEAL_SIGNATURE_LEN, e);
	if (r == 0)
		r = emit_pem("ledger/key.pem", b->key.public, emit, ctx, e);
	(void)note_key_format(&b->key, vkey);
	len = strlen(vkey);
	vkey[len++] = '\n';
	return r == 0 ? emit(ctx, "ledger/vkey", vkey, len, e) : r;
}

static int emit_certificate(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	const unsigned char *der = b->certificate.data;
	AUTO(x509_free_ptr) X509 *cert = d2i_X509(NULL, &der, (long)b->certificate.len);
	AUTO(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *data = NULL;
	long len;

	if (!cert || !bio || PEM_write_bio_X509(bio, cert) != 1) {
		(void)openssl_reason();
		return 0;
	}
	len = BIO_get_mem_data(bio, &data);
	return emit(ctx, "ledger/certificate.crt", data, (size_t)len, e);
}

static int emit_document(const struct bundle *b, const char *path,
			 void (*write)(const struct bundle *b, FILE *out), bundle_emit emit,
			 void *ctx, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out)
		write(b, out);
	if (!out || fclose(out) != 0)
		return error_set(e, -ENOMEM, "cannot write '%s': out of memory", path);
	return emit(ctx, path, text, len, e);
}

static int emit_timeline(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r = out ? bundle_write_timeline(b, out) : -ENOMEM;

	if ((out && fclose(out) != 0) || r < 0)
		return error_set(e, -ENOMEM, "cannot write 'timeline.jsonl': out of memory");
	return emit(ctx, "timeline.jsonl", text, len, e);
}

static int emit_events(const struct bundle_events *x, bundle_emit emit, void *ctx, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	char path[BUNDLE_PATH_MAX];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r = PATH("events/%s.json", x->id);

	if (out)
		bundle_write_events(x, out);
	if (!out || fclose(out) != 0)
		return error_set(e, -ENOMEM, "cannot write '%s': out of memory", path);
	return r == 0 ? emit(ctx, path, text, len, e) : r;
}

static int emit_signed_texts(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	char path[BUNDLE_PATH_MAX];
	int r = 0;

	for (size_t i = 0; i < b->n_exhibits && r == 0; i++) {
		const struct bundle_exhibit *x = &b->exhibits[i];
		uint8_t text[BUNDLE_SIGNED_LEN];

		if (x->manifest.len == 0)
			continue;
		r = PATH("exhibits/%s/manifest.signed", x->id);
		if (r == 0 && bundle_signed_text(&x->manifest, text) < 0)
			r = error_set(e, -ENOMEM, "cannot hash a manifest");
		if (r == 0)
			r = emit(ctx, path, text, sizeof(text), e);
	}
	for (size_t i = 0; i < b->n_hosts && r == 0; i++) {
		r = PATH("keys/%s.pem", b->hosts[i].id);
		if (r == 0 && b->hosts[i].readable)
			r = emit_pem(path, b->hosts[i].key, emit, ctx, e);
	}
	return r;
}

int bundle_derived(const struct bundle *b, bundle_emit emit, void *ctx, struct error *e)
{
	static const struct {
		const char *path;
		void (*write)(const struct bundle *b, FILE *out);
	} documents[] = {
		{ "README.txt", bundle_write_readme },
		{ "custody.jsonl", bundle_write_custody },
		{ "case.jsonld", bundle_write_case },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(documents) && r == 0; i++)
		r = emit_document(b, documents[i].path, documents[i].write, emit, ctx, e);
	if (r == 0)
		r = emit_timeline(b, emit, ctx, e);
	for (size_t i = 0; i < b->n_events && r == 0; i++)
		r = emit_events(&b->events[i], emit, ctx, e);
	if (r == 0)
		r = emit_checkpoint(b, emit, ctx, e);
	if (r == 0)
		r = emit_certificate(b, emit, ctx, e);
	return r == 0 ? emit_signed_texts(b, emit, ctx, e) : r;
}
