/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger goes on: signed by the key of the configuration, with a leaf that says from which checkpoint it was
 * rebuilt before any other, so that a rebuild is never silent. */
#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger_feed.h"
#include "collector/rebuild_internal.h"
#include "collector/rebuilt.h"
#include "collector/vault_internal.h"
#include "proto/base/files.h"
#include "proto/ledger_cert.h"

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

/* ---- the key ------------------------------------------------------------------------------------------------- */

/* Another key, as the order authority certified it, goes on with the same tree: its first checkpoint is of the same
 * size and root. */
static int sign_again(struct rebuild *b, const struct note_key *key, struct seal_key *secret,
		      struct error *e)
{
	struct checkpoint c = b->checkpoint;
	char text[CHECKPOINT_TEXT_MAX], note[LEDGER_CHECKPOINT_MAX];
	char path[SERVER_PATH_MAX + 32];
	size_t len;
	int r;

	(void)snprintf(c.origin, sizeof(c.origin), "%s", key->name);
	len = checkpoint_format(&c, text);
	r = note_sign(key, secret, text, len, note, sizeof(note), &len, e);
	(void)snprintf(path, sizeof(path), "%s/checkpoint", b->ledger_dir);
	return r == 0 ? files_replace(path, note, strlen(note), 0644, e) : r;
}

static int take_key(struct rebuild *b, const struct ledger_config *c, struct error *e)
{
	AUTO(free_ptr) uint8_t *der = NULL;
	struct seal_key *secret = NULL;
	char path[SERVER_PATH_MAX + 32];
	struct note_key key;
	size_t len;
	int r = ledger_cert_load(c->cert_file, &der, &len, e);

	if (r == 0)
		r = ledger_cert_check(der, len, b->authorities, 0, &key, e);
	if (r < 0) {
		error_hint(
			e,
			"where the key was lost with the machine, have the order authority certify "
			"a new one: exhibit-collector certs init");
		return r;
	}
	(void)snprintf(path, sizeof(path), "%s/" REBUILT_CERTIFICATE, b->ledger_dir);
	if (strcmp(key.name, b->key.name) == 0 &&
	    memcmp(key.public, b->key.public, SEAL_PUBLIC_LEN) == 0)
		return unlink(path) < 0 ? error_set(e, -errno, "cannot remove '%s': %m", path) : 0;
	r = seal_key_load(c->key_file, &secret, e);
	if (r == 0)
		r = sign_again(b, &key, secret, e);
	seal_key_free(secret);
	return r;
}

/* ---- leaves -------------------------------------------------------------------------------------------------- */

/* DOMAIN/TENANT/ledger/NAME */
static ProtobufCBinaryData tenant_of(const char *origin)
{
	const char *tenant = strchr(origin, '/');
	const char *end = tenant ? strchr(tenant + 1, '/') : NULL;

	return end ? borrowed(tenant + 1, (size_t)(end - tenant - 1)) : borrowed("", 0);
}

static int say_rebuilt(struct rebuild *b, struct ledger *l, struct error *e)
{
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &entry };
	char text[1024];
	struct seal_hash hash;
	uint64_t index;
	int r;

	if (seal_sha256(b->note, strlen(b->note), &hash) < 0)
		return error_set(e, -ENOMEM, "cannot hash a checkpoint");
	(void)snprintf(text, sizeof(text),
		       "rebuilt from the archive's checkpoint of %" PRIu64
		       " leaves of the log %s: what was beyond it is lost",
		       b->checkpoint.size, b->key.name);
	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_REBUILD;
	entry.tenant = tenant_of(b->key.name);
	entry.subject = borrowed(b->key.name, strlen(b->key.name));
	entry.object = borrowed(hash.b, SEAL_HASH_LEN);
	entry.size = b->checkpoint.size;
	entry.text = borrowed(text, strlen(text));
	r = ledger_append(l, list, 1, &index, e);
	return r == 0 ? rebuilt_write(b->ledger_dir, index, b->checkpoint.size, e) : r;
}

struct giving {
	struct rebuild *b;
	struct ledger *l;
	int r;
	struct error *e;
};

