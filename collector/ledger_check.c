/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger_leaf.h"
#include "collector/ledger_objects.h"
#include "collector/ledger_tiles.h"
#include "collector/row.h"
#include "collector/vault.h"
#include "proto/base/files.h"
#include "proto/base/reader.h"
#include "proto/ledger_cert.h"

#define ARENA_MAX MiB(64)
#define TENANTS_MAX 1024
#define SENTENCE_MAX 512

/* Of one tenant, from its leaves. */
struct told {
	struct batch_name tenant;
	uint64_t removed; /* batches, by retention records */
	uint64_t last_removal; /* index + 1; 0: none */
	uint64_t absent; /* batches with a leaf that are not stored */
};

struct ledger_check {
	const char *dir;
	int dirfd;
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	uint64_t faults;
	struct checkpoint checkpoint;
	struct leaves pending;
	struct ledger_objects *leaves, *stored;
	char *vault; /* NULL: exhibits are not looked for */
	struct ledger_objects *removed; /* exhibits by retention, as exhibit_key names them */
	struct arena *arena;
	struct told *told;
	size_t n_told;
	/* Hashes of each level as the entries give them. */
	struct seal_hash level[TLOG_TILE_LEVELS][TLOG_TILE_WIDTH];
	uint64_t count[TLOG_TILE_LEVELS];
};

PRINTF(3, 4)
static void fault(struct ledger_check *k, const char *name, const char *fmt, ...)
{
	char what[SENTENCE_MAX], sentence[SENTENCE_MAX + 4400];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	(void)snprintf(sentence, sizeof(sentence), "'%s/%s': %s", k->dir, name, what);
	k->report(k->ctx, sentence);
	k->faults++;
}

void ledger_check_free(struct ledger_check *k)
{
	if (!k)
		return;
	close_fd(&k->dirfd);
	leaves_release(&k->pending);
	ledger_objects_free(k->leaves);
	ledger_objects_free(k->stored);
	ledger_objects_free(k->removed);
	free(k->vault);
	arena_free(k->arena);
	free(k->told);
	free(k);
}

uint64_t ledger_check_faults(const struct ledger_check *k)
{
	return k->faults;
}

/* ---- tiles ---- */

/* A tile as it must be beside the one on disk. */
static int compare_tile(struct ledger_check *k, int level, uint64_t index, unsigned int width,
			struct error *e)
{
	struct seal_hash got[TLOG_TILE_WIDTH];
	char path[TLOG_TILE_PATH_MAX];
	struct error why = { 0 };
	int r = tiles_read_hashes(k->dirfd, level, index, width, got, &why);

	(void)tlog_tile_path(level, index, width, path);
	if (r == -ENOENT || r == -EBADMSG) {
		fault(k, path, "%s", why.text);
		return 0;
	}
	if (r < 0)
		return error_set(e, r, "%s", why.text);
	for (unsigned int i = 0; i < width; i++)
		if (memcmp(got[i].b, k->level[level][i].b, SEAL_HASH_LEN) != 0) {
			fault(k, path, "bytes %u to %u: the hash is not that of what is below it",
			      i * SEAL_HASH_LEN, (i + 1) * SEAL_HASH_LEN);
			return 0;
		}
	return 0;
}

static int push(struct ledger_check *k, int level, const struct seal_hash *hash, struct error *e)
{
	unsigned int slot = (unsigned int)(k->count[level] % TLOG_TILE_WIDTH);
	struct seal_hash root;
	int r;

	k->level[level][slot] = *hash;
	k->count[level]++;
	if (slot + 1 < TLOG_TILE_WIDTH)
		return 0;
	r = compare_tile(k, level, k->count[level] / TLOG_TILE_WIDTH - 1, TLOG_TILE_WIDTH, e);
	if (r == 0)
		r = tlog_fold(k->level[level], TLOG_TILE_WIDTH, &root);
	if (r < 0 || level + 1 == TLOG_TILE_LEVELS)
		return r;
	return push(k, level + 1, &root, e);
}

