/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_index.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/ledger_tiles.h"
#include "proto/base/log.h"
#include "service.pb-c.h"

#define FILE_NAME "index.sqlite"

struct ledger_index {
	sqlite3 *db;
	sqlite3_stmt *add, *find;
	int dirfd; /* borrowed */
	char *path;
	uint64_t size; /* leaves looked at */
	pthread_mutex_t lock;
};

/* meta holds how many leaves have been looked at. */
static const char schema[] =
	"PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
	"CREATE TABLE IF NOT EXISTS leaf (number INTEGER PRIMARY KEY, case_id BLOB, exhibit_id BLOB);"
	"CREATE INDEX IF NOT EXISTS by_case ON leaf (case_id) WHERE case_id IS NOT NULL;"
	"CREATE INDEX IF NOT EXISTS by_exhibit ON leaf (exhibit_id) WHERE exhibit_id IS NOT NULL;"
	"CREATE TABLE IF NOT EXISTS meta (size INTEGER NOT NULL);"
	"INSERT INTO meta SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM meta);";

static int fail(const struct ledger_index *i, struct error *e)
{
	return error_set(e, -EIO, "cannot use the ledger's index '%s': %s", i->path,
			 i->db ? sqlite3_errmsg(i->db) : "out of memory");
}

static void close_db(struct ledger_index *i)
{
	(void)sqlite3_finalize(i->add);
	(void)sqlite3_finalize(i->find);
	(void)sqlite3_close(i->db);
	i->add = i->find = NULL;
	i->db = NULL;
}

void ledger_index_close(struct ledger_index *i)
{
	if (!i)
		return;
	close_db(i);
	(void)pthread_mutex_destroy(&i->lock);
	free(i->path);
	free(i);
}

static int read_size(struct ledger_index *i, struct error *e)
{
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(i->db, "SELECT size FROM meta", -1, &s, NULL);

	if (r == SQLITE_OK)
		r = sqlite3_step(s);
	if (r == SQLITE_ROW)
		i->size = (uint64_t)sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	return r == SQLITE_ROW ? 0 : fail(i, e);
}

static int open_db(struct ledger_index *i, struct error *e)
{
	if (sqlite3_open(i->path, &i->db) != SQLITE_OK ||
	    sqlite3_exec(i->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(i->db, "INSERT OR REPLACE INTO leaf VALUES (?1, ?2, ?3)", -1,
			       &i->add, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(i->db,
			       "SELECT number FROM leaf WHERE (case_id = ?1 OR exhibit_id = ?2) AND "
			       "number < ?3 ORDER BY number LIMIT ?4",
			       -1, &i->find, NULL) != SQLITE_OK)
		return fail(i, e);
	return read_size(i, e);
}

static int forget(struct ledger_index *i, struct error *e)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };

	close_db(i);
	for (size_t k = 0; k < ARRAY_LEN(suffixes); k++) {
		char path[4200];

		(void)snprintf(path, sizeof(path), "%s%s", i->path, suffixes[k]);
		if (unlink(path) < 0 && errno != ENOENT)
			return error_set(e, -errno, "cannot remove '%s': %m", path);
	}
	return open_db(i, e);
}

int ledger_index_open(const char *dir, int dirfd, uint64_t size, struct ledger_index **ret,
		      struct error *e)
{
	struct ledger_index *i = calloc(1, sizeof(*i));
	int r;

	if (!i || asprintf(&i->path, "%s/" FILE_NAME, dir) < 0) {
		free(i);
		return error_set(e, -ENOMEM, "cannot open the ledger's index: %m");
	}
	i->dirfd = dirfd;
	(void)pthread_mutex_init(&i->lock, NULL);
	r = open_db(i, e);
	/* Derived: what is wrong with it goes with it. Ahead of the log, it is another log's. */
	if (r < 0 || i->size > size)
		r = forget(i, e);
	if (r == 0)
		r = ledger_index_grow(i, size, e);
	if (r < 0) {
		ledger_index_close(i);
		return r;
	}
	*ret = i;
	return 0;
}

