/* SPDX-License-Identifier: Apache-2.0 */
/* Legal holds on what lies in S3: on each version that archive.json names, read back; held.json says that it is so. */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "collector/bucket.h"
#include "collector/row.h"
#include "collector/vault_internal.h"
#include "collector/vault_json.h"
#include "proto/base/files.h"
#include "proto/base/log.h"
#include "proto/base/queue.h"

#define HELD_ON "{\"hold\":true}\n"
#define HELD_OFF "{\"hold\":false}\n"
#define LOOK_US 50000

static bool differs(const struct vault_entry *entry)
{
	return entry->archived && entry->record.info->hold != entry->bucket_held;
}

bool vault_hold_in_bucket(const char *folder)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	char path[PATH_MAX];
	size_t len;

	return (size_t)snprintf(path, sizeof(path), "%s/" VAULT_FILE_HELD, folder) < sizeof(path) &&
	       files_read(path, 64, &data, &len, NULL) == 0 && strcmp((char *)data, HELD_ON) == 0;
}

void vault_waiting(struct vault *v, uint64_t *ret_exhibits, uint64_t *ret_holds)
{
	*ret_exhibits = *ret_holds = 0;
	(void)pthread_mutex_lock(&v->lock);
	for (size_t i = 0; i < v->n; i++) {
		const struct vault_entry *entry = v->at[i];

		*ret_exhibits += !entry->archived && !entry->sealing &&
				 entry->record.info->state !=
					 EXHIBIT__V1__EXHIBIT_STATE__EXHIBIT_ARRIVING;
		*ret_holds += differs(entry);
	}
	(void)pthread_mutex_unlock(&v->lock);
}

/* ---- one exhibit ----------------------------------------------------------------------------------------- */

struct hold_task {
	struct batch_name tenant;
	uint8_t id[VAULT_ID_LEN];
	bool hold;
};

static int hold_object(struct bucket *b, json_t *o, bool hold, struct error *e)
{
	const char *key = json_string_value(json_object_get(o, "key"));
	const char *version = json_string_value(json_object_get(o, "version_id"));

	return key == NULL || version == NULL ?
		       error_set(e, -EBADMSG, "an object in archive.json has no key or version") :
		       s3_hold(b->s3, key, version, hold, e);
}

static int hold_objects(struct vault *v, struct bucket *b, const struct hold_task *t,
			struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	json_t *archive = NULL, *o;
	char path[PATH_MAX];
	json_error_t why;
	size_t len, i;
	int r;

	vault_tenant_path(v, &t->tenant, path, "exhibits", t->id, VAULT_FILE_ARCHIVE);
	r = files_read(path, VAULT_RECORD_MAX, &data, &len, e);
	if (r < 0)
		return r;
	r = vault_json_load(data, len, &archive, &why);
	if (r < 0)
		return error_set(e, r, "'%s' cannot be read: %s", path, why.text);
	json_array_foreach(json_object_get(archive, "objects"), i, o)
	{
		if (r == 0)
			r = hold_object(b, o, t->hold, e);
	}
	json_decref(archive);
	return r;
}

static int write_held(struct vault *v, const struct hold_task *t, struct error *e)
{
	const char *text = t->hold ? HELD_ON : HELD_OFF;
	char path[PATH_MAX];

	vault_tenant_path(v, &t->tenant, path, "exhibits", t->id, VAULT_FILE_HELD);
	return files_replace(path, text, strlen(text), 0444, e);
}

/* What came of it, for whoever asks. */
static void note(struct vault *v, const struct hold_task *t, int r, const struct error *why)
{
	struct vault_entry *entry;

	(void)pthread_mutex_lock(&v->lock);
	entry = vault_lookup(v, &t->tenant, t->id);
	if (entry != NULL) {
		ProtobufCBinaryData *failure = &entry->record.info->hold_failure;

		free(failure->data);
		*failure = (ProtobufCBinaryData){ 0 };
		if (r < 0)
			failure->data = (uint8_t *)strdup(why->text);
		if (failure->data != NULL)
			failure->len = strlen((char *)failure->data);
		if (r == 0)
			entry->bucket_held = t->hold;
		entry->hold_tries++;
	}
	(void)pthread_mutex_unlock(&v->lock);
}

/* The next at or behind `at` in the table that differs. */
static bool next_task(struct vault *v, size_t *at, struct hold_task *ret)
{
	bool found = false;

	(void)pthread_mutex_lock(&v->lock);
	for (; !found && *at < v->n; ++*at) {
		const struct vault_entry *entry = v->at[*at];

		if (entry->busy || !differs(entry))
			continue;
		ret->tenant = entry->tenant;
		memcpy(ret->id, entry->id, VAULT_ID_LEN);
		ret->hold = entry->record.info->hold;
		found = true;
	}
	(void)pthread_mutex_unlock(&v->lock);
	return found;
}

/* ---- all ------------------------------------------------------------------------------------------------- */

int vault_hold_waiting(struct vault *v, struct bucket *b, struct queue *stop, struct error *e)
{
	struct hold_task t;
	int first = 0;

	for (size_t at = 0; !queue_closed(stop) && next_task(v, &at, &t);) {
		struct error why = { 0 };
		char id[VAULT_ID_TEXT];
		int r = hold_objects(v, b, &t, &why);

		if (r == 0)
			r = write_held(v, &t, &why);
		note(v, &t, r, &why);
		if (r == 0)
			log_info(t.hold ? "legal hold set in S3" : "legal hold released in S3",
				 KV_STR("exhibit", vault_id_text(t.id, id)));
		else if (first == 0)
			*e = why;
		first = first != 0 ? first : r;
		/* A server that is away is not asked once more for each. */
		if (r == -EAGAIN)
			break;
	}
	return first;
}

void vault_hold_settle(struct vault *v, const struct batch_name *tenant,
		       const uint8_t id[static VAULT_ID_LEN], unsigned int ms)
{
	uint64_t before = UINT64_MAX;

	for (uint64_t waited = 0; atomic_load(&v->archives) && waited < ms * 1000ULL;
	     waited += LOOK_US) {
		const struct vault_entry *entry;
		bool settled = true;

		(void)pthread_mutex_lock(&v->lock);
		entry = vault_lookup(v, tenant, id);
		if (entry != NULL) {
			before = before == UINT64_MAX ? entry->hold_tries : before;
			/* One that is not archived yet may be in a moment. */
			settled = entry->record.info->hold == entry->bucket_held ||
				  entry->hold_tries != before;
		}
		(void)pthread_mutex_unlock(&v->lock);
		if (settled)
			return;
		(void)usleep(LOOK_US);
	}
}
