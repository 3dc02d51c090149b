/* SPDX-License-Identifier: Apache-2.0 */
/* Re-read everything that rests in the vault: each exhibit's record, manifest and its signature, chunks.jsonl, items;
 * where an item is damaged, chunks.jsonl tells which bytes. Objects that no exhibit names are told of, and are no fault. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "collector/vault_chunks.h"
#include "collector/vault_internal.h"
#include "collector/vault_keys.h"
#include "collector/vault_manifest.h"
#include "proto/base/files.h"
#include "proto/openssl_util.h"

#define SENTENCE_MAX (PATH_MAX + 1100)

struct check {
	struct vault v; /* only its folder */
	const struct vault_keys *keys;
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	uint64_t faults;
	struct batch_name tenant;
	uint8_t *buffer; /* VAULT_CHUNK_BYTES */
	uint8_t (*named)[SEAL_HASH_LEN]; /* objects of this tenant's exhibits */
	size_t n_named, size_named;
	struct error *e;
};

PRINTF(3, 4)
static void fault(struct check *k, const char *path, const char *fmt, ...)
{
	char what[1024], sentence[SENTENCE_MAX];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	(void)snprintf(sentence, sizeof(sentence), "'%.*s': %s", PATH_MAX - 1, path, what);
	k->report(k->ctx, sentence);
	k->faults++;
}

static int remember(struct check *k, const uint8_t *hash)
{
	if (k->n_named == k->size_named) {
		size_t size = k->size_named ? 2 * k->size_named : 256;
		void *named = reallocarray(k->named, size, sizeof(*k->named));

		if (named == NULL)
			return error_set(k->e, -ENOMEM, "cannot check the vault: out of memory");
		k->named = named;
		k->size_named = size;
	}
	memcpy(k->named[k->n_named++], hash, SEAL_HASH_LEN);
	return 0;
}

/* ---- items ----------------------------------------------------------------------------------------------- */

/* An item's bytes are read once, for their chunks' hashes and for the whole. */
struct item_pass {
	int fd;
	EVP_MD_CTX *md;
	uint64_t at; /* what md has */
	bool bad;
	struct vault_line first; /* the first chunk that is not what chunks.jsonl says */
};

static int take_chunk(struct check *k, struct item_pass *p, const struct vault_line *line)
{
	ssize_t n = pread(p->fd, k->buffer, line->bytes, (off_t)line->offset);
	struct seal_hash got;

	if (n < 0)
		return -errno;
	if (seal_sha256(k->buffer, (size_t)n, &got) < 0)
		return -ENOMEM;
	if (!p->bad &&
	    (n != (ssize_t)line->bytes || memcmp(got.b, line->hash.b, SEAL_HASH_LEN) != 0)) {
		p->bad = true;
		p->first = *line;
	}
	if (line->offset != p->at)
		return 0;
	p->at += (uint64_t)n;
	return EVP_DigestUpdate(p->md, k->buffer, (size_t)n) == 1 ? 0 : -ENOMEM;
}

static int take_chunks(struct check *k, struct item_pass *p, const char *chunks, uint32_t number)
{
	FILE *in = fopen(chunks, "re");
	char text[VAULT_LINE_MAX + 2];
	struct vault_line line;
	int r = 0;

	while (in != NULL && r == 0 && fgets(text, sizeof(text), in) != NULL) {
		size_t len = strlen(text);

		if (len > 0 && vault_line_read(text, len - 1, &line) == 0 && line.item == number &&
		    line.kind == VAULT_LINE_CHUNK)
			r = take_chunk(k, p, &line);
	}
	if (in != NULL)
		(void)fclose(in);
	return r;
}

static int hash_item(struct check *k, struct item_pass *p, const char *chunks, uint32_t number,
		     struct seal_hash *ret)
{
	unsigned int len = SEAL_HASH_LEN;
	ssize_t n = 0;
	int r;

