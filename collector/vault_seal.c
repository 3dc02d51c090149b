/* SPDX-License-Identifier: Apache-2.0 */
/* From incoming/ID to exhibits/ID. Once exhibit.json says sealed or incomplete the rest is done however often
 * it is interrupted: bytes to sha256/, the leaf, the folder's new name. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/vault_internal.h"
#include "collector/vault_manifest.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/openssl_util.h"

#define REASON_MAX 1024

/* ---- the record ------------------------------------------------------------------------------------------ */

struct draft {
	Exhibit__V1__ExhibitInfo info; /* a shallow copy of the entry's, with these instead */
	Exhibit__V1__ItemInfo items[VAULT_ITEMS_MAX];
	Exhibit__V1__ItemInfo *pointers[VAULT_ITEMS_MAX];
	struct seal_hash hashes[VAULT_ITEMS_MAX], manifest;
	char reason[REASON_MAX];
};

#define BYTES(p, n) ((ProtobufCBinaryData){ (n), (uint8_t *)(uintptr_t)(p) })

PRINTF(2, 3)
static void lacks(struct draft *d, const char *fmt, ...)
{
	va_list args;

	d->info.state = EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE;
	if (d->reason[0] != '\0')
		return; /* the first says most */
	va_start(args, fmt);
	(void)vsnprintf(d->reason, sizeof(d->reason), fmt, args);
	va_end(args);
}

static int draft_items(struct draft *d, const struct vault_upload *u, struct error *e)
{
	d->info.n_items = u->n_items;
	d->info.items = d->pointers;
	d->info.bytes = u->bytes;
	for (uint32_t n = 0; n < u->n_items; n++) {
		const struct vault_item *i = &u->items[n];
		Exhibit__V1__ItemInfo *item = &d->items[n];

		d->hashes[n] = i->hash;
		if (!i->ended && vault_item_hash(i, &d->hashes[n]) < 0)
			return error_set(e, -ENOMEM, "cannot hash an item: %s", openssl_reason());
		exhibit__v1__item_info__init(item);
		item->name = BYTES(i->name, strlen(i->name));
		item->format = BYTES(i->format, strlen(i->format));
		item->bytes = i->taken;
		item->sha256 = BYTES(d->hashes[n].b, SEAL_HASH_LEN);
		d->pointers[n] = item;
	}
	return 0;
}

static void judge_items(struct draft *d, const struct vault_upload *u)
{
	if (u->damage[0] != '\0')
		lacks(d, "%s", u->damage);
	for (uint32_t n = 0; n < u->n_items; n++)
		if (!u->items[n].ended)
			lacks(d, "item '%s' did not end: %llu bytes arrived", u->items[n].name,
			      (unsigned long long)u->items[n].taken);
}

static int judge_manifest(struct draft *d, const void *data, size_t len, struct error *e)
{
	AUTO(free_ptr) struct vault_manifest *m = NULL;
	struct error why = { 0 };
	int r = vault_manifest_read(data, len, &m, &why);

	if (r == -ENOMEM)
		return error_set(e, r, "%s", why.text);
	if (r < 0 || vault_manifest_compare(m, &d->info, &why) < 0)
		lacks(d, "%s", why.text);
	else if (m->failure[0] != '\0')
		lacks(d, "the host could not take all of it: %s", m->failure);
	else if (!m->complete || m->n_unfinished > 0)
		lacks(d, "the host could not take all of it: its manifest says what is missing");
	return 0;
}

static struct draft *draft_new(const struct vault_upload *u, struct error *e)
{
	struct draft *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		(void)error_set(e, -ENOMEM, "cannot seal an exhibit: out of memory");
		return NULL;
	}
	d->info = *u->entry->record.info;
	d->info.state = EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED;
	d->info.sealed_ns = vault_now(u->vault);
	if (u->vault->c.retain_ms != 0)
		d->info.retain_until_ns =
			d->info.sealed_ns + (int64_t)(u->vault->c.retain_ms * NSEC_PER_MSEC);
	if (draft_items(d, u, e) == 0)
		return d;
	free(d);
	return NULL;
}

/* The point from which there is no way back: exhibit.json no longer says arriving. */
static int commit_draft(struct vault_upload *u, struct draft *d, const uint8_t *key_id,
			struct error *e)
{
	struct vault *v = u->vault;
	struct vault_record record = { .has_key = key_id != NULL, .has_chunks = true };
	char chunks[PATH_MAX + 32];
	int r;

