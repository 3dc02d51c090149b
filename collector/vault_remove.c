/* SPDX-License-Identifier: Apache-2.0 */
/* Retention: an exhibit whose time is over and that nobody holds leaves the vault; its leaf in the ledger stays,
 * and one more says that it went. Order on disk: the leaf, exhibits/ID to removing/ID, objects that no other
 * exhibit has, removing/ID. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "collector/row.h"
#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define BYTES(p, n) ((ProtobufCBinaryData){ (n), (uint8_t *)(uintptr_t)(p) })

static bool has_object(const struct vault_entry *entry, const ProtobufCBinaryData *hash)
{
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;

	for (size_t i = 0; i < info->n_items; i++)
		if (memcmp(info->items[i]->sha256.data, hash->data, SEAL_HASH_LEN) == 0)
			return true;
	return false;
}

/* One that is being sealed is in the table with its items before its objects are linked. */
static bool is_shared(struct vault *v, const struct batch_name *tenant,
		      const uint8_t id[static VAULT_ID_LEN], const ProtobufCBinaryData *hash)
{
	bool shared = false;

	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; !shared && i < v->n; i++)
		shared = batch_name_equal(&v->at[i]->tenant, tenant) &&
			 memcmp(v->at[i]->id, id, VAULT_ID_LEN) != 0 && has_object(v->at[i], hash);
	(void)pthread_mutex_unlock(&v->lock);
	return shared;
}

static int remove_object(struct vault *v, const struct batch_name *tenant,
			 const ProtobufCBinaryData *hash, struct error *e)
{
	char path[PATH_MAX];

	vault_object_path(v, tenant, hash->data, path);
	vault_protect(path, false);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(e, -errno, "cannot remove '%s': %m", path);
	return 0;
}

int vault_remove_finish(struct vault *v, const struct batch_name *tenant,
			const uint8_t id[static VAULT_ID_LEN], struct error *e)
{
	struct vault_record record = { 0 };
	char folder[PATH_MAX];
	int r;

	vault_tenant_path(v, tenant, folder, "removing", id, NULL);
	r = vault_record_get(folder, &record, e);
	if (r == 0 && v->left_out)
		log_warn(
			"the bytes of a removed exhibit stay: one that cannot be read may need them",
			KV_STR("folder", folder));
	for (size_t i = 0; r == 0 && !v->left_out && i < record.info->n_items; i++) {
		(void)pthread_mutex_lock(&v->objects);
		if (!is_shared(v, tenant, id, &record.info->items[i]->sha256))
			r = remove_object(v, tenant, &record.info->items[i]->sha256, e);
		(void)pthread_mutex_unlock(&v->objects);
	}
	vault_record_release(&record);
	/* The record went already, or is damaged: its objects then stay, and `check` names them. */
	if (r == 0 || r == -ENOENT || r == -EBADMSG)
		r = vault_remove_folder(folder, e);
	return r;
}

static int add_leaf(const struct vault *v, const struct vault_entry *entry, struct error *e)
{
	static const char text[] = "removed: its time of retention is over, and there is no hold";
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;
	Exhibit__V1__LedgerEntry leaf = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	leaf.version = 1;
	leaf.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION;
	leaf.wall_ns = vault_now(v);
	leaf.tenant = BYTES(entry->tenant.b, entry->tenant.len);
	leaf.host_id = info->host_id;
	leaf.object = info->manifest_sha256;
	leaf.size = info->bytes;
	leaf.case_id = info->case_id;
	leaf.order_id = info->order_id;
	leaf.exhibit_id = info->exhibit_id;
	leaf.text = BYTES(text, sizeof(text) - 1);
	return v->c.ledger(v->c.ledger_ctx, &leaf, NULL, e);
}

/* The folder leaves exhibits/. */
static int take_out(struct vault *v, struct vault_entry *entry, struct error *e)
{
	char from[PATH_MAX], to[PATH_MAX], parent[PATH_MAX];
	int r = 0;

	vault_tenant_path(v, &entry->tenant, from, "exhibits", entry->id, NULL);
	vault_tenant_path(v, &entry->tenant, to, "removing", entry->id, NULL);
	(void)pthread_mutex_lock(&v->moving);
	if (rename(from, to) < 0)
		r = error_set(e, -errno, "cannot move '%s' to '%s': %m", from, to);
	if (r == 0) {
		(void)pthread_mutex_lock(&v->lock);
		vault_forget(v, entry);
		(void)pthread_mutex_unlock(&v->lock);
	}
	(void)pthread_mutex_unlock(&v->moving);
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(from, '/') - from), from);
	if (r == 0)
		r = files_sync_dir(parent, e);
	(void)snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(to, '/') - to), to);
	return r == 0 ? files_sync_dir(parent, e) : r;
}

static struct vault_entry *take_due(struct vault *v, int64_t now)
{
	struct vault_entry *found = NULL;

	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; found == NULL && i < v->n; i++) {
		struct vault_entry *entry = v->at[i];
		const Exhibit__V1__ExhibitInfo *info = entry->record.info;

		if (!entry->busy && !entry->sealing && !info->hold && entry->holding == 0 &&
		    info->retain_until_ns != 0 && (entry->archived || !atomic_load(&v->archives)) &&
		    info->retain_until_ns <= now) {
			entry->busy = entry->going = true;
			found = entry;
		}
	}
	(void)pthread_mutex_unlock(&v->lock);
	return found;
}

static int remove_one(struct vault *v, struct vault_entry *entry, struct error *e)
{
	struct batch_name tenant = entry->tenant;
	uint8_t id[VAULT_ID_LEN];
	char text[VAULT_ID_TEXT];
	/* A try that failed behind its leaf is no second removal. */
	int r = entry->removal_told ? 0 : add_leaf(v, entry, e);

	memcpy(id, entry->id, VAULT_ID_LEN);
	if (r == 0) {
		entry->removal_told = true;
		r = take_out(v, entry, e);
	}
	if (r == 0) {
		log_info("exhibit removed, its time is over",
			 KV_STR("exhibit", vault_id_text(id, text)));
		return vault_remove_finish(v, &tenant, id, e);
	}
	(void)pthread_mutex_lock(&v->lock);
	entry->busy = entry->going = false;
	(void)pthread_mutex_unlock(&v->lock);
	return r;
}

int vault_remove_due(struct vault *v, struct error *e)
{
	struct vault_entry *entry;
	int64_t now = vault_now(v);
	int r = 0;

	while (r == 0 && !atomic_load(&v->stopping) && (entry = take_due(v, now)) != NULL)
		r = remove_one(v, entry, e);
	return r;
}
