/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "collector/row.h"
#include "collector/vault_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/base/log.h"

#define DIR_MAX 3000 /* what is below it takes at most 500 */
#define LOCK_FILE ".lock"
#define HOLD_MAX KiB(64)

int64_t vault_now(const struct vault *v)
{
	return v->c.now();
}

/* ---- the table ---------------------------------------------------------------------------------------- */

struct vault_entry *vault_lookup(struct vault *v, const struct batch_name *tenant,
				 const uint8_t id[static VAULT_ID_LEN])
{
	for (size_t i = 0; i < v->n; i++)
		if (memcmp(v->at[i]->id, id, VAULT_ID_LEN) == 0 &&
		    batch_name_equal(&v->at[i]->tenant, tenant))
			return v->at[i];
	return NULL;
}

int vault_add(struct vault *v, const struct batch_name *tenant,
	      const uint8_t id[static VAULT_ID_LEN], struct vault_record *record,
	      struct vault_entry **ret, struct error *e)
{
	struct vault_entry *entry;

	if (v->n == VAULT_EXHIBITS_MAX) {
		(void)error_set(e, -ENOSPC, "the vault holds %d exhibits, which is the most",
				VAULT_EXHIBITS_MAX);
		return -ENOSPC;
	}
	if (v->n == v->size) {
		size_t size = v->size ? 2 * v->size : 64;
		struct vault_entry **at = reallocarray(v->at, size, sizeof(*at));

		if (at == NULL)
			return error_set(e, -ENOMEM, "cannot keep an exhibit: out of memory");
		v->at = at;
		v->size = size;
	}
	entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
		return error_set(e, -ENOMEM, "cannot keep an exhibit: out of memory");
	entry->tenant = *tenant;
	memcpy(entry->id, id, VAULT_ID_LEN);
	entry->record = *record;
	record->info = NULL;
	entry->touched_ns = vault_now(v);
	v->at[v->n++] = entry;
	*ret = entry;
	return 0;
}

void vault_forget(struct vault *v, struct vault_entry *entry)
{
	for (size_t i = 0; i < v->n; i++)
		if (v->at[i] == entry) {
			memmove(&v->at[i], &v->at[i + 1], (v->n - i - 1) * sizeof(*v->at));
			v->n--;
			break;
		}
	vault_record_release(&entry->record);
	free(entry);
}

/* ---- records on disk ------------------------------------------------------------------------------------ */

int vault_record_put(const char *folder, const struct batch_name *tenant,
		     const struct vault_record *r, unsigned int mode, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	char path[PATH_MAX];
	size_t len;
	int result = vault_record_write(r, tenant, &text, &len, e);

	if (result < 0)
		return result;
	if ((size_t)snprintf(path, sizeof(path), "%s/" VAULT_FILE_RECORD, folder) >= sizeof(path))
		return error_set(e, -ENAMETOOLONG, "cannot write '%s': %m", folder);
	return files_replace(path, text, len, mode, e);
}

int vault_record_get(const char *folder, struct vault_record *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[PATH_MAX];
	size_t len;
	int r;

	if ((size_t)snprintf(path, sizeof(path), "%s/" VAULT_FILE_RECORD, folder) >= sizeof(path))
		return error_set(e, -ENAMETOOLONG, "cannot read '%s': %m", folder);
	r = files_read(path, VAULT_RECORD_MAX, &data, &len, e);
	if (r == 0)
		r = vault_record_read(data, len, ret, NULL, e);
	return r == -EBADMSG ? error_wrap(e, r, "'%s' is damaged", path) : r;
}

int vault_hold_get(const char *folder, bool *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[PATH_MAX];
	size_t len;
	int r;

	*ret = false;
	if ((size_t)snprintf(path, sizeof(path), "%s/" VAULT_FILE_HOLD, folder) >= sizeof(path))
		return error_set(e, -ENAMETOOLONG, "cannot read '%s': %m", folder);
	r = files_read(path, HOLD_MAX, &data, &len, e);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = vault_hold_read(data, len, ret, e);
	return r == -EBADMSG ? error_wrap(e, r, "'%s' is damaged", path) : r;
}

/* A hold that cannot be read is one: what retention removed does not come back. */
static bool has_hold(const char *folder)
{
	struct error e = { 0 };
	bool hold;

	if (vault_hold_get(folder, &hold, &e) == 0)
		return hold;
	log_failure(LOG_LEVEL_ERROR, "an exhibit counts as held until its hold is released", &e);
	return true;
}

static bool has_archive(const char *folder)
{
	char path[PATH_MAX];

	return (size_t)snprintf(path, sizeof(path), "%s/" VAULT_FILE_ARCHIVE, folder) <
		       sizeof(path) &&
	       access(path, F_OK) == 0;
}

/* ---- opening ------------------------------------------------------------------------------------------ */