	if (key_id != NULL)
		memcpy(record.key_id, key_id, SEAL_KEY_ID_LEN);
	(void)snprintf(chunks, sizeof(chunks), "%s/" VAULT_FILE_CHUNKS, u->folder);
	r = vault_file_hash(chunks, &record.chunks, e);
	if (r < 0)
		return r;
	d->info.reason = BYTES(d->reason, strlen(d->reason));
	record.info = vault_info_copy(&d->info);
	if (record.info == NULL)
		return error_set(e, -ENOMEM, "cannot seal an exhibit: out of memory");
	r = vault_record_put(u->folder, &u->entry->tenant, &record, 0444, e);
	if (r < 0) {
		vault_record_release(&record);
		return r;
	}
	(void)pthread_mutex_lock(&v->lock);
	record.info->hold = u->entry->record.info->hold;
	vault_record_release(&u->entry->record);
	u->entry->record = record;
	u->entry->sealing = true;
	(void)pthread_mutex_unlock(&v->lock);
	return 0;
}

/* ---- moving ---------------------------------------------------------------------------------------------- */

static int compare_files(const char *a, const char *b, bool *ret_same)
{
	AUTO(close_fd) int fa = open(a, O_RDONLY | O_CLOEXEC), fb = open(b, O_RDONLY | O_CLOEXEC);
	AUTO(free_ptr) uint8_t *buffer = malloc(2 * VAULT_CHUNK_BYTES);
	ssize_t n, m;

	if (fa < 0 || fb < 0 || buffer == NULL)
		return buffer == NULL ? -ENOMEM : -errno;
	do {
		n = read(fa, buffer, VAULT_CHUNK_BYTES);
		m = read(fb, buffer + VAULT_CHUNK_BYTES, VAULT_CHUNK_BYTES);
		if (n < 0 || m < 0)
			return -errno;
	} while (n > 0 && n == m && memcmp(buffer, buffer + VAULT_CHUNK_BYTES, (size_t)n) == 0);
	*ret_same = n == 0 && m == 0;
	return 0;
}

/* 1: the object is there with the same bytes. What a fault left of it is replaced. */
static int look_for_object(const char *from, const char *to, struct error *e)
{
	bool same = false;
	int r;

	if (access(to, F_OK) < 0)
		return 0;
	r = compare_files(from, to, &same);
	if (r < 0)
		return error_set(e, r, "cannot compare '%s' with '%s': %m", from, to);
	if (!same) {
		log_error("an object of the vault was damaged and is replaced",
			  KV_STR("object", to));
		vault_protect(to, false);
	}
	return same;
}

static int move_object(const char *from, const char *to, struct error *e)
{
	AUTO(close_fd) int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r;

	/* Done by an earlier try. */
	if (fd < 0 && errno == ENOENT && access(to, F_OK) == 0)
		return 0;
	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", from);
	if (fchmod(fd, 0444) < 0 || fsync(fd) < 0)
		return error_set(e, -errno, "cannot make '%s' read-only: %m", from);
	r = look_for_object(from, to, e);
	if (r == 0 && rename(from, to) < 0)
		r = error_set(e, -errno, "cannot move '%s' to '%s': %m", from, to);
	return r < 0 ? r : 0; /* a second copy goes with drop_rest */
}

static int sync_parent(const char *path, struct error *e)
{
	char folder[PATH_MAX];
	char *slash;

	(void)snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	*slash = '\0';
	return files_sync_dir(folder, e);
}

static int store_object(struct vault *v, const struct vault_entry *entry, size_t n, struct error *e)
{
	const Exhibit__V1__ItemInfo *item = entry->record.info->items[n];
	char from[PATH_MAX], to[PATH_MAX], leaf[16], folder[PATH_MAX];
	int r;

	(void)snprintf(leaf, sizeof(leaf), "%zu", n + 1);
	vault_tenant_path(v, &entry->tenant, from, "incoming", entry->id, leaf);
	vault_object_path(v, &entry->tenant, item->sha256.data, to);
	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(to, '/') - to), to);
	r = files_mkdirs(folder, 0700, e);
	if (r == 0) {
		/* The record is in the table: who removes sees from now on that the object is needed. */
		(void)pthread_mutex_lock(&v->objects);
		r = move_object(from, to, e);
		(void)pthread_mutex_unlock(&v->objects);
	}
	if (r == 0)
		r = files_sync_dir(folder, e);
	return r == 0 ? sync_parent(folder, e) : r;
}

/* What the leaf names when there is no manifest: the vault's own record without its leaf. */
static int hash_record(const struct vault_entry *entry, struct seal_hash *ret, struct error *e)
{
	struct vault_record r = entry->record;
	AUTO(free_ptr) char *text = NULL;
	unsigned int n = SEAL_HASH_LEN;
	size_t len;

	r.leaf = false;
	if (vault_record_write(&r, &entry->tenant, &text, &len, e) < 0)
		return -ENOMEM;
	return EVP_Digest(text, len, ret->b, &n, EVP_sha256(), NULL) == 1 ?
		       0 :
		       error_set(e, -ENOMEM, "cannot hash a record: %s", openssl_reason());
}

