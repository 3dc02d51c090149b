/* SPDX-License-Identifier: Apache-2.0 */
/* Exhibits from the bucket into an empty vault. What retention removed stays away; what was sealed after the checkpoint
 * is kept, and named. */
#include <errno.h>
#include <openssl/evp.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "collector/rebuild_internal.h"
#include "collector/row.h"
#include "collector/vault_internal.h"
#include "proto/base/clock.h"
#include "proto/base/files.h"
#include "proto/json.h"

#define HELD_ON "{\"hold\":true}\n"

struct exhibit {
	struct rebuild *b;
	struct batch_name tenant;
	uint8_t id[VAULT_ID_LEN];
	char name[VAULT_ID_TEXT];
	char folder[VAULT_DIR_MAX + 512];
	struct rebuild_exhibit *said; /* by the ledger; leaf false: it came later */
	struct vault_record record;
	struct json *j; /* archive.json's objects */
};

/* ---- its record --------------------------------------------------------------------------------------------- */

/* What the leaf names: the manifest, else the record without its leaf. */
static int object_of(const struct exhibit *x, struct vault_record *r,
		     uint8_t ret[static SEAL_HASH_LEN])
{
	const ProtobufCBinaryData *manifest = &r->info->manifest_sha256;
	AUTO(free_ptr) char *text = NULL;
	struct vault_record without = *r;
	struct seal_hash hash;
	size_t len;

	if (manifest->len == SEAL_HASH_LEN) {
		memcpy(ret, manifest->data, SEAL_HASH_LEN);
		return 0;
	}
	without.leaf = false;
	if (vault_record_write(&without, &x->tenant, &text, &len, NULL) < 0 ||
	    seal_sha256(text, len, &hash) < 0)
		return -ENOMEM;
	memcpy(ret, hash.b, SEAL_HASH_LEN);
	return 0;
}

static int check_record(void *ctx, const char *path, struct error *e)
{
	struct exhibit *x = ctx;
	struct batch_name tenant = { 0 };
	AUTO(free_ptr) uint8_t *data = NULL;
	uint8_t object[SEAL_HASH_LEN];
	size_t len;
	int r = files_read(path, VAULT_RECORD_MAX, &data, &len, e);

	vault_record_release(&x->record);
	if (r == 0)
		r = vault_record_read(data, len, &x->record, &tenant, e);
	if (r < 0)
		return r;
	if (x->record.info->exhibit_id.len != VAULT_ID_LEN ||
	    memcmp(x->record.info->exhibit_id.data, x->id, VAULT_ID_LEN) != 0 ||
	    !batch_name_equal(&tenant, &x->tenant))
		return error_set(e, -EBADMSG, "it is the record of another exhibit");
	r = object_of(x, &x->record, object);
	if (r == 0 && x->said->leaf && memcmp(object, x->said->object, SEAL_HASH_LEN) != 0)
		return error_set(e, -EBADMSG,
				 "it is not the exhibit that leaf %llu of the ledger names",
				 (unsigned long long)x->said->index);
	return r < 0 ? error_set(e, r, "cannot check a record: %m") : 0;
}

/* ---- its objects -------------------------------------------------------------------------------------------- */

/* One that was set after the checkpoint is not in the ledger; S3 has it. */
static int see_hold(struct exhibit *x, const char *key, const char *version, struct error *e)
{
	bool held = false;
	int r = s3_held(x->b->bucket->s3, key, version, &held, e);

	if (r < 0)
		return r == -ENOTSUP ? 0 : r;
	if (!held || x->said->held)
		return 0;
	rebuild_say(
		x->b, "later",
		"exhibit %s is under legal hold in S3, of which the ledger says nothing any more; "
		"it is kept",
		x->name);
	x->said->held = true;
	x->said->held_ns = clock_wall_ns();
	(void)snprintf(x->said->reason, sizeof(x->said->reason), "found in S3 by the rebuild");
	return 0;
}

