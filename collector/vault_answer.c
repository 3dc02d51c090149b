/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about what is here, and legal hold. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "collector/row.h"
#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/json.h"

/* ---- questions ------------------------------------------------------------------------------------------ */

static bool equal_bytes(const ProtobufCBinaryData *b, const void *data, size_t len)
{
	return b->len == len && (len == 0 || memcmp(b->data, data, len) == 0);
}

static bool matches(const struct vault_question *q, const struct vault_entry *entry)
{
	const Exhibit__V1__ExhibitInfo *info = entry->record.info;

	return batch_name_equal(&entry->tenant, &q->tenant) &&
	       (q->exhibit_id == NULL || memcmp(entry->id, q->exhibit_id, VAULT_ID_LEN) == 0) &&
	       (q->order_id == NULL || equal_bytes(&info->order_id, q->order_id, VAULT_ID_LEN)) &&
	       (q->case_id.len == 0 || equal_bytes(&info->case_id, q->case_id.b, q->case_id.len));
}

static int pack(const Exhibit__V1__ExhibitInfo *info, struct vault_packed *ret)
{
	ret->len = exhibit__v1__exhibit_info__get_packed_size(info);
	ret->data = malloc(ret->len + 1);
	if (ret->data == NULL)
		return -ENOMEM;
	(void)exhibit__v1__exhibit_info__pack(info, ret->data);
	return 0;
}

/* Whether S3 lacks the hold, or still has it. Under the lock. */
static void say_pending(const struct vault *v, struct vault_entry *entry)
{
	Exhibit__V1__ExhibitInfo *info = entry->record.info;

	info->hold_pending = atomic_load(&v->archives) && info->hold != entry->bucket_held;
}

void vault_packed_free(struct vault_packed *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(p[i].data);
	free(p);
}

int vault_find(struct vault *v, const struct vault_question *q, struct vault_packed **ret,
	       size_t *ret_n, struct error *e)
{
	struct vault_packed *all;
	size_t n = 0;
	int r = 0;

	(void)pthread_mutex_lock(&v->lock);
	all = calloc(v->n + 1, sizeof(*all));
	r = all != NULL ? 0 : -ENOMEM;
	for (size_t i = 0; r == 0 && i < v->n; i++)
		if (matches(q, v->at[i])) {
			say_pending(v, v->at[i]);
			r = pack(v->at[i]->record.info, &all[n++]);
		}
	(void)pthread_mutex_unlock(&v->lock);
	if (r < 0) {
		vault_packed_free(all, n);
		return error_set(e, r, "cannot list exhibits: %m");
	}
	*ret = all;
	*ret_n = n;
	return 0;
}

static int no_such(const uint8_t id[static VAULT_ID_LEN], struct error *e)
{
	char text[VAULT_ID_TEXT];

	(void)error_set(e, -ENOENT, "there is no exhibit '%s'", vault_id_text(id, text));
	error_hint(e, "'exhibit exhibits' lists them");
	return -ENOENT;
}

int vault_get(struct vault *v, const struct batch_name *tenant,
	      const uint8_t id[static VAULT_ID_LEN], Exhibit__V1__ExhibitInfo **ret,
	      struct error *e)
{
	Exhibit__V1__ExhibitInfo *copy = NULL;
	struct vault_entry *entry;