static int add_leaf(struct vault *v, struct vault_entry *entry, struct error *e)
{
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;
	Exhibit__V1__LedgerEntry leaf = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	struct seal_hash own;
	char folder[PATH_MAX];
	uint64_t index = 0;
	int r = 0;

	if (entry->record.leaf)
		return 0;
	leaf.version = 1;
	leaf.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT;
	leaf.wall_ns = info->sealed_ns;
	leaf.tenant = BYTES(entry->tenant.b, entry->tenant.len);
	leaf.host_id = info->host_id;
	leaf.subject = info->requester;
	leaf.object = info->manifest_sha256;
	if (leaf.object.len == 0) {
		r = hash_record(entry, &own, e);
		leaf.object = BYTES(own.b, SEAL_HASH_LEN);
	}
	leaf.size = info->bytes;
	leaf.case_id = info->case_id;
	leaf.order_id = info->order_id;
	leaf.exhibit_id = info->exhibit_id;
	leaf.text = info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_SEALED ? BYTES("sealed", 6) :
										info->reason;
	if (r == 0)
		r = v->c.ledger(v->c.ledger_ctx, &leaf, &index, e);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&v->lock);
	entry->record.info->ledger_index = index;
	entry->record.leaf = true;
	(void)pthread_mutex_unlock(&v->lock);
	vault_tenant_path(v, &entry->tenant, folder, "incoming", entry->id, NULL);
	return vault_record_put(folder, &entry->tenant, &entry->record, 0444, e);
}

struct dropping {
	const char *folder;
	struct error *e;
};

/* Items are files named by their number: those of which the bytes were there already, or that were begun and
 * never told to be durable. */
static int drop_one(void *ctx, const char *name)
{
	const struct dropping *d = ctx;
	char path[PATH_MAX + 32];

	if (name[strspn(name, "0123456789")] != '\0')
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%.16s", d->folder, name);
	return unlink(path) < 0 ? error_set(d->e, -errno, "cannot remove '%s': %m", path) : 0;
}

static int drop_rest(const struct vault *v, const struct vault_entry *entry, struct error *e)
{
	char folder[PATH_MAX];

	vault_tenant_path(v, &entry->tenant, folder, "incoming", entry->id, NULL);
	return vault_each_name(folder, drop_one, &(struct dropping){ folder, e }, e);
}

static int move_folder(struct vault *v, struct vault_entry *entry, struct error *e)
{
	char from[PATH_MAX], to[PATH_MAX], chunks[PATH_MAX];
	int r = 0;

	vault_tenant_path(v, &entry->tenant, from, "incoming", entry->id, NULL);
	vault_tenant_path(v, &entry->tenant, to, "exhibits", entry->id, NULL);
	vault_tenant_path(v, &entry->tenant, chunks, "incoming", entry->id, VAULT_FILE_CHUNKS);
	if (chmod(chunks, 0444) < 0)
		return error_set(e, -errno, "cannot make '%s' read-only: %m", chunks);
	(void)pthread_mutex_lock(&v->moving);
	if (rename(from, to) < 0)
		r = error_set(e, -errno, "cannot move '%s' to '%s': %m", from, to);
	(void)pthread_mutex_lock(&v->lock);
	entry->sealing = r < 0;
	(void)pthread_mutex_unlock(&v->lock);
	(void)pthread_mutex_unlock(&v->moving);
	if (r == 0)
		r = sync_parent(to, e);
	return r == 0 ? sync_parent(from, e) : r;
}

static void protect_all(const struct vault *v, const struct vault_entry *entry)
{
	static const char *const files[] = { VAULT_FILE_RECORD, VAULT_FILE_MANIFEST,
					     VAULT_FILE_SIGNATURE, VAULT_FILE_CHUNKS };
	char path[PATH_MAX];

	if (!v->c.immutable)
		return;
	for (size_t i = 0; i < entry->record.info->n_items; i++) {
		vault_object_path(v, &entry->tenant, entry->record.info->items[i]->sha256.data,
				  path);
		vault_protect(path, true);
	}
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		vault_tenant_path(v, &entry->tenant, path, "exhibits", entry->id, files[i]);
		vault_protect(path, true);
	}
}

/* A process that was killed may have left the record, and the files that it speaks of, under names that are not
 * durable. No item may leave the folder before they are: after a power cut the upload would be read as one that still
 * arrives, and its items be missed. */
static int sync_record(const struct vault *v, const struct vault_entry *entry, struct error *e)
{
	char folder[PATH_MAX];

	vault_tenant_path(v, &entry->tenant, folder, "incoming", entry->id, NULL);
	return files_sync_dir(folder, e);
}