static int end_levels(struct ledger_check *k, struct error *e)
{
	int r = 0;

	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++) {
		unsigned int width = (unsigned int)(k->count[level] % TLOG_TILE_WIDTH);

		if (width > 0)
			r = compare_tile(k, level, k->count[level] / TLOG_TILE_WIDTH, width, e);
	}
	return r;
}

/* ---- leaves ---- */

static struct told *told_of(struct ledger_check *k, const uint8_t *tenant, size_t len)
{
	struct told *more;

	if (len > BATCH_NAME_MAX)
		return NULL;
	for (size_t i = 0; i < k->n_told; i++)
		if (k->told[i].tenant.len == len && memcmp(k->told[i].tenant.b, tenant, len) == 0)
			return &k->told[i];
	if (k->n_told == TENANTS_MAX)
		return NULL;
	more = reallocarray(k->told, k->n_told + 1, sizeof(*more));
	if (!more)
		return NULL;
	k->told = more;
	more[k->n_told] = (struct told){ .tenant.len = (uint8_t)len };
	memcpy(more[k->n_told].tenant.b, tenant, len);
	return &more[k->n_told++];
}

static bool is_of_exhibit(const Exhibit__V1__LedgerEntry *m)
{
	return m->exhibit_id.len == VAULT_ID_LEN && m->tenant.len > 0 &&
	       m->tenant.len <= BATCH_NAME_MAX;
}

static int exhibit_key(const Exhibit__V1__LedgerEntry *m, struct seal_hash *ret)
{
	uint8_t text[VAULT_ID_LEN + BATCH_NAME_MAX];

	memcpy(text, m->exhibit_id.data, VAULT_ID_LEN);
	memcpy(text + VAULT_ID_LEN, m->tenant.data, m->tenant.len);
	return seal_sha256(text, VAULT_ID_LEN + m->tenant.len, ret);
}

static int note_removed(struct ledger_check *k, const Exhibit__V1__LedgerEntry *m)
{
	struct seal_hash key;
	int r = exhibit_key(m, &key);

	return r == 0 ? ledger_objects_add(k->removed, key.b) : r;
}

static int note_leaf(struct ledger_check *k, uint64_t index, const uint8_t *bytes, size_t len)
{
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
	struct told *t;
	uint64_t batches = 0;
	int r = 0;

	if (!m)
		return 0;
	if (m->kind >= EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH &&
	    m->kind <= EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION && m->object.len == SEAL_HASH_LEN)
		r = ledger_objects_add(k->leaves, m->object.data);
	bool retention = m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_RETENTION;

	if (r == 0 && retention && is_of_exhibit(m))
		r = note_removed(k, m);
	t = retention && m->exhibit_id.len == 0 ? told_of(k, m->tenant.data, m->tenant.len) : NULL;
	if (t && m->text.len > 0) {
		/* As ledger_leaf.c writes it: "123 batches with ...". */
		for (size_t i = 0;
		     i < m->text.len && m->text.data[i] >= '0' && m->text.data[i] <= '9'; i++)
			batches = batches * 10 + (uint64_t)(m->text.data[i] - '0');
		t->removed += batches;
		t->last_removal = index + 1;
	}
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return r;
}

static int take_entry(void *ctx, uint64_t index, const uint8_t *entry, size_t len, struct error *e)
{
	struct ledger_check *k = ctx;
	struct seal_hash hash;
	int r = tlog_leaf_hash(entry, len, &hash);

	if (r == 0)
		r = note_leaf(k, index, entry, len);
	if (r < 0)
		return error_set(e, r, "cannot check the ledger: %m");
	return push(k, 0, &hash, e);
}