static int give_leaf(struct giving *g, const struct rebuild_exhibit *x)
{
	static const char text[] =
		"from the archive: it was sealed after the checkpoint that the log was rebuilt from";
	Exhibit__V1__LedgerEntry entry = EXHIBIT__V1__LEDGER_ENTRY__INIT;
	const Exhibit__V1__LedgerEntry *list[1] = { &entry };
	char folder[VAULT_DIR_MAX + 512], id[VAULT_ID_TEXT];
	struct vault_record r = { 0 };
	struct seal_hash own;
	AUTO(free_ptr) char *record = NULL;
	size_t len;
	int result;

	(void)snprintf(folder, sizeof(folder), "%s/%.*s/exhibits/%s", g->b->vault_dir,
		       x->tenant.len, (const char *)x->tenant.b, vault_id_text(x->id, id));
	result = vault_record_get(folder, &r, g->e);
	/* Its record was damaged: it was named. */
	if (result == -ENOENT) {
		*g->e = (struct error){ 0 };
		return 0;
	}
	if (result < 0)
		return result;
	entry.kind = EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT;
	entry.tenant = borrowed(x->tenant.b, x->tenant.len);
	entry.host_id = r.info->host_id;
	entry.subject = r.info->requester;
	entry.object = r.info->manifest_sha256;
	if (entry.object.len == 0) {
		r.leaf = false;
		result = vault_record_write(&r, &x->tenant, &record, &len, g->e);
		if (result == 0)
			result = seal_sha256(record, len, &own);
		entry.object = borrowed(own.b, SEAL_HASH_LEN);
	}
	entry.size = r.info->bytes;
	entry.case_id = r.info->case_id;
	entry.order_id = r.info->order_id;
	entry.exhibit_id = r.info->exhibit_id;
	entry.text = borrowed(text, sizeof(text) - 1);
	if (result == 0)
		result = ledger_append(g->l, list, 1, &r.info->ledger_index, g->e);
	r.leaf = true;
	if (result == 0)
		result = vault_record_put(folder, &x->tenant, &r, 0444, g->e);
	vault_record_release(&r);
	return result;
}

static void give_later(const void *node, VISIT visit, void *ctx)
{
	const struct rebuild_exhibit *x = *(struct rebuild_exhibit *const *)node;
	struct giving *g = ctx;

	if ((visit == postorder || visit == leaf) && x->found && !x->leaf && g->r == 0)
		g->r = give_leaf(g, x);
}

/* As sealing leaves them. */
static void protect(const void *node, VISIT visit, void *ctx)
{
	static const char *const files[] = { VAULT_FILE_RECORD, VAULT_FILE_MANIFEST,
					     VAULT_FILE_SIGNATURE, VAULT_FILE_CHUNKS };
	const struct rebuild_exhibit *x = *(struct rebuild_exhibit *const *)node;
	const struct rebuild *b = ctx;
	char base[VAULT_DIR_MAX + 256], path[VAULT_DIR_MAX + 600], id[VAULT_ID_TEXT], hash[65];
	struct vault_record r = { 0 };

	if ((visit != postorder && visit != leaf) || !x->found)
		return;
	(void)snprintf(base, sizeof(base), "%s/%.*s", b->vault_dir, x->tenant.len,
		       (const char *)x->tenant.b);
	(void)snprintf(path, sizeof(path), "%s/exhibits/%s", base, vault_id_text(x->id, id));
	if (vault_record_get(path, &r, NULL) < 0)
		return; /* named already */
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/exhibits/%s/%s", base, id, files[i]);
		vault_protect(path, true);
	}
	for (size_t i = 0; i < r.info->n_items; i++) {
		rebuild_hex(r.info->items[i]->sha256.data, SEAL_HASH_LEN, hash);
		(void)snprintf(path, sizeof(path), "%s/sha256/%.2s/%s", base, hash, hash);
		vault_protect(path, true);
	}
	vault_record_release(&r);
}

/* Frames that were archived after the checkpoint get theirs as after a crash. */
static int feed(struct rebuild *b, struct ledger *l, struct store *s, struct error *e)
{
	struct ledger_feed *f = NULL;
	int r = ledger_feed_open(l, s, b->ledger_dir, &f, e);

	ledger_feed_free(f);
	return r;
}

static int go_on(struct rebuild *b, struct ledger *l, struct store *s, struct error *e)
{
	struct giving g = { b, l, 0, e };
	int r = say_rebuilt(b, l, e);

	if (r == 0) {
		twalk_r(b->exhibits, give_later, &g);
		r = g.r;
	}
	if (r == 0)
		r = feed(b, l, s, e);
	if (r == 0 && b->c->vault_immutable)
		twalk_r(b->exhibits, protect, b);
	return r == 0 ? ledger_checkpoint(l, e) : r;
}

int rebuild_begin(struct rebuild *b, struct error *e)
{
	char dir[SERVER_PATH_MAX], cert[SERVER_PATH_MAX];
	struct ledger_config ledger;
	struct store_config store;
	struct seal_key *key = NULL;
	struct store *s = NULL;
	struct ledger *l = NULL;
	int r = server_ledger_config(b->c, dir, cert, &ledger, e);

	if (r == 0)
		r = take_key(b, &ledger, e);
	if (r == 0)
		r = seal_key_load(b->c->ledger_key, &key, e);
	if (r == 0) {
		server_store_config(b->c, key, &store);
		r = store_open(&store, &s, e);
	}
	if (r == 0)
		r = ledger_open(&ledger, &l, e);
	if (r == 0)
		r = go_on(b, l, s, e);
	ledger_close(l);
	store_close(s);
	seal_key_free(key);
	return r;
}
