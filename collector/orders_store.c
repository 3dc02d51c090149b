/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/orders_store.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/files.h"

#define NAME ORDERS_FILE
#define VERSION 1

/* WITHOUT the steps of progress: only the newest is of interest, and it is kept in memory. */
static const char schema[] =
	"PRAGMA journal_mode = WAL;"
	"PRAGMA synchronous = FULL;"
	"CREATE TABLE IF NOT EXISTS orders(seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant BLOB NOT NULL,"
	" id BLOB NOT NULL, case_id BLOB NOT NULL, open INTEGER NOT NULL, signed BLOB NOT NULL,"
	" UNIQUE(tenant, id));"
	"CREATE INDEX IF NOT EXISTS orders_open ON orders(open) WHERE open = 1;"
	"CREATE INDEX IF NOT EXISTS orders_case ON orders(tenant, case_id);"
	"CREATE TABLE IF NOT EXISTS steps(seq INTEGER PRIMARY KEY AUTOINCREMENT, order_seq INTEGER NOT NULL,"
	" host BLOB NOT NULL, state INTEGER NOT NULL, step BLOB NOT NULL);"
	"CREATE INDEX IF NOT EXISTS steps_order ON steps(order_seq, seq);"
	"CREATE TABLE IF NOT EXISTS lists(tenant BLOB PRIMARY KEY, list BLOB NOT NULL) WITHOUT ROWID;"
	"PRAGMA user_version = 1;";

enum statement {
	PUT_ORDER,
	PUT_STEP,
	PUT_SIGNED,
	SET_OPEN,
	EACH_ORDER,
	EACH_STEP,
	SENT,
	PUT_LIST,
	EACH_LIST,
	BEGIN,
	COMMIT,
	ROLLBACK,
	STATEMENTS,
};

static const char *const texts[STATEMENTS] = {
	[PUT_ORDER] = "INSERT INTO orders(tenant, id, case_id, open, signed)"
		      " VALUES(?1, ?2, ?3, ?4, ?5)",
	[PUT_STEP] = "INSERT INTO steps(order_seq, host, state, step) VALUES(?1, ?2, ?3, ?4)",
	[PUT_SIGNED] = "UPDATE orders SET signed = ?2 WHERE seq = ?1",
	[SET_OPEN] = "UPDATE orders SET open = ?2 WHERE seq = ?1 AND open <> ?2",
	[EACH_ORDER] =
		"SELECT seq, tenant, id, signed, open FROM ("
		"SELECT * FROM orders WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR id = ?2)"
		" AND (?3 IS NULL OR case_id = ?3) AND (?4 = 0 OR open = 1)"
		" ORDER BY seq DESC LIMIT ?5) ORDER BY seq",
	[EACH_STEP] = "SELECT step FROM steps WHERE order_seq = ?1 ORDER BY seq",
	[SENT] =
		"SELECT signed, EXISTS (SELECT 1 FROM steps WHERE order_seq = orders.seq AND host = ?3"
		" AND state IN (?5, ?6, ?7)) FROM orders WHERE tenant = ?1 AND id = ?2 AND EXISTS"
		" (SELECT 1 FROM steps WHERE order_seq = orders.seq AND host = ?3 AND state = ?4)",
	[PUT_LIST] = "INSERT OR REPLACE INTO lists(tenant, list) VALUES(?1, ?2)",
	[EACH_LIST] = "SELECT tenant, list FROM lists",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

struct orders_store {
	pthread_mutex_t lock;
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
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
	case SQLITE_ERROR:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

static int failed(struct orders_store *s, int sqlite, const char *what, struct error *e)
{
	return error_set(e, code_of(sqlite), "cannot %s the orders: %s", what,
			 s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(sqlite));
}

void orders_store_close(struct orders_store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->statements[i]);
	(void)sqlite3_close(s->db);
	(void)pthread_mutex_destroy(&s->lock);
	free(s);
}

static void orders_store_close_ptr(struct orders_store **s)
{
	orders_store_close(*s);
}

static int version_of(sqlite3 *db)
{
	sqlite3_stmt *q = NULL;
	int version = -1;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW)
		version = sqlite3_column_int(q, 0);
	(void)sqlite3_finalize(q);
	return version;
}

