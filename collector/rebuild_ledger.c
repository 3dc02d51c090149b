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

#define TRIES                                                                                      \
	8 /* trees, the newest first; whose checkpoint is not signed as it must be does not count */
#define SIZE_DIGITS 20

struct candidate {
	char log[ARCHIVE_LOG_LEN + 1];
	uint64_t size;
};

struct candidates {
	struct candidate *at;
	size_t n, max;
};

static int by_size(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	return (a->size < b->size) - (a->size > b->size);
}

static int keep(struct candidates *l, const struct candidate *c)
{
	/* Versions of one name stand beside each other. */
	if (l->n > 0 && l->at[l->n - 1].size == c->size && strcmp(l->at[l->n - 1].log, c->log) == 0)
		return 0;
	if (l->n == l->max) {
		size_t max = l->max ? 2 * l->max : 64;
		struct candidate *more = reallocarray(l->at, max, sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->at = more;
		l->max = max;
	}
	l->at[l->n++] = *c;
	return 0;
}

/* ".ledger/LOG/checkpoint/SIZE" */
static int take_key(void *ctx, const struct s3_version *v, struct error *e)
{
	const char *log = v->key + strlen(ARCHIVE_LEDGER);
	const char *rest = log + ARCHIVE_LOG_LEN;
	struct candidate c = { .size = 0 };

	if (strlen(log) != ARCHIVE_LOG_LEN + 1 + strlen(ARCHIVE_CHECKPOINT) + SIZE_DIGITS ||
	    strncmp(rest, "/" ARCHIVE_CHECKPOINT, strlen("/" ARCHIVE_CHECKPOINT)) != 0)
		return 0;
	(void)snprintf(c.log, sizeof(c.log), "%.*s", ARCHIVE_LOG_LEN, log);
	c.size = strtoull(rest + strlen("/" ARCHIVE_CHECKPOINT), NULL, 10);
	return keep(ctx, &c) < 0 ? error_set(e, -ENOMEM, "cannot list checkpoints: %m") : 0;
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
	/* Of another authority, or none: a fault of the bucket, whatever its code is elsewhere. */
	if (r < 0 && r != -ENOMEM)
		return error_wrap(e, -EBADMSG, "its certificate does not count");
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

static int try_note(struct rebuild *b, const struct candidate *c, struct error *e)
{
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), ARCHIVE_CHECKPOINT "%020" PRIu64, c->size);
	r = fetch_named(b, c, ARCHIVE_CERTIFICATE, REBUILT_CERTIFICATE, e);
	if (r == 0)
		r = fetch_named(b, c, name, "checkpoint", e);
	return r == 0 ? check_note(b, c, e) : r;
}

static int try_tree(struct rebuild *b, const struct candidate *c, struct error *e)
{
	int r = fetch_level(b, c, TLOG_ENTRIES, e);

	for (int level = 0; level < TLOG_TILE_LEVELS && r == 0; level++)
		r = fetch_level(b, c, level, e);
	return r == 0 ? check_tree(b, e) : r;
}

/* Not the object's fault: another checkpoint will not do better. */
static bool is_ours(int r)
{
	return r == -ENOMEM || r == -ENOSPC || r == -EIO || r == -EAGAIN || r == -EACCES;
}

static int try_all(struct rebuild *b, const struct candidates *all, struct error *e)
{
	unsigned int trees = 0;

	for (size_t i = 0; i < all->n && trees < TRIES; i++) {
		const struct candidate *c = &all->at[i];
		struct error why = { 0 };
		int r = try_note(b, c, &why);

		trees += r == 0;
		if (r == 0)
			r = try_tree(b, c, &why);
		if (r == 0) {
			memcpy(b->log, c->log, sizeof(b->log));
			return 0;
		}
		if (is_ours(r)) {
			*e = why;
			return r;
		}
		rebuild_say(b, "damaged",
			    "checkpoint of %" PRIu64 " leaves (" ARCHIVE_LEDGER "%s): %s", c->size,
			    c->log, why.text);
	}
	return error_set(e, -EBADMSG, "none of the newest checkpoints in the bucket holds");
}

int rebuild_ledger(struct rebuild *b, struct error *e)
{
	struct candidates all = { .n = 0 };
	int r = rebuild_each(b, ARCHIVE_LEDGER, take_key, &all, e);

	if (r == 0 && all.n == 0) {
		r = error_set(e, -ENOENT,
			      "there is no checkpoint of a ledger below '%s' in the bucket '%s'",
			      b->bucket->prefix, b->bucket->name);
		error_hint(e, "name the bucket and the prefix that the lost collector used");
	}
	if (r == 0) {
		qsort(all.at, all.n, sizeof(*all.at), by_size);
		r = try_all(b, &all, e);
	}
	free(all.at);
	return r;
}