static int fetch(struct exhibit *x, const char *key, const char *path, const char *sha256,
		 bool record, struct error *e)
{
	struct rebuild *b = x->b;
	struct rebuild_got got;
	struct error why = { 0 };
	int r = rebuild_fetch(b,
			      &(struct rebuild_get){ .key = key,
						     .path = path,
						     .sha256 = sha256,
						     .mode = 0444,
						     .keep = !record,
						     .check = record ? check_record : NULL,
						     .ctx = x },
			      &got, &why);

	if (r < 0 && r != -ENOENT && r != -EBADMSG)
		return error_set(e, r, "%s", why.text);
	if (r < 0) {
		rebuild_say(b, r == -ENOENT ? "lost" : "damaged", "exhibit %s: %s", x->name,
			    why.text);
		return 1;
	}
	char full[S3_KEY_MAX];

	(void)snprintf(full, sizeof(full), "%.200s%.800s", b->bucket->prefix, key);
	if (record && (r = see_hold(x, full, got.version, e)) < 0)
		return r;
	json_open(x->j, NULL, 0, '{');
	json_text(x->j, "key", full);
	json_text(x->j, "version_id", got.version);
	json_u64(x->j, "bytes", got.size);
	json_text(x->j, "sha256", got.sha256);
	json_close(x->j, '}');
	return 0;
}

static int fetch_file(struct exhibit *x, const char *leaf, const char *sha256, struct error *e)
{
	char key[S3_KEY_MAX], path[VAULT_DIR_MAX + 600];

	(void)snprintf(key, sizeof(key), "%.*s/exhibits/%s/%s", x->tenant.len,
		       (const char *)x->tenant.b, x->name, leaf);
	(void)snprintf(path, sizeof(path), "%s/%s", x->folder, leaf);
	return fetch(x, key, path, sha256, strcmp(leaf, VAULT_FILE_RECORD) == 0, e);
}

static int fetch_item(struct exhibit *x, const Exhibit__V1__ItemInfo *item, struct error *e)
{
	char key[S3_KEY_MAX], path[VAULT_DIR_MAX + 600], hash[65];

	rebuild_hex(item->sha256.data, SEAL_HASH_LEN, hash);
	(void)snprintf(key, sizeof(key), "%.*s/sha256/%.2s/%s", x->tenant.len,
		       (const char *)x->tenant.b, hash, hash);
	(void)snprintf(path, sizeof(path), "%s/%.590s", x->b->vault_dir, key);
	return fetch(x, key, path, hash, false, e);
}

static int fetch_rest(struct exhibit *x, struct error *e)
{
	const Exhibit__V1__ExhibitInfo *info = x->record.info;
	char hash[65];
	int r = fetch_file(x, VAULT_FILE_CHUNKS, NULL, e);

	if (r >= 0 && info->manifest_sha256.len == SEAL_HASH_LEN) {
		rebuild_hex(info->manifest_sha256.data, SEAL_HASH_LEN, hash);
		r = fetch_file(x, VAULT_FILE_MANIFEST, hash, e);
		if (r >= 0)
			r = fetch_file(x, VAULT_FILE_SIGNATURE, NULL, e);
	}
	for (size_t i = 0; r >= 0 && i < info->n_items; i++)
		r = fetch_item(x, info->items[i], e);
	return r < 0 ? r : 0;
}

/* ---- what is not in the bucket as a file --------------------------------------------------------------------- */

static int put_file(const struct exhibit *x, const char *leaf, const char *text, size_t len,
		    struct error *e)
{
	char path[VAULT_DIR_MAX + 600];

	(void)snprintf(path, sizeof(path), "%s/%s", x->folder, leaf);
	return files_replace(path, text, len, 0444, e);
}

static int put_hold(const struct exhibit *x, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return error_set(e, -ENOMEM, "cannot write a hold: %m");
	struct json j = json_init(out);

	json_open(&j, NULL, 0, '{');
	json_bool(&j, "hold", x->said->held);
	json_text(&j, "by", x->said->by);
	json_bytes(&j, "reason", x->said->reason, strlen(x->said->reason));
	json_i64(&j, "at_ns", x->said->held_ns);
	json_close(&j, '}');
	json_line(&j);
	if (fclose(out) != 0)
		return error_set(e, -ENOMEM, "cannot write a hold: %m");
	/* Whether S3 still has one that was released is not known: it is told again. */
	if (!x->said->held && put_file(x, VAULT_FILE_HELD, HELD_ON, strlen(HELD_ON), e) < 0)
		return e && e->code < 0 ? e->code : -EIO;
	return put_file(x, VAULT_FILE_HOLD, text, len, e);
}

