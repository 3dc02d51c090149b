/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/archive_index.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/files.h"

#define NAME "index.sqlite"

static const char schema[] =
	"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
	"CREATE TABLE IF NOT EXISTS objects(key TEXT PRIMARY KEY, version TEXT NOT NULL,"
	" part_of TEXT NOT NULL, bytes INTEGER NOT NULL, until INTEGER NOT NULL,"
	" renew INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS objects_group ON objects(part_of) WHERE part_of <> '';"
	"CREATE INDEX IF NOT EXISTS objects_until ON objects(until) WHERE renew = 1;"
	"CREATE TABLE IF NOT EXISTS words(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS seen(number INTEGER PRIMARY KEY, key TEXT NOT NULL,"
	" version TEXT NOT NULL, bytes INTEGER NOT NULL);"
	"CREATE INDEX IF NOT EXISTS seen_key ON seen(key, number DESC);";

enum statement { HAS, ADD, BYTES, DUE, RENEWED, GET, SET, SEE, EACH_SEEN, STATEMENTS };

static const char *const texts[STATEMENTS] = {
	[HAS] = "SELECT 1 FROM objects WHERE key = ?1",
	[ADD] = "INSERT OR REPLACE INTO objects VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[BYTES] =
		"SELECT COALESCE(SUM(bytes), 0) FROM objects WHERE part_of = ?1 AND part_of <> ''",
	[DUE] = "SELECT key, version, part_of, bytes, until FROM objects"
		" WHERE renew = 1 AND until < ?1 ORDER BY until LIMIT ?2",
	[RENEWED] = "UPDATE objects SET renew = ?3, until = CASE ?2 WHEN 0 THEN until ELSE ?2 END"
		    " WHERE key = ?1",
	[GET] = "SELECT value FROM words WHERE name = ?1",
	[SET] = "INSERT OR REPLACE INTO words VALUES(?1, ?2)",
	[SEE] = "INSERT INTO seen(key, version, bytes) VALUES(?1, ?2, ?3)",
	/* Listed newest first: the oldest has the highest number. ?2: behind everything that begins so. */
	[EACH_SEEN] = "SELECT key, version, bytes FROM seen WHERE key >= ?1 AND key < ?2"
		      " ORDER BY key, number DESC",
};