	if (p->md == NULL || EVP_DigestInit_ex(p->md, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	r = take_chunks(k, p, chunks, number);
	while (r == 0 && (n = pread(p->fd, k->buffer, VAULT_CHUNK_BYTES, (off_t)p->at)) > 0) {
		p->at += (uint64_t)n;
		if (EVP_DigestUpdate(p->md, k->buffer, (size_t)n) != 1)
			r = -ENOMEM;
	}
	if (r == 0 && n < 0)
		r = -errno;
	return r < 0 || EVP_DigestFinal_ex(p->md, ret->b, &len) == 1 ? r : -ENOMEM;
}

/* lines_count: chunks.jsonl is as it was sealed, with nothing of the item missing. */
static void check_item(struct check *k, const char *chunks, bool lines_count, uint32_t number,
		       const Exhibit__V1__ItemInfo *item)
{
	char path[PATH_MAX];
	struct seal_hash got = { 0 };
	struct stat st;
	int r;

	vault_object_path(&k->v, &k->tenant, item->sha256.data, path);
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0) {
		fault(k, path, "item '%.*s' of the exhibit in '%s': %s", (int)item->name.len,
		      (const char *)item->name.data, chunks, strerror(errno));
		return;
	}
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *md = EVP_MD_CTX_new();
	struct item_pass p = { .fd = fd, .md = md };

	r = hash_item(k, &p, chunks, number, &got);
	if (r < 0)
		fault(k, path, "cannot be read: %s", strerror(-r));
	else if (memcmp(got.b, item->sha256.data, SEAL_HASH_LEN) != 0) {
		if (p.bad)
			fault(k, path,
			      "item '%.*s' is damaged, first at bytes %llu to %llu: they do not have their SHA-256",
			      (int)item->name.len, (const char *)item->name.data,
			      (unsigned long long)p.first.offset,
			      (unsigned long long)(p.first.offset + p.first.bytes - 1));
		else
			fault(k, path, "item '%.*s' is damaged: it has %llu bytes instead of %llu",
			      (int)item->name.len, (const char *)item->name.data,
			      (unsigned long long)st.st_size, (unsigned long long)item->bytes);
	} else if (lines_count && p.bad)
		fault(k, chunks,
		      "its line of item '%.*s', bytes %llu to %llu, does not have their SHA-256, and the "
		      "item is whole",
		      (int)item->name.len, (const char *)item->name.data,
		      (unsigned long long)p.first.offset,
		      (unsigned long long)(p.first.offset + p.first.bytes - 1));
}

/* ---- exhibits -------------------------------------------------------------------------------------------- */

static struct batch_name name_of(const ProtobufCBinaryData *b)
{
	struct batch_name n = { .len = (uint8_t)(b->len <= BATCH_NAME_MAX ? b->len : 0) };