/* A tile of entries that cannot be read ends the comparison: what is above cannot be made. */
static int check_tiles(struct ledger_check *k, struct error *e)
{
	struct error why = { 0 };
	struct seal_hash root;
	uint64_t before = k->faults;
	struct tiles_edge *t;
	int r = tiles_each_entry(k->dirfd, 0, k->checkpoint.size, take_entry, k, &why);

	if (r == -ENOENT || r == -EBADMSG) {
		fault(k, "tile", "%s", why.text);
		return 0;
	}
	if (r < 0) {
		*e = why;
		return r;
	}
	r = end_levels(k, e);
	if (r < 0 || k->faults != before)
		return r;
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(e, -ENOMEM, "cannot check the ledger: %m");
	t->size = k->checkpoint.size;
	memcpy(t->hashes, k->level, sizeof(t->hashes));
	r = tiles_edge_root(t, &root, e);
	free(t);
	if (r == 0 && memcmp(root.b, k->checkpoint.root.b, SEAL_HASH_LEN) != 0)
		fault(k, "checkpoint", "its root is not that of the %" PRIu64 " entries",
		      k->checkpoint.size);
	return r;
}

static int check_pending(struct ledger_check *k, struct error *e)
{
	struct error why = { 0 };
	uint64_t last;
	int r = pending_read_all(k->dirfd, k->checkpoint.size, &k->pending, &last, &why);

	if (r == -EBADMSG) {
		fault(k, "pending", "%s", why.text);
		return 0;
	}
	for (size_t i = 0; i < k->pending.n && r == 0; i++)
		r = note_leaf(k, k->pending.first + i, k->pending.at[i]->bytes,
			      k->pending.at[i]->len);
	return r < 0 ? error_set(e, r, "cannot read pending leaves: %s", why.text) : 0;
}

/* ---- the checkpoint ---- */

static int load_key(const struct ledger_config *c, struct note_key *ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *der = NULL;
	size_t len;
	int r = ledger_cert_load(c->cert_file, &der, &len, e);

	if (r == 0)
		r = ledger_cert_check(der, len, NULL, 0, ret, e);
	if (r < 0)
		error_hint(e, "name the ledger's key or certificate with --store.ledger-key or "
			      "--store.ledger-certificate");
	return r;
}

static int check_checkpoint(struct ledger_check *k, const struct note_key *key, struct error *e)
{
	AUTO(free_ptr) uint8_t *note = NULL;
	struct error why = { 0 };
	size_t len;
	int r = files_read_at(k->dirfd, "checkpoint", LEDGER_CHECKPOINT_MAX, &note, &len, &why);

	if (r == 0)
		r = checkpoint_open(key, (char *)note, len, &k->checkpoint, &why);
	if (r == -ENOMEM || r == -EIO) {
		*e = why;
		return r;
	}
	if (r < 0)
		fault(k, "checkpoint", "%s", why.text);
	return r < 0 ? 1 : 0;
}

int ledger_check_begin(const struct ledger_config *c,
		       void (*report)(void *ctx, const char *sentence), void *ctx,
		       struct ledger_check **ret, struct error *e)
{
	struct ledger_check *k = calloc(1, sizeof(*k));
	struct note_key key;
	int r;

	if (!k)
		return error_set(e, -ENOMEM, "cannot check the ledger: %m");
	k->dir = c->dir;
	k->report = report;
	k->ctx = ctx;
	k->leaves = ledger_objects_new();
	k->stored = ledger_objects_new();
	k->removed = ledger_objects_new();
	k->arena = arena_new(ARENA_MAX, 0);
	k->dirfd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = k->dirfd < 0 && errno != ENOENT ?
		    error_set(e, -errno, "cannot open the ledger's folder '%s': %m", c->dir) :
		    load_key(c, &key, e);
	if (r == 0 && (!k->leaves || !k->stored || !k->removed || !k->arena))
		r = error_set(e, -ENOMEM, "cannot check the ledger: %m");
	if (r == 0 && k->dirfd < 0)
		fault(k, ".",
		      "there is no ledger: nothing says that what is stored is all that was");
	else if (r == 0)
		r = check_checkpoint(k, &key, e);
	/* Without a checkpoint that counts there is nothing to compare with. */
	if (r == 0 && k->faults == 0)
		r = check_tiles(k, e);
	if (r == 0 && k->dirfd >= 0)
		r = check_pending(k, e);
	if (r < 0) {
		ledger_check_free(k);
		return r;
	}
	*ret = k;
	return 0;
}

/* ---- the store ---- */

