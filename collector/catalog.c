/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VERSION 2
#define NAME "catalog.sqlite"
#define PATH_BYTES 4096
#define ROWS_PER_STREAM_MAX KiB(64)

enum statement {
	PUT_SEGMENT,
	REMOVE_SEGMENT,
	PUT_STREAM,
	REMOVE_STREAM,
	PUT_RECORD,
	PUT_REMOVED,
	EACH_SEGMENT,
	EACH_STREAM,
	EACH_RECORD,
	EACH_REMOVED,
	STATEMENTS,
};

static const char *const texts[STATEMENTS] = {
	[PUT_SEGMENT] = "INSERT OR REPLACE INTO segments(id, tenant, bytes) VALUES(?1, ?2, ?3)",
	[REMOVE_SEGMENT] = "DELETE FROM segments WHERE id = ?1",
	[PUT_STREAM] = "INSERT OR REPLACE INTO streams(tenant, host, boot, epoch, lane, state)"
		       " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[REMOVE_STREAM] =
		"DELETE FROM streams WHERE tenant = ?1 AND host = ?2 AND boot = ?3 AND epoch = ?4"
		" AND lane = ?5",
	[PUT_RECORD] = "INSERT OR REPLACE INTO records(tenant, host, record, received, segment)"
		       " VALUES(?1, ?2, ?3, ?4, ?5)",
	[PUT_REMOVED] =
		"INSERT OR REPLACE INTO removed(tenant, segments, events, first, last, reason)"
		" VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[EACH_SEGMENT] = "SELECT id, tenant, bytes FROM segments",
	[EACH_STREAM] = "SELECT tenant, host, boot, epoch, lane, state FROM streams ORDER BY rowid",
	[EACH_RECORD] =
		"SELECT tenant, host, record, received, segment FROM records ORDER BY rowid",
	[EACH_REMOVED] = "SELECT tenant, segments, events, first, last, reason FROM removed",
};

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS meta(version INTEGER);"
	"INSERT INTO meta SELECT 2 WHERE NOT EXISTS (SELECT 1 FROM meta);"
	"CREATE TABLE IF NOT EXISTS segments(id BLOB PRIMARY KEY, tenant BLOB, bytes INTEGER) WITHOUT ROWID;"
	"CREATE TABLE IF NOT EXISTS streams(tenant BLOB, host BLOB, boot BLOB, epoch BLOB, lane INTEGER, state BLOB,"
	" UNIQUE(tenant, host, boot, epoch, lane));"
	"CREATE TABLE IF NOT EXISTS records(tenant BLOB, host BLOB, record BLOB, received INTEGER, segment INTEGER,"
	" UNIQUE(tenant, host, record));"
	"CREATE TABLE IF NOT EXISTS removed(tenant BLOB PRIMARY KEY, segments INTEGER, events INTEGER,"
	" first INTEGER, last INTEGER, reason BLOB) WITHOUT ROWID;";