struct archive_index {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

static int failed(struct archive_index *i, struct error *e)
{
	return error_set(e, -EIO, "cannot use the archive's index: %s",
			 i->db ? sqlite3_errmsg(i->db) : "out of memory");
}

static int execute(struct archive_index *i, const char *sql, struct error *e)
{
	return sqlite3_exec(i->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(i, e);
}

void archive_index_close(struct archive_index *i)
{
	if (!i)
		return;
	for (size_t n = 0; n < STATEMENTS; n++)
		(void)sqlite3_finalize(i->statements[n]);
	(void)sqlite3_close(i->db);
	free(i);
}

static int try_open(const char *path, struct archive_index **ret, struct error *e)
{
	struct archive_index *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return error_set(e, -ENOMEM, "cannot open the archive's index: %m");
	r = sqlite3_open(path, &i->db) == SQLITE_OK ? execute(i, schema, e) : failed(i, e);
	for (size_t n = 0; n < STATEMENTS && r == 0; n++)
		if (sqlite3_prepare_v2(i->db, texts[n], -1, &i->statements[n], NULL) != SQLITE_OK)
			r = failed(i, e);
	if (r < 0)
		archive_index_close(i);
	else
		*ret = i;
	return r;
}

int archive_index_open(const char *dir, struct archive_index **ret, struct error *e)
{
	static const char *const files[] = { NAME, NAME "-wal", NAME "-shm" };
	char folder[PATH_MAX], path[PATH_MAX + 32];
	struct error why = { 0 };
	int r;

	if (snprintf(folder, sizeof(folder), "%s/" ARCHIVE_FOLDER, dir) >= (int)sizeof(folder))
		return error_set(e, -ENAMETOOLONG, "the path '%s' is too long", dir);
	r = files_mkdirs(folder, 0700, e);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/" NAME, folder);
	if (try_open(path, ret, &why) == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/" NAME, folder);
	return try_open(path, ret, e);
}

static void bind_text(sqlite3_stmt *q, int at, const char *text)
{
	/* A failure (out of memory) leaves NULL, which the step then refuses. */
	(void)sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

/* One step of a statement, which is reset. 1: a row, of which the first column is in ret (may be NULL). */
static int step(struct archive_index *i, enum statement which, int64_t *ret, struct error *e)
{
	sqlite3_stmt *q = i->statements[which];
	int s = sqlite3_step(q);
	int r = s == SQLITE_ROW ? 1 : s == SQLITE_DONE ? 0 : failed(i, e);

	if (r == 1 && ret)
		*ret = sqlite3_column_int64(q, 0);
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return r;
}

int archive_index_has(struct archive_index *i, const char *key, struct error *e)
{
	bind_text(i->statements[HAS], 1, key);
	return step(i, HAS, NULL, e);
}

int archive_index_add(struct archive_index *i, const struct archive_object *o, struct error *e)
{
	sqlite3_stmt *q = i->statements[ADD];

	bind_text(q, 1, o->key);
	bind_text(q, 2, o->version);
	bind_text(q, 3, o->group);
	(void)sqlite3_bind_int64(q, 4, (int64_t)o->bytes);
	(void)sqlite3_bind_int64(q, 5, o->until_s);
	(void)sqlite3_bind_int(q, 6, o->renew);
	return step(i, ADD, NULL, e);
}

int archive_index_bytes(struct archive_index *i, const char *group, uint64_t *ret, struct error *e)
{
	int64_t n = 0;
	int r;

	bind_text(i->statements[BYTES], 1, group);
	r = step(i, BYTES, &n, e);
	*ret = (uint64_t)n;
	return r < 0 ? r : 0;
}

static const char *text_at(sqlite3_stmt *q, int column)
{
	const char *text = (const char *)sqlite3_column_text(q, column);

	return text ? text : "";
}

int archive_index_due(struct archive_index *i, int64_t until_s, size_t max,
		      int (*fn)(void *ctx, const struct archive_object *o), void *ctx,
		      struct error *e)
{
	sqlite3_stmt *q = i->statements[DUE];
	int s, r = 0;

	(void)sqlite3_bind_int64(q, 1, until_s);
	(void)sqlite3_bind_int64(q, 2, (int64_t)max);
	while ((s = sqlite3_step(q)) == SQLITE_ROW && r == 0)
		r = fn(ctx, &(struct archive_object){ .key = text_at(q, 0),
						      .version = text_at(q, 1),
						      .group = text_at(q, 2),
						      .bytes = (uint64_t)sqlite3_column_int64(q, 3),
						      .until_s = sqlite3_column_int64(q, 4),
						      .renew = true });
	if (s != SQLITE_ROW && s != SQLITE_DONE)
		r = failed(i, e);
	else if (r < 0)
		r = error_set(e, r, "cannot renew locks: %m");
	(void)sqlite3_reset(q);
	return r;
}

int archive_index_renewed(struct archive_index *i, const char *key, int64_t until_s, bool renew,
			  struct error *e)
{
	sqlite3_stmt *q = i->statements[RENEWED];

	bind_text(q, 1, key);
	(void)sqlite3_bind_int64(q, 2, until_s);
	(void)sqlite3_bind_int(q, 3, renew);
	return step(i, RENEWED, NULL, e);
}

int archive_index_get(struct archive_index *i, const char *name, char *ret, size_t size,
		      struct error *e)
{
	sqlite3_stmt *q = i->statements[GET];
	int s;

	bind_text(q, 1, name);
	s = sqlite3_step(q);
	(void)snprintf(ret, size, "%s", s == SQLITE_ROW ? text_at(q, 0) : "");
	(void)sqlite3_reset(q);
	return s == SQLITE_ROW || s == SQLITE_DONE ? 0 : failed(i, e);
}

int archive_index_set(struct archive_index *i, const char *name, const char *value, struct error *e)
{
	bind_text(i->statements[SET], 1, name);
	bind_text(i->statements[SET], 2, value);
	return step(i, SET, NULL, e);
}

/* ---- of a rebuild ---------------------------------------------------------------------------------------- */

int archive_index_begin(struct archive_index *i, struct error *e)
{
	return execute(i, "BEGIN", e);
}

int archive_index_commit(struct archive_index *i, struct error *e)
{
	return execute(i, "COMMIT", e);
}

int archive_index_seen(struct archive_index *i, const struct s3_version *v, struct error *e)
{
	sqlite3_stmt *q = i->statements[SEE];

	bind_text(q, 1, v->key);
	bind_text(q, 2, v->version);
	(void)sqlite3_bind_int64(q, 3, (int64_t)v->size);
	return step(i, SEE, NULL, e);
}

int archive_index_each_seen(struct archive_index *i, const char *prefix,
			    int (*fn)(void *ctx, const struct s3_version *v, struct error *e),
			    void *ctx, struct error *e)
{
	AUTO(free_ptr) struct s3_version *v = calloc(1, sizeof(*v));
	sqlite3_stmt *q = NULL;
	char behind[S3_KEY_MAX + 2];
	int s = SQLITE_DONE, r = 0;

	if (!v)
		return error_set(e, -ENOMEM, "cannot look at what the bucket holds: %m");
	/* One of its own, so that fn may ask again. */
	if (sqlite3_prepare_v2(i->db, texts[EACH_SEEN], -1, &q, NULL) != SQLITE_OK)
		return failed(i, e);
	(void)snprintf(behind, sizeof(behind), "%.1023s\x7f", prefix);
	bind_text(q, 1, prefix);
	bind_text(q, 2, behind);
	while (r == 0 && (s = sqlite3_step(q)) == SQLITE_ROW) {
		(void)snprintf(v->key, sizeof(v->key), "%s", text_at(q, 0));
		(void)snprintf(v->version, sizeof(v->version), "%s", text_at(q, 1));
		v->size = (uint64_t)sqlite3_column_int64(q, 2);
		r = fn(ctx, v, e);
	}
	if (r == 0 && s != SQLITE_DONE)
		r = failed(i, e);
	(void)sqlite3_finalize(q);
	return r;
}

int archive_index_unsee(struct archive_index *i, struct error *e)
{
	return execute(i, "DELETE FROM seen", e);
}