	memcpy(n.b, b->data, n.len);
	return n;
}

/* manifest.sig against manifest.json, which has its hash. */
static void check_signature(struct check *k, const char *folder, const struct vault_record *record,
			    const uint8_t *manifest, size_t manifest_len)
{
	AUTO(free_ptr) uint8_t *signature = NULL;
	struct batch_name host = name_of(&record->info->host_id);
	uint8_t public[SEAL_PUBLIC_LEN];
	struct seal_verifier *v = NULL;
	struct error why = { 0 };
	char path[PATH_MAX];
	size_t len;

	(void)snprintf(path, sizeof(path), "%.*s/" VAULT_FILE_SIGNATURE, PATH_MAX - 32, folder);
	if (files_read(path, SEAL_SIGNATURE_LEN, &signature, &len, &why) < 0 ||
	    len != SEAL_SIGNATURE_LEN)
		fault(k, path, "is missing or is not %d bytes long", SEAL_SIGNATURE_LEN);
	else if (k->keys == NULL)
		return;
	else if (!record->has_key ||
		 !vault_keys_find(k->keys, &k->tenant, &host, record->key_id, public))
		fault(k, path,
		      "cannot be verified: the store has no record of host '%.*s' with the key that "
		      "exhibit.json names",
		      host.len, (const char *)host.b);
	else if (seal_verifier_new(public, &v, &why) < 0)
		fault(k, path, "cannot be verified: %s", why.text);
	else if (seal_verify(v, VAULT_MANIFEST_DOMAIN, manifest, manifest_len, signature, len) < 0)
		fault(k, path, "is not the signature of host '%.*s' over manifest.json", host.len,
		      (const char *)host.b);
	seal_verifier_free(v);
}

static void check_manifest(struct check *k, const char *folder, const struct vault_record *record)
{
	const Exhibit__V1__ExhibitInfo *info = record->info;
	AUTO(free_ptr) uint8_t *data = NULL;
	AUTO(free_ptr) struct vault_manifest *m = NULL;
	char path[PATH_MAX];
	unsigned int n = SEAL_HASH_LEN;
	struct seal_hash got;
	struct error why = { 0 };
	size_t len;

	if (info->manifest_sha256.len == 0)
		return;
	(void)snprintf(path, sizeof(path), "%.*s/" VAULT_FILE_MANIFEST, PATH_MAX - 32, folder);
	if (files_read(path, VAULT_MANIFEST_MAX, &data, &len, &why) < 0) {
		fault(k, path, "%s", why.text);
		return;
	}
	if (EVP_Digest(data, len, got.b, &n, EVP_sha256(), NULL) != 1 ||
	    memcmp(got.b, info->manifest_sha256.data, SEAL_HASH_LEN) != 0) {
		fault(k, path, "is damaged: it does not have the SHA-256 that exhibit.json names");
		return;
	}
	if (info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED &&
	    (vault_manifest_read(data, len, &m, &why) < 0 ||
	     vault_manifest_compare(m, info, &why) < 0))
		fault(k, path, "does not agree with exhibit.json: %s", why.text);
	check_signature(k, folder, record, data, len);
}

/* The sum of all lines: none was changed since it was sealed. */
static bool check_chunks(struct check *k, const char *path, const struct vault_record *record)
{
	struct seal_hash got;
	struct error why = { 0 };

	if (record->info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
		return false;
	if (!record->has_chunks)
		fault(k, path, "exhibit.json does not name its SHA-256");
	else if (vault_file_hash(path, &got, &why) < 0)
		fault(k, path, "%s", why.text);
	else if (memcmp(got.b, record->chunks.b, SEAL_HASH_LEN) != 0)
		fault(k, path, "is damaged: it does not have the SHA-256 that exhibit.json names");
	else
		return record->info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED;
	return false;
}

static void check_hold(struct check *k, const char *folder)
{
	struct error why = { 0 };
	bool hold;

	if (vault_hold_get(folder, &hold, &why) < 0)
		fault(k, folder, "%s", why.text);
}

static int check_exhibit(void *ctx, const char *name)
{
	struct check *k = ctx;
	struct vault_record record = { 0 };
	char folder[PATH_MAX], chunks[PATH_MAX];
	struct error why = { 0 };
	char text[VAULT_ID_TEXT];
	bool lines_count;
	int r;

	vault_path(&k->v, folder, "%.*s/exhibits/%s", k->tenant.len, (const char *)k->tenant.b,
		   name);
	r = vault_record_get(folder, &record, &why);
	if (r < 0) {
		fault(k, folder, "%s", why.text);
		return 0;
	}
	if (strcmp(vault_id_text(record.info->exhibit_id.data, text), name) != 0)
		fault(k, folder, "its exhibit.json is that of exhibit '%s'", text);
	(void)snprintf(chunks, sizeof(chunks), "%.*s/" VAULT_FILE_CHUNKS, PATH_MAX - 32, folder);
	check_manifest(k, folder, &record);
	lines_count = check_chunks(k, chunks, &record);
	check_hold(k, folder);
	for (size_t i = 0; r == 0 && i < record.info->n_items; i++) {
		check_item(k, chunks, lines_count, (uint32_t)i + 1, record.info->items[i]);
		r = remember(k, record.info->items[i]->sha256.data);
	}
	vault_record_release(&record);
	return r;
}

/* ---- objects nobody names ----------------------------------------------------------------------------------- */

static int check_object(void *ctx, const char *name)
{
	struct check *k = ctx;
	uint8_t hash[SEAL_HASH_LEN];
	char path[PATH_MAX], sentence[SENTENCE_MAX];

	if (!vault_unhex(name, hash, sizeof(hash)))
		return 0;
	for (size_t i = 0; i < k->n_named; i++)
		if (memcmp(k->named[i], hash, sizeof(hash)) == 0)
			return 0;
	vault_object_path(&k->v, &k->tenant, hash, path);
	(void)snprintf(sentence, sizeof(sentence),
		       "'%.*s': no exhibit names it; an interrupted sealing or removal left it",
		       PATH_MAX - 1, path);
	k->report(k->ctx, sentence);
	return 0;
}

static int check_prefix(void *ctx, const char *name)
{
	struct check *k = ctx;
	char path[PATH_MAX];

	vault_path(&k->v, path, "%.*s/sha256/%s", k->tenant.len, (const char *)k->tenant.b, name);
	return vault_each_name(path, check_object, k, k->e);
}

static int check_tenant(void *ctx, const char *name)
{
	struct check *k = ctx;
	size_t len = strlen(name);
	char path[PATH_MAX];
	int r;

	if (len > BATCH_NAME_MAX)
		return 0;
	k->tenant.len = (uint8_t)len;
	memcpy(k->tenant.b, name, len);
	k->n_named = 0;
	vault_path(&k->v, path, "%s/exhibits", name);
	r = vault_each_name(path, check_exhibit, k, k->e);
	vault_path(&k->v, path, "%s/sha256", name);
	return r == 0 ? vault_each_name(path, check_prefix, k, k->e) : r;
}

int vault_check(const char *dir, const struct vault_keys *keys,
		void (*report)(void *ctx, const char *sentence), void *ctx, uint64_t *ret_faults,
		struct error *e)
{
	AUTO(free_ptr) uint8_t *buffer = malloc(VAULT_CHUNK_BYTES);
	struct check k = { .v.dir = (char *)(uintptr_t)dir,
			   .keys = keys,
			   .report = report,
			   .ctx = ctx,
			   .buffer = buffer,
			   .e = e };
	char path[PATH_MAX];
	int r;

	*ret_faults = 0;
	if (buffer == NULL)
		return error_set(e, -ENOMEM, "cannot check the vault: out of memory");
	if (strlen(dir) > PATH_MAX / 2)
		return error_set(e, -ENAMETOOLONG, "cannot check the vault '%s': %m", dir);
	vault_path(&k.v, path, ".lock");
	AUTO(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set(e, -errno, "there is no vault in '%s': %m", dir);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(e, -EBUSY, "the vault '%s' is open: stop the collector first",
				 dir);
	r = vault_each_name(dir, check_tenant, &k, e);
	free(k.named);
	*ret_faults = k.faults;
	return r;
}