	(void)pthread_mutex_lock(&v->lock);
	entry = vault_lookup(v, tenant, id);
	if (entry != NULL) {
		say_pending(v, entry);
		copy = vault_info_copy(entry->record.info);
	}
	if (copy != NULL && entry->sealing)
		copy->state = EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;
	(void)pthread_mutex_unlock(&v->lock);
	if (entry == NULL)
		return no_such(id, e);
	if (copy == NULL) {
		(void)error_set(e, -ENOMEM, "cannot look at an exhibit: out of memory");
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

static void info_free_ptr(Exhibit__V1__ExhibitInfo **info)
{
	if (*info != NULL)
		exhibit__v1__exhibit_info__free_unpacked(*info, NULL);
}

static int sealed_only(const Exhibit__V1__ExhibitInfo *info, struct error *e)
{
	if (info->state != EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
		return 0;
	return error_set(e, -EAGAIN, "the exhibit is still arriving, %llu bytes are here",
			 (unsigned long long)info->bytes);
}

static int take_item(Exhibit__V1__ExhibitInfo *info, const void *name, size_t len,
		     Exhibit__V1__ItemInfo **ret)
{
	for (size_t i = 0; i < info->n_items; i++)
		if (equal_bytes(&info->items[i]->name, name, len)) {
			*ret = info->items[i];
			info->items[i] = info->items[--info->n_items];
			return 0;
		}
	return -ENOENT;
}

int vault_open_item(struct vault *v, const struct batch_name *tenant,
		    const uint8_t id[static VAULT_ID_LEN], const void *name, size_t len,
		    int *ret_fd, Exhibit__V1__ItemInfo **ret_info, struct error *e)
{
	AUTO(info_free_ptr) Exhibit__V1__ExhibitInfo *info = NULL;
	Exhibit__V1__ItemInfo *item = NULL;
	char path[PATH_MAX];
	int r = vault_get(v, tenant, id, &info, e);

	if (r == 0)
		r = sealed_only(info, e);
	if (r != 0)
		return r;
	if (take_item(info, name, len, &item) < 0)
		return error_set(e, -ENOENT, "the exhibit has no item '%.*s'", (int)len,
				 (const char *)name);
	vault_object_path(v, tenant, item->sha256.data, path);
	*ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd < 0) {
		r = error_set(e, -EIO, "an item's bytes are not in the vault: '%s': %s", path,
			      strerror(errno));
		exhibit__v1__item_info__free_unpacked(item, NULL);
		return r;
	}
	*ret_info = item;
	return 0;
}

static int fill_manifest(const char *folder, const struct vault_record *record,
			 Exhibit__V1__SignedManifest *m, struct error *e)
{
	char path[PATH_MAX];
	int r;

	(void)snprintf(path, sizeof(path), "%.*s/" VAULT_FILE_MANIFEST, PATH_MAX - 32, folder);
	r = files_read(path, VAULT_MANIFEST_MAX, &m->manifest.data, &m->manifest.len, e);
	if (r == 0) {
		(void)snprintf(path, sizeof(path), "%.*s/" VAULT_FILE_SIGNATURE, PATH_MAX - 32,
			       folder);
		r = files_read(path, 1024, &m->signature.data, &m->signature.len, e);
	}
	if (r == 0 && record->has_key) {
		m->key_id.data = malloc(SEAL_KEY_ID_LEN);
		if (m->key_id.data == NULL)
			return error_set(e, -ENOMEM, "cannot read a manifest: out of memory");
		memcpy(m->key_id.data, record->key_id, SEAL_KEY_ID_LEN);
		m->key_id.len = SEAL_KEY_ID_LEN;
	}
	return r;
}

int vault_manifest(struct vault *v, const struct batch_name *tenant,
		   const uint8_t id[static VAULT_ID_LEN], Exhibit__V1__SignedManifest **ret,
		   struct error *e)
{
	AUTO(info_free_ptr) Exhibit__V1__ExhibitInfo *info = NULL;
	Exhibit__V1__SignedManifest *m;
	struct vault_record record = { 0 };
	char folder[PATH_MAX];
	int r = vault_get(v, tenant, id, &info, e);

	if (r == 0)
		r = sealed_only(info, e);
	if (r == 0 && info->manifest_sha256.len == 0)
		r = error_set(e, -ENOENT, "the exhibit was sealed without a manifest: %.*s",
			      (int)info->reason.len, (const char *)info->reason.data);
	if (r != 0)
		return r;
	vault_tenant_path(v, tenant, folder, "exhibits", id, NULL);
	m = calloc(1, sizeof(*m));
	if (m == NULL)
		return error_set(e, -ENOMEM, "cannot read a manifest: out of memory");
	exhibit__v1__signed_manifest__init(m);
	r = vault_record_get(folder, &record, e);
	if (r == 0)
		r = fill_manifest(folder, &record, m, e);
	vault_record_release(&record);
	if (r < 0) {
		exhibit__v1__signed_manifest__free_unpacked(m, NULL);
		return r;
	}
	*ret = m;
	return 0;
}

/* ---- hold ------------------------------------------------------------------------------------------------ */

/* With `moving` held: its folder stays where it is. */
static int write_hold(struct vault *v, const struct vault_entry *entry, bool hold,
		      const char *subject, const void *reason, size_t reason_len, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	char path[PATH_MAX];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return error_set(e, -ENOMEM, "cannot write a hold: out of memory");
	struct json j = json_init(out);

	json_open(&j, NULL, 0, '{');
	json_bool(&j, "hold", hold);
	json_text(&j, "by", subject);
	json_bytes(&j, "reason", reason, reason_len);
	json_i64(&j, "at_ns", vault_now(v));
	json_close(&j, '}');
	json_line(&j);
	if (fclose(out) != 0)
		return error_set(e, -ENOMEM, "cannot write a hold: out of memory");
	(void)pthread_mutex_lock(&v->lock);
	bool arriving = entry->sealing ||
			entry->record.info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;

	(void)pthread_mutex_unlock(&v->lock);
	vault_tenant_path(v, &entry->tenant, path, arriving ? "incoming" : "exhibits", entry->id,
			  VAULT_FILE_HOLD);
	return files_replace(path, text, len, 0444, e);
}

struct event {
	Exhibit__V1__LedgerKind kind;
	const char *subject, *text;
	const ProtobufCBinaryData *object;
	uint64_t size;
};

static int add_leaf(struct vault *v, const struct batch_name *tenant,
		    const Exhibit__V1__ExhibitInfo *info, const struct event *what, struct error *e)
{
	Exhibit__V1__LedgerEntry leaf = EXHIBIT__V1__LEDGER_ENTRY__INIT;

	leaf.version = 1;
	leaf.kind = what->kind;
	leaf.wall_ns = vault_now(v);
	leaf.tenant = (ProtobufCBinaryData){ tenant->len, (uint8_t *)(uintptr_t)tenant->b };
	leaf.host_id = info->host_id;
	leaf.subject =
		(ProtobufCBinaryData){ strlen(what->subject), (uint8_t *)(uintptr_t)what->subject };
	leaf.object = *what->object;
	leaf.size = what->size;
	leaf.case_id = info->case_id;
	leaf.order_id = info->order_id;
	leaf.exhibit_id = info->exhibit_id;
	leaf.text = (ProtobufCBinaryData){ strlen(what->text), (uint8_t *)(uintptr_t)what->text };
	return v->c.ledger(v->c.ledger_ctx, &leaf, NULL, e);
}

int vault_fetched(struct vault *v, const struct batch_name *tenant,
		  const Exhibit__V1__ExhibitInfo *info, const char *subject,
		  const ProtobufCBinaryData *object, uint64_t size, const char *text,
		  struct error *e)
{
	return add_leaf(v, tenant, info,
			&(struct event){ EXHIBIT__V1__LEDGER_KIND__LEDGER_FETCH, subject, text,
					 object, size },
			e);
}

static int hold_leaf(struct vault *v, const struct batch_name *tenant,
		     const Exhibit__V1__ExhibitInfo *info, bool hold, const char *subject,
		     const void *reason, size_t reason_len, struct error *e)
{
	char text[1200];

	(void)snprintf(text, sizeof(text), "legal hold %s: %.*s", hold ? "set" : "released",
		       reason_len > 1000 ? 1000 : (int)reason_len, (const char *)reason);
	return add_leaf(v, tenant, info,
			&(struct event){ EXHIBIT__V1__LEDGER_KIND__LEDGER_HOLD, subject, text,
					 &info->manifest_sha256, info->bytes },
			e);
}

/* Nobody removes it until let_go. 1: it is as it shall be. */
static int take_hold(struct vault *v, const struct batch_name *tenant,
		     const uint8_t id[static VAULT_ID_LEN], bool hold, struct vault_entry **ret,
		     struct error *e)
{
	struct vault_entry *entry;
	int r = 0;

	(void)pthread_mutex_lock(&v->lock);
	entry = vault_lookup(v, tenant, id);
	if (entry == NULL || !entry->made)
		r = -ENOENT;
	else if (entry->going)
		r = -EAGAIN;
	else if (entry->record.info->hold == hold)
		r = 1;
	else
		entry->holding++;
	(void)pthread_mutex_unlock(&v->lock);
	*ret = entry;
	if (r == -ENOENT)
		return no_such(id, e);
	if (r == -EAGAIN)
		return error_set(e, r, "the exhibit's time is over, it is being removed");
	return r;
}

static int let_go(struct vault *v, struct vault_entry *entry, int r, bool hold)
{
	(void)pthread_mutex_lock(&v->lock);
	if (r == 0)
		entry->record.info->hold = hold;
	entry->holding--;
	(void)pthread_mutex_unlock(&v->lock);
	return r;
}

int vault_hold(struct vault *v, const struct batch_name *tenant,
	       const uint8_t id[static VAULT_ID_LEN], bool hold, const char *subject,
	       const void *reason, size_t reason_len, struct error *e)
{
	AUTO(info_free_ptr) Exhibit__V1__ExhibitInfo *info = NULL;
	struct vault_entry *entry;
	int r = take_hold(v, tenant, id, hold, &entry, e);

	if (r != 0)
		return r < 0 ? r : 0;
	r = vault_get(v, tenant, id, &info, e);
	if (r == 0)
		r = hold_leaf(v, tenant, info, hold, subject, reason, reason_len, e);
	if (r < 0)
		return let_go(v, entry, r, hold);
	(void)pthread_mutex_lock(&v->moving);
	r = let_go(v, entry, write_hold(v, entry, hold, subject, reason, reason_len, e), hold);
	(void)pthread_mutex_unlock(&v->moving);
	return r;
}

int vault_archived(struct vault *v, const struct batch_name *tenant,
		   const uint8_t id[static VAULT_ID_LEN], const char *json, size_t len,
		   struct error *e)
{
	char path[PATH_MAX];

	vault_tenant_path(v, tenant, path, "exhibits", id, VAULT_FILE_ARCHIVE);
	int r = files_replace(path, json, len, 0444, e);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&v->lock);
	struct vault_entry *entry = vault_lookup(v, tenant, id);

	if (entry != NULL)
		entry->archived = true;
	(void)pthread_mutex_unlock(&v->lock);
	return 0;
}

bool vault_unarchived(struct vault *v, size_t skip, struct batch_name *ret_tenant,
		      Exhibit__V1__ExhibitInfo **ret_info)
{
	Exhibit__V1__ExhibitInfo *copy = NULL;

	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; copy == NULL && i < v->n; i++) {
		const struct vault_entry *entry = v->at[i];

		if (entry->archived || entry->sealing || entry->busy ||
		    entry->record.info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
			continue;
		if (skip > 0) {
			skip--;
			continue;
		}
		copy = vault_info_copy(entry->record.info);
		*ret_tenant = entry->tenant;
	}
	(void)pthread_mutex_unlock(&v->lock);
	*ret_info = copy;
	return copy != NULL;
}

void vault_keep_unarchived(struct vault *v)
{
	atomic_store(&v->archives, true);
}

void vault_totals(struct vault *v, struct vault_totals *ret)
{
	*ret = (struct vault_totals){ 0 };
	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; i < v->n; i++) {
		const Exhibit__V1__ExhibitInfo *info = v->at[i]->record.info;

		ret->exhibits++;
		ret->arriving += info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;
		ret->incomplete += info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_INCOMPLETE;
		ret->held += info->hold ? 1 : 0;
		ret->bytes += info->bytes;
	}
	(void)pthread_mutex_unlock(&v->lock);
}
