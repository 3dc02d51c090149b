/* SPDX-License-Identifier: Apache-2.0 */
/* An upload begins, goes on, is left: who may, and which files there are. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/row.h"
#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/openssl_util.h"

/* ---- the object ---------------------------------------------------------------------------------------- */

struct vault_upload *vault_upload_new(struct vault *v, struct vault_entry *entry)
{
	struct vault_upload *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return NULL;
	u->vault = v;
	u->entry = entry;
	u->chunks_fd = -1;
	vault_tenant_path(v, &entry->tenant, u->folder, "incoming", entry->id, NULL);
	return u;
}

void vault_upload_free(struct vault_upload *u)
{
	if (u == NULL)
		return;
	for (uint32_t i = 0; i < u->n_items; i++) {
		close_fd(&u->items[i].fd);
		EVP_MD_CTX_free(u->items[i].md);
	}
	free(u->items);
	free(u->lines);
	close_fd(&u->chunks_fd);
	free(u);
}

struct vault_item *vault_item_add(struct vault_upload *u)
{
	struct vault_item *i;

	if (u->items == NULL)
		u->items = calloc(VAULT_ITEMS_MAX, sizeof(*u->items));
	if (u->items == NULL)
		return NULL;
	i = &u->items[u->n_items];
	*i = (struct vault_item){ .fd = -1, .md = EVP_MD_CTX_new() };
	if (i->md == NULL || EVP_DigestInit_ex(i->md, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(i->md);
		return NULL;
	}
	u->n_items++;
	return i;
}

int vault_item_hash(const struct vault_item *i, struct seal_hash *ret)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *copy = EVP_MD_CTX_new();
	unsigned int n = SEAL_HASH_LEN;

	if (copy == NULL || EVP_MD_CTX_copy_ex(copy, i->md) != 1 ||
	    EVP_DigestFinal_ex(copy, ret->b, &n) != 1)
		return -ENOMEM;
	return 0;
}

int vault_item_open(struct vault_upload *u, uint32_t item, int flags, struct error *e)
{
	char path[PATH_MAX + 16];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%u", u->folder, item);
	fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	u->items[item - 1].fd = fd;
	return 0;
}

/* ---- beginning ------------------------------------------------------------------------------------------- */

static int make_folders(const struct vault_upload *u, char fresh[static PATH_MAX], struct error *e)
{
	static const char *const subs[] = { "incoming", "exhibits", "new", "removing", "sha256" };
	const struct vault *v = u->vault;
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(subs); i++) {
		vault_tenant_path(v, &u->entry->tenant, path, subs[i], NULL, NULL);
		r = files_mkdirs(path, 0700, e);
	}
	if (r < 0)
		return r;
	vault_path(v, path, "%.*s", u->entry->tenant.len, (const char *)u->entry->tenant.b);
	r = files_sync_dir(path, e);
	if (r == 0)
		r = files_sync_dir(v->dir, e);
	vault_tenant_path(v, &u->entry->tenant, fresh, "new", u->entry->id, NULL);
	if (r == 0)
		r = vault_remove_folder(fresh, e);
	if (r == 0 && mkdir(fresh, 0700) < 0)
		r = error_set(e, -errno, "cannot create folder '%s': %m", fresh);
	return r;
}

/* Everything stands in new/ID before it is renamed, so that incoming/ID is whole whenever it is there. */
int vault_upload_create(struct vault_upload *u, struct error *e)
{
	char fresh[PATH_MAX], path[PATH_MAX + 32];
	int r = make_folders(u, fresh, e);

	if (r == 0)
		r = vault_record_put(fresh, &u->entry->tenant, &u->entry->record, 0600, e);
	(void)snprintf(path, sizeof(path), "%s/" VAULT_FILE_CHUNKS, fresh);
	if (r == 0)
		r = files_replace(path, "", 0, 0600, e);
	if (r == 0 && rename(fresh, u->folder) < 0)
		r = error_set(e, -errno, "cannot create '%s': %m", u->folder);
	vault_tenant_path(u->vault, &u->entry->tenant, path, "incoming", NULL, NULL);
	if (r == 0)
		r = files_sync_dir(path, e);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/" VAULT_FILE_CHUNKS, u->folder);
	u->chunks_fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return u->chunks_fd < 0 ? error_set(e, -errno, "cannot open '%s': %m", path) : 0;
}

static Exhibit__V1__ExhibitInfo *arriving_info(const struct vault_begin *b, int64_t now)
{
	Exhibit__V1__ExhibitInfo info = EXHIBIT__V1__EXHIBIT_INFO__INIT;
#define BYTES(p, n) ((ProtobufCBinaryData){ (n), (uint8_t *)(uintptr_t)(p) })

	info.exhibit_id = BYTES(b->exhibit_id, VAULT_ID_LEN);
	info.order_id = BYTES(b->order_id, VAULT_ID_LEN);
	info.host_id = BYTES(b->host_id.b, b->host_id.len);
	info.host_name = BYTES(b->host_name.b, b->host_name.len);
	info.case_id = BYTES(b->order.case_id.b, b->order.case_id.len);
	info.requester = BYTES(b->order.requester.b, b->order.requester.len);
	info.kind = b->order.kind;
	info.state = EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;
	info.began_ns = now;
	return vault_info_copy(&info);
}

static bool same_bytes(const ProtobufCBinaryData *b, const void *data, size_t len)
{
	return b->len == len && memcmp(b->data, data, len) == 0;
}

static bool same_owner(const struct vault_entry *entry, const struct vault_begin *b)
{
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;

	return same_bytes(&info->host_id, b->host_id.b, b->host_id.len) &&
	       same_bytes(&info->order_id, b->order_id, VAULT_ID_LEN);
}