static int prepare(struct orders_store *s, struct error *e)
{
	int version = version_of(s->db), r;

	if (version > VERSION)
		return error_set(e, -EBADMSG, "the orders are of version %d, this one knows %d",
				 version, VERSION);
	r = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
	for (size_t i = 0; r == SQLITE_OK && i < STATEMENTS; i++)
		r = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &s->statements[i], NULL);
	return r == SQLITE_OK ? 0 : failed(s, r, "open", e);
}

int orders_store_open(const char *dir, struct orders_store **ret, struct error *e)
{
	AUTO(orders_store_close_ptr) struct orders_store *s = calloc(1, sizeof(*s));
	char path[PATH_MAX];
	int r = files_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	if (!s || snprintf(path, sizeof(path), "%s/" NAME, dir) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "cannot open the orders in '%.200s'", dir);
	(void)pthread_mutex_init(&s->lock, NULL);
	r = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (r != SQLITE_OK)
		return failed(s, r, "open", e);
	(void)sqlite3_busy_timeout(s->db, 5000);
	r = prepare(s, e);
	if (r < 0) {
		(void)error_wrap(e, r, "cannot open '%s'", path);
		/* Not without being told to: who is revoked stands in there. */
		if (r == -EBADMSG)
			error_hint(e, "put back a copy of it, or move it away and publish the list "
				      "of revocations again: hosts keep what they know");
		return r;
	}
	*ret = TAKE(s);
	return 0;
}

/* ---- statements ---------------------------------------------------------------------------------------- */

static void bind_blob(sqlite3_stmt *q, int at, const void *data, size_t len)
{
	/* NULL data with no length is an empty blob, not NULL. A failure shows in step. */
	(void)sqlite3_bind_blob64(q, at, len ? data : "", len, SQLITE_STATIC);
}

static int run(struct orders_store *s, enum statement which, const char *what, struct error *e)
{
	sqlite3_stmt *q = s->statements[which];
	int r = sqlite3_step(q);

	if (r != SQLITE_DONE && r != SQLITE_ROW)
		r = failed(s, r, what, e);
	else
		r = 0;
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return r;
}

/* Ends what BEGIN began. */
static int settle(struct orders_store *s, int r, struct error *e)
{
	if (r == 0)
		r = run(s, COMMIT, "store", e);
	if (r < 0)
		(void)run(s, ROLLBACK, "store", NULL);
	return r;
}

static int put_step(struct orders_store *s, int64_t seq, const void *host, size_t host_len,
		    Exhibit__V1__OrderState state, const uint8_t *step, size_t len, struct error *e)
{
	sqlite3_stmt *q = s->statements[PUT_STEP];

	(void)sqlite3_bind_int64(q, 1, seq);
	bind_blob(q, 2, host, host_len);
	(void)sqlite3_bind_int(q, 3, (int)state);
	bind_blob(q, 4, step, len);
	return run(s, PUT_STEP, "store a step of", e);
}

static int put_order(struct orders_store *s, const struct orders_row *row, const void *case_id,
		     size_t case_len, struct error *e)
{
	sqlite3_stmt *q = s->statements[PUT_ORDER];

	bind_blob(q, 1, row->tenant.b, row->tenant.len);
	bind_blob(q, 2, row->id, ORDER_ID_LEN);
	bind_blob(q, 3, case_id, case_len);
	(void)sqlite3_bind_int(q, 4, row->open);
	bind_blob(q, 5, row->signed_order, row->len);
	return run(s, PUT_ORDER, "store", e);
}