int vault_seal_finish(struct vault *v, struct vault_entry *entry, struct error *e)
{
	int r = sync_record(v, entry, e);

	for (size_t n = 0; r == 0 && n < entry->record.info->n_items; n++)
		r = store_object(v, entry, n, e);
	if (r == 0)
		r = add_leaf(v, entry, e);
	if (r == 0)
		r = drop_rest(v, entry, e);
	if (r == 0)
		r = move_folder(v, entry, e);
	if (r < 0)
		return error_wrap(e, r, "cannot seal an exhibit");
	protect_all(v, entry);
	char id[VAULT_ID_TEXT];

	log_info("exhibit sealed", KV_STR("exhibit", vault_id_text(entry->id, id)),
		 KV_STR("state", vault_state_name(entry->record.info->state)),
		 KV_BYTES("host", entry->record.info->host_id.data,
			  entry->record.info->host_id.len),
		 KV_U64("bytes", entry->record.info->bytes),
		 KV_BYTES("reason", entry->record.info->reason.data,
			  entry->record.info->reason.len));
	if (v->on_sealed != NULL)
		v->on_sealed(v->on_sealed_ctx, &entry->tenant, entry->record.info);
	return 0;
}

/* ---- sealing --------------------------------------------------------------------------------------------- */

static int put_file(const struct vault_upload *u, const char *leaf, const void *data, size_t len,
		    struct error *e)
{
	char path[PATH_MAX + 32];

	(void)snprintf(path, sizeof(path), "%s/%s", u->folder, leaf);
	return files_replace(path, data, len, 0444, e);
}

int vault_seal_incomplete(struct vault_upload *u, const char *reason, struct error *e)
{
	struct vault *v = u->vault;
	struct vault_entry *entry = u->entry;
	struct draft *d = draft_new(u, e);
	int r = d != NULL ? 0 : -ENOMEM;

	if (r == 0) {
		judge_items(d, u);
		lacks(d, "%s", reason);
		/* Why it ended counts more than where. */
		if (u->damage[0] == '\0')
			(void)snprintf(d->reason, sizeof(d->reason), "%s", reason);
		r = commit_draft(u, d, NULL, e);
	}
	free(d);
	vault_upload_free(u);
	return r == 0 ? vault_seal_finish(v, entry, e) : r;
}

static int seal_with(struct vault_upload *u, struct draft *d, const void *manifest, size_t len,
		     const uint8_t signature[static SEAL_SIGNATURE_LEN],
		     const uint8_t key_id[static SEAL_KEY_ID_LEN], struct error *e)
{
	unsigned int n = SEAL_HASH_LEN;
	int r = judge_manifest(d, manifest, len, e);

	if (r < 0)
		return r;
	judge_items(d, u);
	if (EVP_Digest(manifest, len, d->manifest.b, &n, EVP_sha256(), NULL) != 1)
		return error_set(e, -ENOMEM, "cannot hash a manifest: %s", openssl_reason());
	d->info.manifest_sha256 = BYTES(d->manifest.b, SEAL_HASH_LEN);
	r = put_file(u, VAULT_FILE_MANIFEST, manifest, len, e);
	if (r == 0)
		r = put_file(u, VAULT_FILE_SIGNATURE, signature, SEAL_SIGNATURE_LEN, e);
	return r == 0 ? commit_draft(u, d, key_id, e) : r;
}

int vault_upload_seal(struct vault_upload *u, const void *manifest, size_t len,
		      const uint8_t signature[static SEAL_SIGNATURE_LEN],
		      const uint8_t key_id[static SEAL_KEY_ID_LEN], struct vault_receipt *ret,
		      struct error *e)
{
	struct vault *v = u->vault;
	struct vault_entry *entry = u->entry;
	struct vault_durable durable;
	struct draft *d = NULL;
	int r = len > VAULT_MANIFEST_MAX ?
			error_set(e, -E2BIG, "the manifest has %zu bytes, at most %llu are taken",
				  len, (unsigned long long)VAULT_MANIFEST_MAX) :
			vault_room(v, len, e);

	if (r == 0)
		r = vault_upload_sync(u, &durable, e);
	if (r == 0) {
		d = draft_new(u, e);
		r = d != NULL ? seal_with(u, d, manifest, len, signature, key_id, e) : -ENOMEM;
	}
	if (r != 0) {
		free(d);
		vault_upload_leave(u);
		return r;
	}
	ret->manifest = d->manifest;
	free(d);
	vault_upload_free(u);
	r = vault_seal_finish(v, entry, e);
	(void)pthread_mutex_lock(&v->lock);
	ret->ledger_index = entry->record.info->ledger_index;
	entry->busy = false;
	(void)pthread_mutex_unlock(&v->lock);
	return r;
}
