/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/vault_world.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "collector/vault_internal.h"
#include "collector/vault_manifest.h"
#include "proto/base/files.h"
#include "tests/unit/sealing.h"

int64_t vault_world_now_ns;

static int64_t now(void)
{
	return vault_world_now_ns;
}

static int ledger(void *ctx, const Exhibit__V1__LedgerEntry *entry, uint64_t *ret_index,
		  struct error *e)
{
	struct vault_world *w = ctx;
	enum vault_world_during during = w->during;

	/* The vault holds no lock here: what another thread would do, this one can. */
	w->during = VAULT_WORLD_NOTHING;
	if (during == VAULT_WORLD_HOLD)
		w->during_result = vault_hold(w->v, &w->begin.tenant, w->begin.exhibit_id, true,
					      "spiffe://bob", "late", 4, NULL);
	else if (during == VAULT_WORLD_TICK)
		vault_tick(w->v);
	if (w->ledger_fails)
		return error_set(e, -w->ledger_fails, "the ledger fails: %m");
	assert_true(w->leaves < ARRAY_LEN(w->kinds));
	if (ret_index)
		*ret_index = 100 + w->leaves;
	w->kinds[w->leaves++] = entry->kind;
	(void)snprintf(w->text, sizeof(w->text), "%.*s", (int)entry->text.len,
		       (const char *)entry->text.data);
	return 0;
}

static void make_key(struct vault_world *w)
{
	uint8_t public[SEAL_PUBLIC_LEN];
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/seal.pem", w->dir);
	assert_int_equal(files_replace(path, sealing_pem, strlen(sealing_pem), 0600, NULL), 0);
	assert_int_equal(seal_key_load(path, &w->key, NULL), 0);
	seal_key_public(w->key, public);
	assert_int_equal(vault_keys_add(&w->keys, &w->begin.tenant, &w->begin.host_id, public), 0);
}

struct vault_world *vault_world_new(void)
{
	struct vault_world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	vault_world_now_ns = 1700000000000000000;
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/exhibit-vault-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->vault_dir, sizeof(w->vault_dir), "%s/vault", w->dir);
	w->config = (struct vault_config){ .dir = w->vault_dir,
					   .abandon_ms = 3600000,
					   .now = now,
					   .ledger = ledger,
					   .ledger_ctx = w };
	w->begin.tenant = (struct batch_name){ 4, "acme" };
	w->begin.host_id = (struct batch_name){ 5, "web-1" };
	w->begin.host_name = (struct batch_name){ 3, "web" };
	w->begin.order.kind = EXHIBIT__V1__ORDER_KIND__ORDER_MEMORY;
	w->begin.order.case_id = (struct batch_name){ 6, "case-7" };
	w->begin.order.requester = (struct batch_name){ 3, "ann" };
	memset(w->begin.order_id, 0x11, VAULT_ID_LEN);
	memset(w->begin.exhibit_id, 0x22, VAULT_ID_LEN);
	make_key(w);
	return w;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	vault_protect(path, false);
	return remove(path);
}

void vault_world_free(struct vault_world *w)
{
	vault_world_close(w);
	seal_key_free(w->key);
	vault_keys_release(&w->keys);
	(void)nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w);
}

void vault_world_open(struct vault_world *w)
{
	int r = vault_open(&w->config, &w->v, &w->error);

	if (r < 0)
		fail_msg("%s", w->error.text);
}

void vault_world_close(struct vault_world *w)
{
	vault_upload_free(w->u);
	w->u = NULL;
	vault_close(w->v);
	w->v = NULL;
}

void vault_world_begin(struct vault_world *w, int r)
{
	w->error = (struct error){ 0 };
	int got = vault_upload_begin(w->v, &w->begin, &w->u, &w->receipt, &w->error);

	if (got != r)
		fail_msg("begin gave %d instead of %d: %s", got, r, w->error.text);
}

void vault_world_bytes(uint32_t item, uint64_t offset, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = offset + i;

		out[i] = (at >> 20) % 2 ? 0 : (uint8_t)(at * 31 + (at >> 9) + item);
	}
}

int vault_world_chunk(struct vault_world *w, uint32_t item, uint64_t offset, size_t len)
{
	uint8_t *raw = malloc(len + 1);
	struct seal_hash hash;
	unsigned int n = SEAL_HASH_LEN;
	bool zero = (offset >> 20) % 2 && offset % 3 == 0;

	assert_non_null(raw);
	vault_world_bytes(item, offset, raw, len);
	assert_int_equal(EVP_Digest(raw, len, hash.b, &n, EVP_sha256(), NULL), 1);
	w->error = (struct error){ 0 };
	int r = vault_upload_chunk(w->u, item, offset, zero ? NULL : raw, len, &hash, &w->error);

	free(raw);
	return r;
}

void vault_world_chunks(struct vault_world *w, uint32_t item, uint64_t from, uint64_t to)
{
	for (uint64_t at = from; at < to; at += VAULT_CHUNK_BYTES) {
		size_t len = to - at < VAULT_CHUNK_BYTES ? (size_t)(to - at) : VAULT_CHUNK_BYTES;

		if (vault_world_chunk(w, item, at, len) < 0)
			fail_msg("%s", w->error.text);
	}
}

void vault_world_hash(uint32_t item, uint64_t bytes, struct seal_hash *ret)
{
	uint8_t *raw = malloc(bytes + 1);
	unsigned int n = SEAL_HASH_LEN;

	assert_non_null(raw);
	vault_world_bytes(item, 0, raw, bytes);
	assert_int_equal(EVP_Digest(raw, bytes, ret->b, &n, EVP_sha256(), NULL), 1);
	free(raw);
}