struct loading {
	struct vault *v;
	struct batch_name tenant;
	const char *sub;
	struct error *e;
};

static bool names_exhibit(const char *name, const struct vault_record *r,
			  uint8_t ret[static VAULT_ID_LEN])
{
	return vault_id_parse(name, ret) && r->info->exhibit_id.len == VAULT_ID_LEN &&
	       memcmp(r->info->exhibit_id.data, ret, VAULT_ID_LEN) == 0;
}

/* One that cannot be read stays where it is, and so do all objects, of which it may need any; `check` names it. The
 * others must not suffer. */
static int load_one(void *ctx, const char *name)
{
	struct loading *l = ctx;
	struct vault_record record = { 0 };
	struct vault_entry *entry = NULL;
	uint8_t id[VAULT_ID_LEN];
	char folder[PATH_MAX];
	struct error why = { 0 };

	vault_path(l->v, folder, "%.*s/%s/%s", l->tenant.len, (const char *)l->tenant.b, l->sub,
		   name);
	int r = vault_record_get(folder, &record, &why);

	if (r == -ENOMEM)
		return error_set(l->e, r, "%s", why.text);
	if (r != 0 || record.info == NULL || !names_exhibit(name, &record, id)) {
		vault_record_release(&record);
		if (r == 0)
			(void)error_set(&why, -EBADMSG, "'%s' names another exhibit", folder);
		log_failure(LOG_LEVEL_ERROR, "an exhibit is left out", &why);
		l->v->left_out = true;
		return 0;
	}
	record.info->hold = has_hold(folder);
	r = vault_add(l->v, &l->tenant, id, &record, &entry, l->e);
	vault_record_release(&record);
	if (r != 0 || entry == NULL)
		return r;
	entry->archived = has_archive(folder);
	entry->bucket_held = entry->archived && vault_hold_in_bucket(folder);
	entry->made = true;
	if (strcmp(l->sub, "incoming") == 0 &&
	    entry->record.info->state != EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING)
		entry->sealing = true; /* vault_tick goes on with it */
	return r;
}

/* Begun by a call that was never answered. */
static int drop_new(void *ctx, const char *name)
{
	struct loading *l = ctx;
	char folder[PATH_MAX];

	vault_path(l->v, folder, "%.*s/new/%s", l->tenant.len, (const char *)l->tenant.b, name);
	return vault_remove_folder(folder, l->e);
}

static int finish_removal(void *ctx, const char *name)
{
	struct loading *l = ctx;
	uint8_t id[VAULT_ID_LEN];

	return vault_id_parse(name, id) ? vault_remove_finish(l->v, &l->tenant, id, l->e) : 0;
}

static int load_tenant(void *ctx, const char *name)
{
	static const struct {
		const char *sub;
		int (*fn)(void *ctx, const char *name);
	} steps[] = {
		{ "exhibits", load_one },
		{ "incoming", load_one },
		{ "new", drop_new },
		/* Last: what the others refer to is known now. */
		{ "removing", finish_removal },
	};
	struct loading *l = ctx;
	size_t len = strlen(name);
	char path[PATH_MAX];
	int r = 0;

	if (len > BATCH_NAME_MAX)
		return 0;
	l->tenant.len = (uint8_t)len;
	memcpy(l->tenant.b, name, len);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(steps); i++) {
		l->sub = steps[i].sub;
		vault_path(l->v, path, "%s/%s", name, steps[i].sub);
		r = vault_each_name(path, steps[i].fn, l, l->e);
		/* What a kill left may not be durable: now others are told of it. */
		if (r == 0 && access(path, F_OK) == 0)
			r = files_sync_dir(path, l->e);
	}
	return r;
}

static int by_age(const void *a, const void *b)
{
	const struct vault_entry *const *x = a, *const *y = b;
	int64_t left = (*x)->record.info->began_ns, right = (*y)->record.info->began_ns;

	return (left > right) - (left < right);
}