static int put_record(struct exhibit *x, struct error *e)
{
	x->record.leaf = x->said->leaf;
	x->record.info->ledger_index = x->said->index;
	return vault_record_put(x->folder, &x->tenant, &x->record, 0444, e);
}

static int fetch_exhibit(struct exhibit *x, struct error *e)
{
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r;

	if (!out)
		return error_set(e, -ENOMEM, "cannot make an exhibit: %m");
	struct json j = json_init(out);

	x->j = &j;
	json_open(&j, NULL, 0, '{');
	json_u64(&j, "version", 1);
	json_text(&j, "bucket", x->b->bucket->name);
	json_open(&j, "objects", 7, '[');
	r = fetch_file(x, VAULT_FILE_RECORD, NULL, e);
	if (r == 0)
		r = fetch_rest(x, e);
	json_close(&j, ']');
	json_close(&j, '}');
	json_line(&j);
	if (fclose(out) != 0 && r == 0)
		r = error_set(e, -ENOMEM, "cannot make an exhibit: %m");
	if (r == 0)
		r = put_file(x, VAULT_FILE_ARCHIVE, text, len, e);
	if (r == 0 && x->said->held_ns != 0)
		r = put_hold(x, e);
	if (r == 0)
		r = put_record(x, e);
	if (r == 0)
		x->b->n_exhibits++;
	return r < 0 ? r : 0;
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

/* "TENANT/exhibits/ID/exhibit.json" */
static bool parse_key(struct exhibit *x, const char *key)
{
	static const char middle[] = "/exhibits/", last[] = "/" VAULT_FILE_RECORD;
	const char *at = strstr(key, middle);
	size_t len = at ? (size_t)(at - key) : 0;

	if (key[0] == '.' || !at || len > BATCH_NAME_MAX || !vault_name_valid(key, len))
		return false;
	at += sizeof(middle) - 1;
	if (strlen(at) != VAULT_ID_TEXT - 1 + sizeof(last) - 1 ||
	    strcmp(at + VAULT_ID_TEXT - 1, last) != 0)
		return false;
	(void)snprintf(x->name, sizeof(x->name), "%.*s", VAULT_ID_TEXT - 1, at);
	x->tenant.len = (uint8_t)len;
	memcpy(x->tenant.b, key, len);
	return vault_id_parse(x->name, x->id);
}

static int take_key(void *ctx, const struct s3_version *v, struct error *e)
{
	struct exhibit x = { .b = ctx };
	int r;

	if (!parse_key(&x, v->key))
		return 0;
	x.said = rebuild_exhibit_of(x.b, &x.tenant, x.id);
	if (!x.said)
		return error_set(e, -ENOMEM, "cannot make an exhibit: %m");
	if (x.said->found || x.said->removed)
		return 0;
	x.said->found = true;
	(void)snprintf(x.folder, sizeof(x.folder), "%s/%.*s/exhibits/%s", x.b->vault_dir,
		       x.tenant.len, (const char *)x.tenant.b, x.name);
	r = fetch_exhibit(&x, e);
	if (r == 0 && !x.said->leaf)
		rebuild_say(
			x.b, "later",
			"exhibit %s was sealed after the checkpoint; it is kept, and gets a leaf",
			x.name);
	vault_record_release(&x.record);
	return r;
}

static void name_missing(const void *node, VISIT visit, void *ctx)
{
	const struct rebuild_exhibit *x = *(struct rebuild_exhibit *const *)node;
	char id[VAULT_ID_TEXT];

	if ((visit == postorder || visit == leaf) && x->leaf && !x->found && !x->removed)
		rebuild_say(ctx, "lost",
			    "exhibit %s, sealed as leaf %llu: it had not been archived",
			    vault_id_text(x->id, id), (unsigned long long)x->index);
}

int rebuild_vault(struct rebuild *b, struct error *e)
{
	int r = rebuild_each(b, "", take_key, b, e);

	if (r == 0)
		twalk_r(b->exhibits, name_missing, b);
	return r;
}