static void bind(sqlite3_stmt *s, int at, const void *data, size_t len)
{
	if (len > 0)
		(void)sqlite3_bind_blob64(s, at, data, len, SQLITE_STATIC);
	else
		(void)sqlite3_bind_null(s, at);
}

static int add(void *ctx, uint64_t index, const uint8_t *bytes, size_t len, struct error *e)
{
	struct ledger_index *i = ctx;
	Exhibit__V1__LedgerEntry *m = exhibit__v1__ledger_entry__unpack(NULL, len, bytes);
	int r = SQLITE_DONE;

	/* Of a later version: it names nothing that we know. */
	if (!m)
		return 0;
	const ProtobufCBinaryData *id = m->kind == EXHIBIT__V1__LEDGER_KIND__LEDGER_HOST_RECORD ?
						&m->object :
						&m->exhibit_id;

	if (m->case_id.len > 0 || id->len > 0) {
		(void)sqlite3_bind_int64(i->add, 1, (sqlite3_int64)index);
		bind(i->add, 2, m->case_id.data, m->case_id.len);
		bind(i->add, 3, id->data, id->len);
		r = sqlite3_step(i->add);
		(void)sqlite3_reset(i->add);
		(void)sqlite3_clear_bindings(i->add);
	}
	exhibit__v1__ledger_entry__free_unpacked(m, NULL);
	return r == SQLITE_DONE ? 0 : fail(i, e);
}

static int grow(struct ledger_index *i, uint64_t size, struct error *e)
{
	char sql[64];
	int r;

	if (sqlite3_exec(i->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return fail(i, e);
	r = tiles_each_entry(i->dirfd, i->size, size, add, i, e);
	(void)snprintf(sql, sizeof(sql), "UPDATE meta SET size = %lld; COMMIT", (long long)size);
	if (r == 0 && sqlite3_exec(i->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		r = fail(i, e);
	if (r == 0)
		i->size = size;
	else
		(void)sqlite3_exec(i->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

int ledger_index_grow(struct ledger_index *i, uint64_t size, struct error *e)
{
	int r = 0;

	(void)pthread_mutex_lock(&i->lock);
	if (size > i->size)
		r = grow(i, size, e);
	(void)pthread_mutex_unlock(&i->lock);
	return r;
}

static int collect(struct ledger_index *i, size_t max, uint64_t **ret, size_t *ret_n,
		   struct error *e)
{
	size_t room = 0;
	int r;

	while ((r = sqlite3_step(i->find)) == SQLITE_ROW) {
		if (*ret_n == max)
			return error_set(e, -E2BIG, "more than %zu leaves are asked for", max);
		if (*ret_n == room) {
			uint64_t *more = reallocarray(*ret, room ? 2 * room : 64, sizeof(*more));

			if (!more)
				return error_set(e, -ENOMEM, "cannot collect leaves: %m");
			*ret = more;
			room = room ? 2 * room : 64;
		}
		(*ret)[(*ret_n)++] = (uint64_t)sqlite3_column_int64(i->find, 0);
	}
	return r == SQLITE_DONE ? 0 : fail(i, e);
}

int ledger_index_find(struct ledger_index *i, const void *case_id, size_t case_len,
		      const void *exhibit_id, size_t exhibit_len, uint64_t size, size_t max,
		      uint64_t **ret, size_t *ret_n, struct error *e)
{
	AUTO(free_ptr) uint64_t *all = NULL;
	int r;

	*ret_n = 0;
	(void)pthread_mutex_lock(&i->lock);
	bind(i->find, 1, case_id, case_len);
	bind(i->find, 2, exhibit_id, exhibit_len);
	(void)sqlite3_bind_int64(i->find, 3, (sqlite3_int64)size);
	(void)sqlite3_bind_int64(i->find, 4, (sqlite3_int64)max + 1);
	r = collect(i, max, &all, ret_n, e);
	(void)sqlite3_reset(i->find);
	(void)sqlite3_clear_bindings(i->find);
	(void)pthread_mutex_unlock(&i->lock);
	if (r == 0)
		*ret = TAKE(all);
	return r;
}