int vault_world_end(struct vault_world *w, uint32_t item, uint64_t bytes)
{
	struct seal_hash hash;

	vault_world_hash(item, bytes, &hash);
	w->error = (struct error){ 0 };
	return vault_upload_end(w->u, item, bytes, &hash, &w->error);
}

void vault_world_item(struct vault_world *w, uint32_t item, const char *name, uint64_t bytes)
{
	assert_int_equal(
		vault_upload_item(w->u, item, name, strlen(name), "raw", 3, bytes, &w->error), 0);
	vault_world_chunks(w, item, 0, bytes);
	if (vault_world_end(w, item, bytes) < 0)
		fail_msg("%s", w->error.text);
}

char *vault_world_manifest(const struct vault_world *w, const char *items, const char *extra)
{
	char id[VAULT_ID_TEXT], order[VAULT_ID_TEXT], hash[65], name[VAULT_NAME_MAX + 1];
	const char *comma = "";
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	uint32_t item;
	uint64_t bytes;

	assert_non_null(out);
	(void)fprintf(out, "{\"exhibit_id\":\"%s\",\"order_id\":\"%s\",\"items\":[",
		      vault_id_text(w->begin.exhibit_id, id),
		      vault_id_text(w->begin.order_id, order));
	while (*items) {
		struct seal_hash h;
		char *end = NULL;
		size_t n;

		item = (uint32_t)strtoul(items, &end, 10);
		items = end + strspn(end, " ");
		n = strcspn(items, " ");
		assert_true(n > 0 && n < sizeof(name));
		memcpy(name, items, n);
		name[n] = '\0';
		bytes = strtoull(items + n, &end, 10);
		vault_world_hash(item, bytes, &h);
		vault_hex(h.b, SEAL_HASH_LEN, hash);
		(void)fprintf(out, "%s{\"name\":\"%s\",\"bytes\":%" PRIu64 ",\"sha256\":\"%s\"}",
			      comma, name, bytes, hash);
		comma = ",";
		items = end + strspn(end, ", ");
	}
	(void)fprintf(out, "]%s}", extra);
	assert_int_equal(fclose(out), 0);
	return text;
}

int vault_world_seal(struct vault_world *w, const char *manifest)
{
	uint8_t public[SEAL_PUBLIC_LEN], signature[SEAL_SIGNATURE_LEN], key_id[SEAL_KEY_ID_LEN];
	struct vault_upload *u = TAKE(w->u);

	seal_key_public(w->key, public);
	seal_key_id(public, key_id);
	assert_int_equal(seal_sign(w->key, VAULT_MANIFEST_DOMAIN, manifest, strlen(manifest),
				   signature, NULL),
			 0);

	w->error = (struct error){ 0 };
	return vault_upload_seal(u, manifest, strlen(manifest), signature, key_id, &w->receipt,
				 &w->error);
}

Exhibit__V1__ExhibitInfo *vault_world_info(struct vault_world *w)
{
	Exhibit__V1__ExhibitInfo *info = NULL;

	if (vault_get(w->v, &w->begin.tenant, w->begin.exhibit_id, &info, &w->error) < 0)
		return NULL;
	return info;
}

const char *vault_world_path(struct vault_world *w, const char *sub, const char *leaf)
{
	static char path[512];
	char id[VAULT_ID_TEXT];

	(void)snprintf(
		path, sizeof(path), "%s/acme/%s%s%s%s", w->vault_dir, sub,
		sub[0] && sub[strlen(sub) - 1] == '/' ? vault_id_text(w->begin.exhibit_id, id) : "",
		leaf[0] ? "/" : "", leaf);
	return path;
}

static void keep_first(void *ctx, const char *sentence)
{
	char *first = ctx;

	if (!first[0])
		(void)snprintf(first, 2048, "%s", sentence);
}

uint64_t vault_world_check(struct vault_world *w, char first[static 2048])
{
	uint64_t faults = 0;

	first[0] = '\0';
	if (vault_check(w->vault_dir, &w->keys, keep_first, first, &faults, &w->error) < 0)
		fail_msg("%s", w->error.text);
	return faults;
}

int vault_world_setup(void **state)
{
	*state = vault_world_new();
	vault_world_open(*state);
	return 0;
}

void vault_world_whole(struct vault_world *w, const char *name, uint64_t bytes)
{
	vault_world_begin(w, 0);
	vault_world_item(w, 1, name, bytes);
	char items[160];

	(void)snprintf(items, sizeof(items), "1 %s %llu", name, (unsigned long long)bytes);
	AUTO(free_ptr) char *m = vault_world_manifest(w, items, "");

	if (vault_world_seal(w, m) < 0)
		fail_msg("%s", w->error.text);
}

void vault_world_state_is(struct vault_world *w, Exhibit__V1__ExhibitState state,
			  const char *reason)
{
	Exhibit__V1__ExhibitInfo *info = vault_world_info(w);

	assert_non_null(info);
	char text[1200];

	(void)snprintf(text, sizeof(text), "%.*s", (int)info->reason.len,
		       (const char *)info->reason.data);
	if (info->state != state || !strstr(text, reason))
		fail_msg("state %d instead of %d: '%s', not '%s'", (int)info->state, (int)state,
			 text, reason);
	exhibit__v1__exhibit_info__free_unpacked(info, NULL);
}
