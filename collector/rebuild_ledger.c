/* SPDX-License-Identifier: Apache-2.0 */
/* The newest checkpoint in the bucket that a ledger key of the order authority signed, and whose tree is whole. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/ledger_check.h"
#include "collector/ledger_tiles.h"
#include "collector/rebuild_internal.h"
#include "collector/rebuilt.h"
#include "proto/base/files.h"
#include "proto/ledger_cert.h"

#define TRIES 8 /* checkpoints, the newest first */
#define SIZE_DIGITS 20

struct candidate {
	char log[ARCHIVE_LOG_LEN + 1];
	uint64_t size;
};

struct candidates {
	struct candidate at[TRIES];
	size_t n;
};

static bool same(const struct candidate *a, const struct candidate *b)
{
	return a->size == b->size && strcmp(a->log, b->log) == 0;
}

/* Keep the largest, in falling order. */
static void keep(struct candidates *l, const struct candidate *c)
{
	size_t at = 0;

	while (at < l->n && l->at[at].size > c->size)
		at++;
	if (at == TRIES || (at < l->n && same(&l->at[at], c)))
		return;
	if (l->n < TRIES)
		l->n++;
	memmove(&l->at[at + 1], &l->at[at], (l->n - at - 1) * sizeof(*c));
	l->at[at] = *c;
}

/* ".ledger/LOG/checkpoint/SIZE" */
static int take_key(void *ctx, const struct s3_version *v, struct error *e)
{
	const char *log = v->key + strlen(ARCHIVE_LEDGER);
	const char *rest = log + ARCHIVE_LOG_LEN;
	struct candidate c;

	(void)e;
	if (strlen(log) != ARCHIVE_LOG_LEN + 1 + strlen(ARCHIVE_CHECKPOINT) + SIZE_DIGITS ||
	    strncmp(rest, "/" ARCHIVE_CHECKPOINT, strlen("/" ARCHIVE_CHECKPOINT)) != 0)
		return 0;
	(void)snprintf(c.log, sizeof(c.log), "%.*s", ARCHIVE_LOG_LEN, log);
	c.size = strtoull(rest + strlen("/" ARCHIVE_CHECKPOINT), NULL, 10);
	keep(ctx, &c);
	return 0;
}

/* ---- one of them ------------------------------------------------------------------------------------------- */

static int fetch_named(struct rebuild *b, const struct candidate *c, const char *name,
		       const char *as, struct error *e)
{
	char key[S3_KEY_MAX], path[SERVER_PATH_MAX + 128];

	(void)snprintf(key, sizeof(key), ARCHIVE_LEDGER "%s/%s", c->log, name);
	(void)snprintf(path, sizeof(path), "%s/%s", b->ledger_dir, as);
	return rebuild_fetch(b, &(struct rebuild_get){ .key = key, .path = path, .mode = 0644 },
			     NULL, e);
}

static int check_note(struct rebuild *b, const struct candidate *c, struct error *e)
{
	char path[SERVER_PATH_MAX + 128];
	AUTO(free_ptr) uint8_t *der = NULL, *note = NULL;
	size_t len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/" REBUILT_CERTIFICATE, b->ledger_dir);
	r = ledger_cert_load(path, &der, &len, e);
	/* A log is read long after it was written: dates are not looked at. */
	if (r == 0)
		r = ledger_cert_check(der, len, b->authorities, 0, &b->key, e);
	(void)snprintf(path, sizeof(path), "%s/checkpoint", b->ledger_dir);
	if (r == 0)
		r = files_read(path, LEDGER_CHECKPOINT_MAX, &note, &len, e);
	if (r == 0)
		r = checkpoint_open(&b->key, (char *)note, len, &b->checkpoint, e);
	if (r == 0 && b->checkpoint.size != c->size)
		r = error_set(e, -EBADMSG, "the checkpoint has another size than its name says");
	if (r < 0)
		return r;
	free(b->note);
	b->note = (char *)TAKE(note);
	return 0;
}

static int fetch_level(struct rebuild *b, const struct candidate *c, int level, struct error *e)
{
	char name[TLOG_TILE_PATH_MAX];
	unsigned int width;
	int r = 0;

	for (uint64_t i = 0; r == 0 && (width = tlog_tile_width(level, i, c->size)) > 0; i++) {
		(void)tlog_tile_path(level, i, width, name);
		r = fetch_named(b, c, name, name, e);
	}
	return r;
}

static void report(void *ctx, const char *sentence)
{
	rebuild_say(ctx, "damaged", "the ledger as it came from the bucket, %s", sentence);
}

static int check_tree(struct rebuild *b, struct error *e)
{
	char cert[SERVER_PATH_MAX + 128];
	struct ledger_config c = { .dir = b->ledger_dir, .cert_file = cert };
	struct ledger_check *k = NULL;
	int r;

	(void)snprintf(cert, sizeof(cert), "%s/" REBUILT_CERTIFICATE, b->ledger_dir);
	r = ledger_check_begin(&c, report, b, &k, e);
	if (r < 0)
		return r;
	if (ledger_check_faults(k) > 0)
		r = error_set(e, -EBADMSG, "its tree is not that of the checkpoint");
	ledger_check_free(k);
	return r;
}

static int try_one(struct rebuild *b, const struct candidate *c, struct error *e)
{
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), ARCHIVE_CHECKPOINT "%020" PRIu64, c->size);
	r = fetch_named(b, c, ARCHIVE_CERTIFICATE, REBUILT_CERTIFICATE, e);
	if (r == 0)
		r = fetch_named(b, c, name, "checkpoint", e);
	if (r == 0)
		r = check_note(b, c, e);
	if (r == 0)
		r = fetch_level(b, c, TLOG_ENTRIES, e);
	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++)
		r = fetch_level(b, c, level, e);
	return r == 0 ? check_tree(b, e) : r;
}

/* Not the object's fault: another checkpoint will not do better. */
static bool is_ours(int r)
{
	return r == -ENOMEM || r == -ENOSPC || r == -EIO || r == -EAGAIN || r == -EACCES;
}

int rebuild_ledger(struct rebuild *b, struct error *e)
{
	struct candidates all = { .n = 0 };
	int r = rebuild_each(b, ARCHIVE_LEDGER, take_key, &all, e);

	if (r == 0 && all.n == 0) {
		(void)error_set(e, -ENOENT,
				"there is no checkpoint of a ledger below '%s' in the bucket '%s'",
				b->bucket->prefix, b->bucket->name);
		error_hint(e, "name the bucket and the prefix that the lost collector used");
		return -ENOENT;
	}
	for (size_t i = 0; r == 0 && i < all.n; i++) {
		struct error why = { 0 };

		r = try_one(b, &all.at[i], &why);
		if (r == 0) {
			memcpy(b->log, all.at[i].log, sizeof(b->log));
			return 0;
		}
		if (is_ours(r)) {
			*e = why;
			return r;
		}
		rebuild_say(b, "damaged",
			    "checkpoint of %" PRIu64 " leaves (" ARCHIVE_LEDGER "%s): %s",
			    all.at[i].size, all.at[i].log, why.text);
		r = 0;
	}
	return r < 0 ? r :
		       error_set(e, -EBADMSG, "none of the newest checkpoints in the bucket holds");
}