bool ledger_check_frame(void *check, enum store_kind kind, const struct batch_name *tenant,
			const uint8_t *body, size_t len)
{
	struct ledger_check *k = check;
	struct ledger_leaf leaf;

	arena_reset(k->arena);
	/* Damaged ledger or frame: named where it is. */
	if (ledger_leaf_of((enum frame_kind)kind, tenant, body, len, k->arena, &leaf, NULL) != 0 ||
	    ledger_objects_add(k->stored, leaf.object.b) < 0 || k->faults > 0)
		return true;
	return ledger_objects_has(k->leaves, leaf.object.b);
}

/* ---- the vault ---- */

int ledger_check_vault(struct ledger_check *k, const char *dir, struct error *e)
{
	k->vault = strdup(dir);
	return k->vault ? 0 : error_set(e, -ENOMEM, "cannot check the ledger: %m");
}

/* Sealed, or on its way in or out. What its folder holds the vault's own check says. */
static bool is_in_vault(const struct ledger_check *k, const Exhibit__V1__LedgerEntry *m,
			const char *id)
{
	static const char *const subs[] = { "exhibits", "incoming", "removing" };
	bool found = false;

	for (size_t i = 0; !found && i < ARRAY_LEN(subs); i++) {
		AUTO(free_ptr) char *path = NULL;

		if (asprintf(&path, "%s/%.*s/%s/%s", k->vault, (int)m->tenant.len,
			     (const char *)m->tenant.data, subs[i], id) < 0)
			path = NULL;
		found = !path || access(path, F_OK) == 0;
	}
	return found;
}

static void check_exhibit(struct ledger_check *k, uint64_t index, const Exhibit__V1__LedgerEntry *m)
{
	char id[VAULT_ID_TEXT];
	struct seal_hash key;

	(void)vault_id_text(m->exhibit_id.data, id);
	if (!is_in_vault(k, m, id) && exhibit_key(m, &key) == 0 &&
	    !ledger_objects_has(k->removed, key.b))
		fault(k, "tile",
		      "leaf %" PRIu64 ": exhibit '%s' of host '%.*s' was sealed, and is not there, "
		      "nor was it removed by retention",
		      index, id, (int)m->host_id.len, (const char *)m->host_id.data);
}

/* A batch that is not stored any more was removed by a record that came after it, and no more were than those
 * records count. */
static int check_there(void *ctx, uint64_t index, const uint8_t *entry, size_t len, struct error *e)
{
	struct ledger_check *k = ctx;
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, entry);
	struct told *t;

	(void)e;
	if (m &&
	    (m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH ||
	     m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_TOMBSTONE) &&
	    m->object.len == SEAL_HASH_LEN && !ledger_objects_has(k->stored, m->object.data)) {
		t = told_of(k, m->tenant.data, m->tenant.len);
		if (t && m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_BATCH)
			t->absent++;
		if (!t || t->last_removal <= index)
			fault(k, "tile",
			      "leaf %" PRIu64
			      ": a batch of host '%.*s' was stored, and is not there, "
			      "nor was it removed by retention",
			      index, (int)m->host_id.len, (const char *)m->host_id.data);
	}
	if (m && k->vault && m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_EXHIBIT &&
	    is_of_exhibit(m))
		check_exhibit(k, index, m);
	if (m)
		exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return 0;
}

int ledger_check_end(struct ledger_check *k, struct error *e)
{
	int r;

	if (k->faults > 0)
		return 0;
	r = tiles_each_entry(k->dirfd, 0, k->checkpoint.size, check_there, k, e);
	for (size_t i = 0; i < k->pending.n && r == 0; i++)
		r = check_there(k, k->pending.first + i, k->pending.at[i]->bytes,
				k->pending.at[i]->len, e);
	for (size_t i = 0; i < k->n_told && r == 0 && k->faults == 0; i++)
		if (k->told[i].absent > k->told[i].removed)
			fault(k, "tile",
			      "%" PRIu64
			      " batches of tenant '%.*s' are not there any more, retention "
			      "removed %" PRIu64,
			      k->told[i].absent, k->told[i].tenant.len,
			      (const char *)k->told[i].tenant.b, k->told[i].removed);
	return r;
}