static void fill_receipt(const Exhibit__V1__ExhibitInfo *info, struct vault_receipt *ret)
{
	*ret = (struct vault_receipt){ .ledger_index = info->ledger_index };
	if (info->manifest_sha256.len == SEAL_HASH_LEN)
		memcpy(ret->manifest.b, info->manifest_sha256.data, SEAL_HASH_LEN);
}

/* Under the lock. 1: it is sealed. */
static int claim_known(struct vault_entry *entry, const struct vault_begin *b,
		       struct vault_receipt *ret, struct error *e)
{
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;

	if (!same_owner(entry, b))
		return error_set(
			e, -EACCES,
			"an exhibit with this id was made by another host or for another order");
	if (entry->busy)
		return error_set(e, -EBUSY, "another call brings this exhibit; try again");
	if (entry->sealing) {
		entry->busy = true;
		return 0;
	}
	if (info->state != EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING) {
		fill_receipt(info, ret);
		return 1;
	}
	entry->busy = true;
	return 0;
}

static int claim_new(struct vault *v, const struct vault_begin *b, struct vault_entry **ret,
		     struct error *e)
{
	struct vault_record record = { .info = arriving_info(b, vault_now(v)) };
	size_t same = 0;
	int r;

	if (record.info == NULL)
		return error_set(e, -ENOMEM, "cannot begin an exhibit: out of memory");
	if (b->order.over) {
		vault_record_release(&record);
		return error_set(e, -EACCES,
				 "the order is over, this host said so: it asks for nothing more");
	}
	for (size_t i = 0; i < v->n; i++)
		same += batch_name_equal(&v->at[i]->tenant, &b->tenant) && same_owner(v->at[i], b);
	r = same >= VAULT_PER_ORDER_MAX ?
		    error_set(e, -ENOSPC, "this host made %d exhibits for this order already",
			      VAULT_PER_ORDER_MAX) :
		    vault_add(v, &b->tenant, b->exhibit_id, &record, ret, e);
	if (r == 0)
		(*ret)->busy = true;
	vault_record_release(&record);
	return r;
}

/* The lesser of two limits. */
static void set_limit(struct vault_upload *u, const struct vault_order *order)
{
	uint64_t asked = order->max_bytes;

	u->max_bytes = u->vault->c.exhibit_bytes;
	u->max_whose = "vault.exhibit-bytes";
	if (asked == 0 || __builtin_add_overflow(asked, VAULT_ABOVE_ORDER, &asked) ||
	    (u->max_bytes != 0 && u->max_bytes <= asked))
		return;
	u->max_bytes = asked;
	u->max_whose = "its order allows";
}

static void start_call(struct vault_upload *u)
{
	u->held_items = u->n_items;
	for (uint32_t i = 0; i < u->n_items; i++) {
		u->items[i].held = u->items[i].taken;
		u->items[i].held_end = u->items[i].ended;
	}
}

static int open_known(struct vault *v, struct vault_entry *entry, struct vault_upload **ret,
		      struct error *e)
{
	struct vault_upload *u = TAKE(entry->kept);
	int r = 0;

	if (u == NULL) {
		u = vault_upload_new(v, entry);
		r = u != NULL ? vault_upload_load(u, e) :
				error_set(e, -ENOMEM, "cannot go on with an exhibit: %m");
	}
	if (r == 0 && u->damage[0] != '\0') {
		r = error_set(e, -EUCLEAN, "the exhibit cannot be gone on with: %s", u->damage);
		error_hint(e, "what is whole of it is sealed when it is taken for abandoned");
	}
	if (r < 0) {
		vault_upload_free(u);
		return r;
	}
	start_call(u);
	*ret = u;
	return 0;
}

static int open_new(struct vault *v, struct vault_entry *entry, struct vault_upload **ret,
		    struct error *e)
{
	struct vault_upload *u = vault_upload_new(v, entry);
	int r = u != NULL ? vault_room(v, VAULT_CHUNK_BYTES, e) :
			    error_set(e, -ENOMEM, "cannot begin an exhibit: %m");

	if (r == 0)
		r = vault_upload_create(u, e);
	if (r == 0) {
		(void)pthread_mutex_lock(&v->lock);
		entry->made = true;
		(void)pthread_mutex_unlock(&v->lock);
		*ret = u;
		return 0;
	}
	vault_upload_free(u);
	(void)pthread_mutex_lock(&v->lock);
	vault_forget(v, entry);
	(void)pthread_mutex_unlock(&v->lock);
	return r;
}

int vault_upload_begin(struct vault *v, const struct vault_begin *b, struct vault_upload **ret,
		       struct vault_receipt *ret_receipt, struct error *e)
{
	struct vault_entry *entry;
	bool known;
	int r;

	(void)pthread_mutex_lock(&v->lock);
	entry = vault_lookup(v, &b->tenant, b->exhibit_id);
	known = entry != NULL;
	r = known ? claim_known(entry, b, ret_receipt, e) : claim_new(v, b, &entry, e);
	(void)pthread_mutex_unlock(&v->lock);
	if (r != 0)
		return r;
	if (!known) {
		r = open_new(v, entry, ret, e);
		if (r == 0)
			set_limit(*ret, &b->order);
		return r;
	}
	bool sealing = entry->sealing; /* ours: it is busy */

	r = sealing ? vault_seal_finish(v, entry, e) : open_known(v, entry, ret, e);
	if (r == 0 && !sealing)
		set_limit(*ret, &b->order);
	if (r == 0 && sealing) {
		fill_receipt(entry->record.info, ret_receipt);
		r = 1;
	}
	if (r != 0) {
		(void)pthread_mutex_lock(&v->lock);
		entry->busy = false;
		(void)pthread_mutex_unlock(&v->lock);
	}
	return r;
}