struct catalog {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

static int code_of(int sqlite)
{
	switch (sqlite & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
	case SQLITE_ERROR:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int failed(struct catalog *c, int sqlite, const char *what, struct error *e)
{
	return error_set(e, code_of(sqlite), "cannot %s the catalog: %s", what,
			 c && c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(sqlite));
}

static int execute(struct catalog *c, const char *sql, const char *what, struct error *e)
{
	int r = sqlite3_exec(c->db, sql, NULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : failed(c, r, what, e);
}

void catalog_remove(int dirfd)
{
	static const char *const names[] = { NAME, NAME "-wal", NAME "-shm", NAME "-journal" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(dirfd, names[i], 0);
}

void catalog_close(struct catalog *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(c->statements[i]);
	(void)sqlite3_close(c->db);
	free(c);
}

static int version_matches(struct catalog *c, struct error *e)
{
	sqlite3_stmt *q = NULL;
	int r = sqlite3_prepare_v2(c->db, "SELECT version FROM meta", -1, &q, NULL);
	int version = 0;

	if (r == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
		version = sqlite3_column_int(q, 0);
	(void)sqlite3_finalize(q);
	if (r != SQLITE_OK)
		return failed(c, r, "read", e);
	return version == VERSION ? 0 :
				    error_set(e, -EBADMSG, "the catalog has version %d", version);
}

static int prepare(struct catalog *c, struct error *e)
{
	for (size_t i = 0; i < STATEMENTS; i++) {
		int r = sqlite3_prepare_v3(c->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
					   &c->statements[i], NULL);

		if (r != SQLITE_OK)
			return failed(c, r, "read", e);
	}
	return 0;
}

int catalog_open(const char *dir, struct catalog **ret_c, struct error *e)
{
	struct catalog *c = calloc(1, sizeof(*c));
	char path[PATH_BYTES];
	int r;

	if (!c)
		return error_set(e, -ENOMEM, "cannot allocate the catalog");
	if (snprintf(path, sizeof(path), "%s/" NAME, dir) >= (int)sizeof(path)) {
		free(c);
		return error_set(e, -ENAMETOOLONG, "the path '%s' is too long", dir);
	}
	r = sqlite3_open_v2(path, &c->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	r = r == SQLITE_OK ? 0 : failed(c, r, "open", e);
	/* It says no more than the folder around it, which is 0700; still nobody else needs it. */
	if (!r)
		(void)chmod(path, 0600);
	/* Exclusive: no shared memory file, which a crash of the machine could leave behind. */
	if (!r)
		r = execute(
			c,
			"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			"PRAGMA cache_size=-4096;",
			"open", e);
	if (!r)
		r = execute(c, schema, "open", e);
	if (!r)
		r = version_matches(c, e);
	if (!r)
		r = prepare(c, e);
	if (r) {
		catalog_close(c);
		return r;
	}
	*ret_c = c;
	return 0;
}

int catalog_begin(struct catalog *c, struct error *e)
{
	return execute(c, "BEGIN IMMEDIATE", "change", e);
}

int catalog_commit(struct catalog *c, struct error *e)
{
	return execute(c, "COMMIT", "change", e);
}

void catalog_rollback(struct catalog *c)
{
	(void)sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

static void bind_bytes(sqlite3_stmt *q, int at, const void *data, size_t len)
{
	/* A failure (out of memory) leaves NULL, which the step then refuses or the load finds. */
	(void)sqlite3_bind_blob(q, at, data, (int)len, SQLITE_TRANSIENT);
}

static int run(struct catalog *c, sqlite3_stmt *q, struct error *e)
{
	int r = sqlite3_step(q);

	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return r == SQLITE_DONE ? 0 : failed(c, r, "change", e);
}

int catalog_put_segment(struct catalog *c, const struct batch_name *tenant,
			const struct segment_id *id, uint64_t bytes, struct error *e)
{
	sqlite3_stmt *q = c->statements[PUT_SEGMENT];

	bind_bytes(q, 1, id->b, SEGMENT_ID_LEN);
	bind_bytes(q, 2, tenant->b, tenant->len);
	(void)sqlite3_bind_int64(q, 3, (sqlite3_int64)bytes);
	return run(c, q, e);
}

int catalog_remove_segment(struct catalog *c, const struct segment_id *id, struct error *e)
{
	bind_bytes(c->statements[REMOVE_SEGMENT], 1, id->b, SEGMENT_ID_LEN);
	return run(c, c->statements[REMOVE_SEGMENT], e);
}

static void bind_stream(sqlite3_stmt *q, const struct stream *s)
{
	bind_bytes(q, 1, s->host->tenant.b, s->host->tenant.len);
	bind_bytes(q, 2, s->host->host_id.b, s->host->host_id.len);
	bind_bytes(q, 3, s->boot_id, BATCH_BOOT_LEN);
	bind_bytes(q, 4, s->epoch, BATCH_EPOCH_LEN);
	(void)sqlite3_bind_int(q, 5, s->lane);
}

int catalog_put_stream(struct catalog *c, const struct stream *s, struct error *e)
{
	sqlite3_stmt *q = c->statements[PUT_STREAM];
	size_t len;
	AUTO(free_ptr) uint8_t *state = stream_pack(s, &len);

	if (!state)
		return error_set(e, -ENOMEM, "cannot allocate a stream's state");
	bind_stream(q, s);
	bind_bytes(q, 6, state, len);
	return run(c, q, e);
}

int catalog_remove_stream(struct catalog *c, const struct stream *s, struct error *e)
{
	bind_stream(c->statements[REMOVE_STREAM], s);
	return run(c, c->statements[REMOVE_STREAM], e);
}

int catalog_put_record(struct catalog *c, const struct stream_host *h, const struct host_record *r,
		       struct error *e)
{
	sqlite3_stmt *q = c->statements[PUT_RECORD];

	bind_bytes(q, 1, h->tenant.b, h->tenant.len);
	bind_bytes(q, 2, h->host_id.b, h->host_id.len);
	bind_bytes(q, 3, r->bytes, r->len);
	(void)sqlite3_bind_int64(q, 4, r->received_ns);
	(void)sqlite3_bind_int64(q, 5, (sqlite3_int64)r->segment);
	return run(c, q, e);
}

int catalog_put_removed(struct catalog *c, const struct batch_name *tenant,
			const struct store_removed *removed, struct error *e)
{
	sqlite3_stmt *q = c->statements[PUT_REMOVED];

	if (!removed->segments)
		return 0;
	bind_bytes(q, 1, tenant->b, tenant->len);
	(void)sqlite3_bind_int64(q, 2, (sqlite3_int64)removed->segments);
	(void)sqlite3_bind_int64(q, 3, (sqlite3_int64)removed->events);
	(void)sqlite3_bind_int64(q, 4, removed->first_wall_ns);
	(void)sqlite3_bind_int64(q, 5, removed->last_wall_ns);
	bind_bytes(q, 6, removed->reason, sizeof(removed->reason));
	return run(c, q, e);
}

/* ---- reading ---- */

/* A column of exactly (max < 0: of at most -max) so many bytes. */
static const uint8_t *column(sqlite3_stmt *q, int at, size_t min, size_t max, size_t *ret_len)
{
	const uint8_t *p = sqlite3_column_blob(q, at);
	int n = sqlite3_column_bytes(q, at);

	*ret_len = n < 0 ? 0 : (size_t)n;
	return p && *ret_len >= min && *ret_len <= max ? p : NULL;
}

static bool name_column(sqlite3_stmt *q, int at, struct batch_name *n)
{
	size_t len;
	const uint8_t *p = column(q, at, 1, BATCH_NAME_MAX, &len);

	if (p)
		batch_name_set(n, p, len);
	return p != NULL;
}

static bool bytes_column(sqlite3_stmt *q, int at, void *out, size_t len)
{
	size_t n;
	const uint8_t *p = column(q, at, len, len, &n);

	if (p)
		memcpy(out, p, len);
	return p != NULL;
}

/* fn per row of statement. -EBADMSG from fn: a row that makes no sense. */
static int each(struct catalog *c, enum statement which, int (*fn)(void *ctx, sqlite3_stmt *q),
		void *ctx, struct error *e)
{
	sqlite3_stmt *q = c->statements[which];
	int step, r = 0;

	while ((step = sqlite3_step(q)) == SQLITE_ROW && !r)
		r = fn(ctx, q);
	(void)sqlite3_reset(q);
	if (r)
		return r == -EBADMSG ?
			       error_set(e, r, "the catalog holds a row that makes no sense") :
			       error_set(e, r, "cannot use the catalog: %m");
	return step == SQLITE_DONE ? 0 : failed(c, step, "read", e);
}

struct segment_visit {
	int (*fn)(void *ctx, const struct catalog_segment *g);
	void *ctx;
};

static int visit_segment(void *ctx, sqlite3_stmt *q)
{
	const struct segment_visit *v = ctx;
	struct catalog_segment g;

	if (!bytes_column(q, 0, g.id.b, SEGMENT_ID_LEN) || !name_column(q, 1, &g.tenant))
		return -EBADMSG;
	g.bytes = (uint64_t)sqlite3_column_int64(q, 2);
	return v->fn(v->ctx, &g);
}

int catalog_each_segment(struct catalog *c, int (*fn)(void *ctx, const struct catalog_segment *g),
			 void *ctx, struct error *e)
{
	struct segment_visit v = { fn, ctx };

	return each(c, EACH_SEGMENT, visit_segment, &v, e);
}

struct removed_visit {
	int (*fn)(void *ctx, const struct catalog_removed *m);
	void *ctx;
};

static int visit_removed(void *ctx, sqlite3_stmt *q)
{
	const struct removed_visit *v = ctx;
	struct catalog_removed m;

	if (!name_column(q, 0, &m.tenant) ||
	    !bytes_column(q, 5, m.removed.reason, sizeof(m.removed.reason)))
		return -EBADMSG;
	m.removed.segments = (uint64_t)sqlite3_column_int64(q, 1);
	m.removed.events = (uint64_t)sqlite3_column_int64(q, 2);
	m.removed.first_wall_ns = sqlite3_column_int64(q, 3);
	m.removed.last_wall_ns = sqlite3_column_int64(q, 4);
	m.removed.reason[sizeof(m.removed.reason) - 1] = '\0';
	return v->fn(v->ctx, &m);
}

int catalog_each_removed(struct catalog *c, int (*fn)(void *ctx, const struct catalog_removed *m),
			 void *ctx, struct error *e)
{
	struct removed_visit v = { fn, ctx };

	return each(c, EACH_REMOVED, visit_removed, &v, e);
}

static int load_stream(void *ctx, sqlite3_stmt *q)
{
	struct stream_key k;
	struct stream *s;
	size_t len;
	const uint8_t *state;
	int r;

	if (!name_column(q, 0, &k.tenant) || !name_column(q, 1, &k.host_id) ||
	    !bytes_column(q, 2, k.boot_id, BATCH_BOOT_LEN) ||
	    !bytes_column(q, 3, k.epoch, BATCH_EPOCH_LEN))
		return -EBADMSG;
	k.lane = (uint8_t)sqlite3_column_int(q, 4);
	r = streams_get(ctx, &k, &s);
	if (r)
		return r;
	state = column(q, 5, 1, ROWS_PER_STREAM_MAX, &len);
	return state ? stream_unpack(s, state, len) : -EBADMSG;
}

static int load_record(void *ctx, sqlite3_stmt *q)
{
	struct batch_name tenant, host_id;
	struct stream_host *h;
	uint8_t *copy;
	size_t len;
	bool known;
	int r;
	const uint8_t *record = column(q, 2, 1, BATCH_MESSAGE_MAX, &len);

	if (!record || !name_column(q, 0, &tenant) || !name_column(q, 1, &host_id))
		return -EBADMSG;
	r = streams_host_get(ctx, &tenant, &host_id, &h);
	if (!r)
		r = host_record_plan(h, record, len, 0, &known);
	if (r)
		return r;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, record, len);
	host_record_add(h, copy, len, sqlite3_column_int64(q, 3),
			(uint64_t)sqlite3_column_int64(q, 4));
	return 0;
}

int catalog_load(struct catalog *c, struct streams *s, struct error *e)
{
	int r = each(c, EACH_STREAM, load_stream, s, e);

	return r ? r : each(c, EACH_RECORD, load_record, s, e);
}