int orders_store_put(struct orders_store *s, const struct orders_row *row, const void *case_id,
		     size_t case_len, const uint8_t *step, size_t step_len, int64_t *ret_seq,
		     struct error *e)
{
	Exhibit__V1__OrderState state = row->open ? EXHIBIT__V1__ORDER_STATE__ORDER_MADE :
						    EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED;
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = run(s, BEGIN, "store", e);
	if (r == 0) {
		r = put_order(s, row, case_id, case_len, e);
		*ret_seq = sqlite3_last_insert_rowid(s->db);
		if (r == 0)
			r = put_step(s, *ret_seq, "", 0, state, step, step_len, e);
		r = settle(s, r, e);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

int orders_store_approve(struct orders_store *s, int64_t seq, const uint8_t *signed_order,
			 size_t len, const uint8_t *step, size_t step_len, struct error *e)
{
	sqlite3_stmt *q = s->statements[PUT_SIGNED];
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = run(s, BEGIN, "store", e);
	if (r == 0) {
		(void)sqlite3_bind_int64(q, 1, seq);
		bind_blob(q, 2, signed_order, len);
		r = run(s, PUT_SIGNED, "store an approval of", e);
		if (r == 0)
			r = put_step(s, seq, "", 0, EXHIBIT__V1__ORDER_STATE__ORDER_APPROVED, step,
				     step_len, e);
		r = settle(s, r, e);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

int orders_store_step(struct orders_store *s, int64_t seq, const void *host, size_t host_len,
		      Exhibit__V1__OrderState state, const uint8_t *step, size_t step_len,
		      bool open, struct error *e)
{
	sqlite3_stmt *q = s->statements[SET_OPEN];
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = run(s, BEGIN, "store", e);
	if (r == 0) {
		r = put_step(s, seq, host, host_len, state, step, step_len, e);
		(void)sqlite3_bind_int64(q, 1, seq);
		(void)sqlite3_bind_int(q, 2, open);
		if (r == 0)
			r = run(s, SET_OPEN, "store a step of", e);
		r = settle(s, r, e);
	}
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

/* ---- questions ------------------------------------------------------------------------------------------ */

static struct batch_name name_at(sqlite3_stmt *q, int column)
{
	struct batch_name name = { 0 };
	size_t len = (size_t)sqlite3_column_bytes(q, column);

	if (len <= sizeof(name.b)) {
		name.len = (uint8_t)len;
		if (len)
			memcpy(name.b, sqlite3_column_blob(q, column), len);
	}
	return name;
}

static int row_at(sqlite3_stmt *q, orders_row_fn *fn, void *ctx)
{
	struct orders_row row = {
		.seq = sqlite3_column_int64(q, 0),
		.tenant = name_at(q, 1),
		.signed_order = sqlite3_column_blob(q, 3),
		.len = (size_t)sqlite3_column_bytes(q, 3),
		.open = sqlite3_column_int(q, 4) != 0,
	};

	if (sqlite3_column_bytes(q, 2) != ORDER_ID_LEN)
		return -EBADMSG;
	memcpy(row.id, sqlite3_column_blob(q, 2), ORDER_ID_LEN);
	return fn(ctx, &row);
}

/* After the bindings: each row to one, until that is not 0. */
static int each(struct orders_store *s, enum statement which,
		int (*one)(sqlite3_stmt *q, void *ctx), void *ctx, struct error *e)
{
	sqlite3_stmt *q = s->statements[which];
	int r = 0, step;

	while ((step = sqlite3_step(q)) == SQLITE_ROW) {
		r = one(q, ctx);
		if (r != 0)
			break;
	}
	if (r == 0 && step != SQLITE_DONE)
		r = failed(s, step, "read", e);
	else if (r == -EBADMSG)
		r = error_set(e, r, "the orders' file holds a row that cannot be one");
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return r;
}

struct row_call {
	orders_row_fn *fn;
	void *ctx;
};

static int call_row(sqlite3_stmt *q, void *ctx)
{
	const struct row_call *call = ctx;

	return row_at(q, call->fn, call->ctx);
}

int orders_store_each(struct orders_store *s, const struct orders_which *w, orders_row_fn *fn,
		      void *ctx, struct error *e)
{
	sqlite3_stmt *q = s->statements[EACH_ORDER];
	struct row_call call = { fn, ctx };
	int r;

	(void)pthread_mutex_lock(&s->lock);
	if (w->tenant)
		bind_blob(q, 1, w->tenant->b, w->tenant->len);
	if (w->id)
		bind_blob(q, 2, w->id, ORDER_ID_LEN);
	if (w->case_id)
		bind_blob(q, 3, w->case_id, w->case_len);
	(void)sqlite3_bind_int(q, 4, w->open);
	(void)sqlite3_bind_int64(q, 5, w->limit && w->limit < INT64_MAX ? (int64_t)w->limit : -1);
	r = each(s, EACH_ORDER, call_row, &call, e);
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

struct step_call {
	orders_step_fn *fn;
	void *ctx;
};

static int call_step(sqlite3_stmt *q, void *ctx)
{
	const struct step_call *call = ctx;

	return call->fn(call->ctx, sqlite3_column_blob(q, 0), (size_t)sqlite3_column_bytes(q, 0));
}

int orders_store_steps(struct orders_store *s, int64_t seq, orders_step_fn *fn, void *ctx,
		       struct error *e)
{
	struct step_call call = { fn, ctx };
	int r;

	(void)pthread_mutex_lock(&s->lock);
	(void)sqlite3_bind_int64(s->statements[EACH_STEP], 1, seq);
	r = each(s, EACH_STEP, call_step, &call, e);
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

struct copy {
	uint8_t *data;
	size_t len;
	bool over;
};

static int copy_row(sqlite3_stmt *q, void *ctx)
{
	struct copy *c = ctx;

	c->over = sqlite3_column_int(q, 1) != 0;
	c->len = (size_t)sqlite3_column_bytes(q, 0);
	c->data = malloc(c->len + 1);
	if (!c->data)
		return -ENOMEM;
	if (c->len)
		memcpy(c->data, sqlite3_column_blob(q, 0), c->len);
	return 1;
}

int orders_store_sent(struct orders_store *s, const struct batch_name *tenant,
		      const uint8_t id[static ORDER_ID_LEN], const struct batch_name *host,
		      uint8_t **ret, size_t *ret_len, bool *ret_over, struct error *e)
{
	sqlite3_stmt *q = s->statements[SENT];
	struct copy copy = { 0 };
	int r;

	(void)pthread_mutex_lock(&s->lock);
	bind_blob(q, 1, tenant->b, tenant->len);
	bind_blob(q, 2, id, ORDER_ID_LEN);
	bind_blob(q, 3, host->b, host->len);
	(void)sqlite3_bind_int(q, 4, EXHIBIT__V1__ORDER_STATE__ORDER_SENT);
	(void)sqlite3_bind_int(q, 5, EXHIBIT__V1__ORDER_STATE__ORDER_DONE);
	(void)sqlite3_bind_int(q, 6, EXHIBIT__V1__ORDER_STATE__ORDER_FAILED);
	(void)sqlite3_bind_int(q, 7, EXHIBIT__V1__ORDER_STATE__ORDER_REFUSED);
	r = each(s, SENT, copy_row, &copy, e);
	(void)pthread_mutex_unlock(&s->lock);
	if (r == 0)
		return error_set(e, -ENOENT, "no such order was sent to this host");
	if (r < 0)
		return r == -ENOMEM ? error_set(e, r, "cannot look up an order: %m") : r;
	*ret = copy.data;
	*ret_len = copy.len;
	*ret_over = copy.over;
	return 0;
}

/* ---- revocation lists ------------------------------------------------------------------------------------- */

int orders_store_put_list(struct orders_store *s, const struct batch_name *tenant,
			  const uint8_t *list, size_t len, struct error *e)
{
	sqlite3_stmt *q = s->statements[PUT_LIST];
	int r;

	(void)pthread_mutex_lock(&s->lock);
	bind_blob(q, 1, tenant->b, tenant->len);
	bind_blob(q, 2, list, len);
	r = run(s, PUT_LIST, "store a revocation list beside", e);
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}

struct list_call {
	int (*fn)(void *ctx, const struct batch_name *tenant, const uint8_t *list, size_t len);
	void *ctx;
};

static int call_list(sqlite3_stmt *q, void *ctx)
{
	const struct list_call *call = ctx;
	struct batch_name tenant = name_at(q, 0);

	return call->fn(call->ctx, &tenant, sqlite3_column_blob(q, 1),
			(size_t)sqlite3_column_bytes(q, 1));
}

int orders_store_lists(struct orders_store *s,
		       int (*fn)(void *ctx, const struct batch_name *tenant, const uint8_t *list,
				 size_t len),
		       void *ctx, struct error *e)
{
	struct list_call call = { fn, ctx };
	int r;

	(void)pthread_mutex_lock(&s->lock);
	r = each(s, EACH_LIST, call_list, &call, e);
	(void)pthread_mutex_unlock(&s->lock);
	return r;
}