static int take_lock(struct vault *v, struct error *e)
{
	char path[PATH_MAX];
	int r;

	vault_path(v, path, LOCK_FILE);
	v->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (v->lock_fd < 0)
		return error_set(e, -errno, "cannot open '%s': %m", path);
	if (flock(v->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	r = error_set(e, errno == EWOULDBLOCK ? -EBUSY : -errno, "cannot lock the vault '%s': %m",
		      v->dir);
	error_hint(e, "another collector has it open; name another folder with vault.dir");
	return r;
}

int vault_open(const struct vault_config *c, struct vault **ret, struct error *e)
{
	struct vault *v;
	int r;

	if (strlen(c->dir) > DIR_MAX)
		return error_set(e, -ENAMETOOLONG, "cannot open the vault '%s': %m", c->dir);
	v = calloc(1, sizeof(*v));
	if (v == NULL || (v->dir = strdup(c->dir)) == NULL) {
		free(v);
		return error_set(e, -ENOMEM, "cannot open the vault '%s': %m", c->dir);
	}
	v->c = *c;
	v->c.dir = v->dir;
	v->lock_fd = -1;
	(void)pthread_mutex_init(&v->lock, NULL);
	(void)pthread_mutex_init(&v->moving, NULL);
	(void)pthread_mutex_init(&v->objects, NULL);
	r = files_mkdirs(v->dir, 0700, e);
	if (r == 0)
		r = take_lock(v, e);
	if (r == 0)
		r = vault_each_name(v->dir, load_tenant, &(struct loading){ .v = v, .e = e }, e);
	if (r < 0) {
		vault_close(v);
		return error_wrap(e, r, "cannot open the vault");
	}
	if (v->n > 0)
		qsort(v->at, v->n, sizeof(*v->at), by_age);
	*ret = v;
	return 0;
}

void vault_close(struct vault *v)
{
	if (v == NULL)
		return;
	for (size_t i = 0; i < v->n; i++) {
		vault_upload_free(v->at[i]->kept);
		vault_record_release(&v->at[i]->record);
		free(v->at[i]);
	}
	free(v->at);
	close_fd(&v->lock_fd);
	(void)pthread_mutex_destroy(&v->lock);
	(void)pthread_mutex_destroy(&v->moving);
	(void)pthread_mutex_destroy(&v->objects);
	free(v->dir);
	free(v);
}

void vault_on_sealed(struct vault *v,
		     void (*fn)(void *ctx, const struct batch_name *tenant,
				const Exhibit__V1__ExhibitInfo *info),
		     void *ctx)
{
	v->on_sealed = fn;
	v->on_sealed_ctx = ctx;
}

void vault_stop(struct vault *v)
{
	atomic_store(&v->stopping, true);
}

/* ---- abandoned uploads ----------------------------------------------------------------------------------- */

static struct vault_entry *take_abandoned(struct vault *v, int64_t now)
{
	struct vault_entry *found = NULL;

	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; found == NULL && i < v->n; i++) {
		struct vault_entry *entry = v->at[i];

		if (entry->record.info->state == EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING &&
		    !entry->busy &&
		    now - entry->touched_ns > (int64_t)(v->c.abandon_ms * NSEC_PER_MSEC)) {
			entry->busy = true;
			found = entry;
		}
	}
	(void)pthread_mutex_unlock(&v->lock);
	return found;
}

/* What a stop or a failure interrupted, each once a tick. */
static void finish_sealing(struct vault *v)
{
	struct error e = { 0 };

	for (size_t i = 0;; i++) {
		struct vault_entry *entry = NULL;

		(void)pthread_mutex_lock(&v->lock);
		while (i < v->n && (v->at[i]->busy || !v->at[i]->sealing))
			i++;
		if (i < v->n) {
			entry = v->at[i];
			entry->busy = true;
		}
		(void)pthread_mutex_unlock(&v->lock);
		if (entry == NULL)
			return;
		if (vault_seal_finish(v, entry, &e) < 0)
			log_failure(LOG_LEVEL_ERROR, "an exhibit is not sealed yet", &e);
		(void)pthread_mutex_lock(&v->lock);
		entry->busy = false;
		(void)pthread_mutex_unlock(&v->lock);
	}
}

static void seal_abandoned(struct vault *v, struct vault_entry *entry)
{
	struct vault_upload *u = TAKE(entry->kept);
	char reason[128];
	struct error e = { 0 };
	int r = 0;

	if (u == NULL) {
		u = vault_upload_new(v, entry);
		r = u != NULL ? vault_upload_load(u, &e) : error_set(&e, -ENOMEM, "out of memory");
	}
	(void)snprintf(
		reason, sizeof(reason),
		"the host did not go on with the upload for %llu s: what had arrived is sealed",
		(unsigned long long)(v->c.abandon_ms / 1000));
	if (r == 0)
		r = vault_seal_incomplete(TAKE(u), reason, &e);
	vault_upload_free(u);
	(void)pthread_mutex_lock(&v->lock);
	entry->busy = false;
	entry->touched_ns = vault_now(v); /* on failure: again after as long */
	(void)pthread_mutex_unlock(&v->lock);
	if (r < 0)
		log_failure(LOG_LEVEL_ERROR, "an abandoned exhibit cannot be sealed", &e);
}

void vault_tick(struct vault *v)
{
	struct vault_entry *entry;
	struct error e = { 0 };
	int64_t now = vault_now(v);

	finish_sealing(v);
	while (v->c.abandon_ms > 0 && !atomic_load(&v->stopping) &&
	       (entry = take_abandoned(v, now)) != NULL)
		seal_abandoned(v, entry);
	if (vault_remove_due(v, &e) < 0)
		log_failure(LOG_LEVEL_ERROR, "an exhibit past its time cannot be removed", &e);
}
