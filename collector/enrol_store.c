/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/enrol_store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "collector/row.h"
#include "proto/base/files.h"

#define NAME "tokens.sqlite"
#define VERSION 1
#define OWED_AT_ONCE 64

static const char schema[] =
	"PRAGMA journal_mode = WAL;"
	"PRAGMA synchronous = FULL;"
	"CREATE TABLE IF NOT EXISTS tokens(id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE,"
	" tenant BLOB NOT NULL, instance BLOB NOT NULL, made INTEGER NOT NULL, expires INTEGER NOT NULL,"
	" revoked INTEGER NOT NULL DEFAULT 0, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,"
	" refused INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE IF NOT EXISTS enrolled(token INTEGER NOT NULL, keys BLOB NOT NULL, host BLOB NOT NULL,"
	" at INTEGER NOT NULL, request BLOB NOT NULL, reply BLOB NOT NULL, PRIMARY KEY(token, keys));"
	"CREATE TABLE IF NOT EXISTS notes(seq INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL,"
	" enrolled INTEGER NOT NULL, tenant BLOB NOT NULL, host BLOB NOT NULL, object BLOB NOT NULL,"
	" subject TEXT NOT NULL, text TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0);"
	"CREATE INDEX IF NOT EXISTS notes_owed ON notes(seq) WHERE told = 0;"
	"PRAGMA user_version = 1;";

enum statement {
	MAKE,
	REVOKE,
	EACH,
	FIND,
	AGAIN,
	BURN,
	KEEP,
	REFUSED,
	NOTE,
	OWED,
	TOLD,
	BEGIN,
	COMMIT,
	ROLLBACK,
	STATEMENTS,
};

#define COLUMNS "id, tenant, instance, made, expires, revoked, uses, used"

static const char *const texts[STATEMENTS] = {
	[MAKE] = "INSERT INTO tokens(hash, tenant, instance, made, expires, uses)"
		 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[REVOKE] = "UPDATE tokens SET revoked = ?2 WHERE id = ?1 AND revoked = 0",
	[EACH] = "SELECT " COLUMNS " FROM tokens WHERE ?1 = 0 OR id = ?1 ORDER BY id",
	[FIND] = "SELECT " COLUMNS ", hash FROM tokens WHERE hash = ?1",
	[AGAIN] = "SELECT reply FROM enrolled WHERE token = ?1 AND keys = ?2",
	[BURN] = "UPDATE tokens SET used = used + 1 WHERE id = ?1 AND used < uses AND revoked = 0"
		 " AND expires > ?2",
	[KEEP] = "INSERT INTO enrolled(token, keys, host, at, request, reply)"
		 " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	[REFUSED] = "UPDATE tokens SET refused = refused + 1 WHERE id = ?1 AND refused < ?2",
	[NOTE] = "INSERT INTO notes(wall, enrolled, tenant, host, object, subject, text)"
		 " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
	[OWED] = "SELECT seq, wall, enrolled, tenant, host, object, subject, text FROM notes"
		 " WHERE told = 0 ORDER BY seq LIMIT ?1",
	[TOLD] = "UPDATE notes SET told = 1 WHERE seq <= ?1 AND told = 0",
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
};

struct enrol_store {
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
};

static int failed(struct enrol_store *s, int sqlite, const char *what, struct error *e)
{
	int code = (sqlite & 0xff) == SQLITE_FULL  ? -ENOSPC :
		   (sqlite & 0xff) == SQLITE_NOMEM ? -ENOMEM :
						     -EIO;

	return error_set(e, code, "cannot %s the enrolment tokens: %s", what,
			 s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(sqlite));
}

void enrol_store_close(struct enrol_store *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->statements[i]);
	(void)sqlite3_close(s->db);
	free(s);
}

static int version_of(sqlite3 *db)
{
	sqlite3_stmt *q = NULL;
	int version = 0;

	if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
	    sqlite3_step(q) == SQLITE_ROW)
		version = sqlite3_column_int(q, 0);
	(void)sqlite3_finalize(q);
	return version;
}

int enrol_store_open(const char *dir, struct enrol_store **ret, struct error *e)
{
	AUTO(enrol_store_close_ptr) struct enrol_store *s = calloc(1, sizeof(*s));
	char path[PATH_MAX];
	int r = files_mkdirs(dir, 0700, e);

	if (r < 0)
		return r;
	if (s == NULL || snprintf(path, sizeof(path), "%s/" NAME, dir) >= (int)sizeof(path))
		return error_set(e, -ENAMETOOLONG, "cannot open the enrolment tokens in '%.200s'",
				 dir);
	r = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (r != SQLITE_OK)
		return error_wrap(e, failed(s, r, "open", e), "cannot use '%s'", path);
	(void)sqlite3_busy_timeout(s->db, 5000);
	if (version_of(s->db) > VERSION)
		return error_set(e, -EBADMSG, "'%s' was made by a later version of this program",
				 path);
	r = sqlite3_exec(s->db, schema, NULL, NULL, NULL);
	for (size_t i = 0; r == SQLITE_OK && i < STATEMENTS; i++)
		r = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &s->statements[i], NULL);
	if (r != SQLITE_OK)
		return error_wrap(e, failed(s, r, "open", e), "cannot use '%s'", path);
	*ret = TAKE(s);
	return 0;
}

/* ---- statements -------------------------------------------------------------------------------------- */

static void bind_blob(sqlite3_stmt *q, int at, const void *data, size_t len)
{
	(void)sqlite3_bind_blob64(q, at, len != 0 ? data : "", len, SQLITE_STATIC);
}

static void bind_name(sqlite3_stmt *q, int at, const struct batch_name *name)
{
	bind_blob(q, at, name->b, name->len);
}

static void done(sqlite3_stmt *q)
{
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
}

static int run(struct enrol_store *s, enum statement which, const char *what, struct error *e)
{
	sqlite3_stmt *q = s->statements[which];
	int r = sqlite3_step(q);

	r = r == SQLITE_DONE || r == SQLITE_ROW ? 0 : failed(s, r, what, e);
	done(q);
	return r;
}

/* Ends what BEGIN began. */
static int settle(struct enrol_store *s, int r, struct error *e)
{
	if (r == 0)
		r = run(s, COMMIT, "store", e);
	if (r < 0)
		(void)!run(s, ROLLBACK, "store", NULL);
	return r;
}

static int put_note(struct enrol_store *s, const struct enrol_note *n, struct error *e)
{
	sqlite3_stmt *q = s->statements[NOTE];

	(void)sqlite3_bind_int64(q, 1, n->wall_ns);
	(void)sqlite3_bind_int(q, 2, n->enrolled);
	bind_name(q, 3, &n->tenant);
	bind_name(q, 4, &n->host);
	bind_blob(q, 5, n->object.b, sizeof(n->object.b));
	(void)sqlite3_bind_text(q, 6, n->subject, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(q, 7, n->text, -1, SQLITE_STATIC);
	return run(s, NOTE, "store what became of", e);
}

static struct batch_name name_at(sqlite3_stmt *q, int column)
{
	struct batch_name name = { 0 };
	size_t len = (size_t)sqlite3_column_bytes(q, column);

	if (len <= sizeof(name.b)) {
		name.len = (uint8_t)len;
		if (len != 0)
			memcpy(name.b, sqlite3_column_blob(q, column), len);
	}
	return name;
}

static struct enrol_token token_at(sqlite3_stmt *q)
{
	return (struct enrol_token){
		.id = sqlite3_column_int64(q, 0),
		.tenant = name_at(q, 1),
		.instance = name_at(q, 2),
		.made_ns = sqlite3_column_int64(q, 3),
		.expires_ns = sqlite3_column_int64(q, 4),
		.revoked_ns = sqlite3_column_int64(q, 5),
		.uses = (uint64_t)sqlite3_column_int64(q, 6),
		.used = (uint64_t)sqlite3_column_int64(q, 7),
	};
}

/* ---- people ------------------------------------------------------------------------------------------ */

static int make(struct enrol_store *s, struct enrol_token *t, const struct seal_hash *hash,
		const char *by, struct error *e)
{
	sqlite3_stmt *q = s->statements[MAKE];
	char text[128];
	struct enrol_note n = {
		.wall_ns = t->made_ns, .tenant = t->tenant, .subject = by, .text = text
	};
	int r;

	bind_blob(q, 1, hash->b, sizeof(hash->b));
	bind_name(q, 2, &t->tenant);
	bind_name(q, 3, &t->instance);
	(void)sqlite3_bind_int64(q, 4, t->made_ns);
	(void)sqlite3_bind_int64(q, 5, t->expires_ns);
	(void)sqlite3_bind_int64(q, 6, (int64_t)t->uses);
	r = run(s, MAKE, "store", e);
	t->id = sqlite3_last_insert_rowid(s->db);
	(void)snprintf(text, sizeof(text),
		       "enrolment token %" PRId64 " was made for %" PRIu64 " uses", t->id, t->uses);
	return r < 0 ? r : put_note(s, &n, e);
}

int enrol_store_make(struct enrol_store *s, struct enrol_token *t, const struct seal_hash *hash,
		     const char *by, struct error *e)
{
	int r = run(s, BEGIN, "store", e);

	return r < 0 ? r : settle(s, make(s, t, hash, by, e), e);
}

int enrol_store_each(struct enrol_store *s, int (*fn)(void *ctx, const struct enrol_token *t),
		     void *ctx, struct error *e)
{
	sqlite3_stmt *q = s->statements[EACH];
	int step, r = 0;

	(void)sqlite3_bind_int64(q, 1, 0);
	while (r == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
		struct enrol_token t = token_at(q);

		r = fn(ctx, &t);
	}
	if (r == 0 && step != SQLITE_DONE)
		r = failed(s, step, "read", e);
	done(q);
	return r;
}

static int by_id(struct enrol_store *s, int64_t id, struct enrol_token *ret, struct error *e)
{
	sqlite3_stmt *q = s->statements[EACH];
	int r = 0;

	(void)sqlite3_bind_int64(q, 1, id);
	if (id > 0 && sqlite3_step(q) == SQLITE_ROW)
		*ret = token_at(q);
	else
		r = error_set(e, -ENOENT, "there is no enrolment token %" PRId64, id);
	done(q);
	return r;
}

static int revoke_one(struct enrol_store *s, int64_t id, int64_t now_ns, const char *by,
		      struct error *e)
{
	sqlite3_stmt *q = s->statements[REVOKE];
	struct enrol_token t;
	char text[96];
	int r = by_id(s, id, &t, e);

	if (r < 0)
		return r;
	if (t.revoked_ns != 0)
		return error_set(e, -EALREADY, "the enrolment token %" PRId64 " is revoked already",
				 id);
	(void)sqlite3_bind_int64(q, 1, id);
	(void)sqlite3_bind_int64(q, 2, now_ns);
	r = run(s, REVOKE, "revoke one of", e);
	(void)snprintf(text, sizeof(text), "enrolment token %" PRId64 " was revoked", id);
	return r < 0 ? r :
		       put_note(s,
				&(struct enrol_note){ .wall_ns = now_ns,
						      .tenant = t.tenant,
						      .subject = by,
						      .text = text },
				e);
}

int enrol_store_revoke(struct enrol_store *s, int64_t id, int64_t now_ns, const char *by,
		       struct error *e)
{
	int r = run(s, BEGIN, "store", e);

	return r < 0 ? r : settle(s, revoke_one(s, id, now_ns, by, e), e);
}

/* ---- hosts ------------------------------------------------------------------------------------------- */

static int deny(struct error *e, const char *why)
{
	(void)error_set(e, -EACCES, "the enrolment token %s", why);
	error_hint(e, "have a new one made with 'exhibit-collector tokens make'");
	return -EACCES;
}

static int find_reply(struct enrol_store *s, int64_t id, const struct seal_hash *keys,
		      uint8_t **ret, size_t *ret_len, struct error *e)
{
	sqlite3_stmt *q = s->statements[AGAIN];
	int step, r = 0;

	(void)sqlite3_bind_int64(q, 1, id);
	bind_blob(q, 2, keys->b, sizeof(keys->b));
	step = sqlite3_step(q);
	if (step == SQLITE_ROW) {
		*ret_len = (size_t)sqlite3_column_bytes(q, 0);
		*ret = malloc(*ret_len + 1);
		if (*ret == NULL)
			r = error_set(e, -ENOMEM, "cannot answer again: %m");
		else if (*ret_len > 0)
			memcpy(*ret, sqlite3_column_blob(q, 0), *ret_len);
	} else if (step != SQLITE_DONE) {
		r = failed(s, step, "read", e);
	}
	done(q);
	return r;
}

static int by_hash(struct enrol_store *s, const struct seal_hash *hash, struct enrol_token *ret,
		   struct error *e)
{
	sqlite3_stmt *q = s->statements[FIND];
	int step, r;

	bind_blob(q, 1, hash->b, sizeof(hash->b));
	step = sqlite3_step(q);
	/* The search is over hashes of random bytes, what its time tells is of no use; the last word is
	 * spoken in constant time all the same. */
	if (step == SQLITE_ROW && sqlite3_column_bytes(q, 8) == SEAL_HASH_LEN &&
	    CRYPTO_memcmp(sqlite3_column_blob(q, 8), hash->b, SEAL_HASH_LEN) == 0) {
		*ret = token_at(q);
		r = 0;
	} else if (step == SQLITE_DONE || step == SQLITE_ROW) {
		r = deny(e, "is not known to this collector");
	} else {
		r = failed(s, step, "read", e);
	}
	done(q);
	return r;
}

int enrol_store_find(struct enrol_store *s, const struct seal_hash *hash,
		     const struct seal_hash *keys, const struct batch_name *tenant,
		     const struct batch_name *instance, int64_t now_ns, struct enrol_token *ret,
		     uint8_t **ret_reply, size_t *ret_reply_len, struct error *e)
{
	int r;

	*ret = (struct enrol_token){ 0 };
	*ret_reply = NULL;
	r = by_hash(s, hash, ret, e);
	if (r < 0)
		return r;
	if (ret->revoked_ns != 0)
		return deny(e, "is revoked");
	if (tenant->len != 0 && !batch_name_equal(tenant, &ret->tenant))
		return deny(e, "is for another tenant");
	if (ret->instance.len != 0 && !batch_name_equal(instance, &ret->instance))
		return deny(e, "is bound to another cloud instance");
	r = find_reply(s, ret->id, keys, ret_reply, ret_reply_len, e);
	if (r < 0 || *ret_reply != NULL)
		return r;
	if (ret->expires_ns <= now_ns)
		return deny(e, "has expired");
	return ret->used < ret->uses ? 0 : deny(e, "has been used as often as it may be");
}

static int use(struct enrol_store *s, const struct enrol_use *u, struct error *e)
{
	sqlite3_stmt *q = s->statements[BURN];
	char text[160];
	int r;

	(void)sqlite3_bind_int64(q, 1, u->id);
	(void)sqlite3_bind_int64(q, 2, u->now_ns);
	r = run(s, BURN, "use one of", e);
	if (r == 0 && sqlite3_changes(s->db) != 1)
		r = deny(e, "has been used as often as it may be");
	if (r < 0)
		return r;
	q = s->statements[KEEP];
	(void)sqlite3_bind_int64(q, 1, u->id);
	bind_blob(q, 2, u->keys->b, sizeof(u->keys->b));
	bind_name(q, 3, &u->host);
	(void)sqlite3_bind_int64(q, 4, u->now_ns);
	bind_blob(q, 5, u->request, u->request_len);
	bind_blob(q, 6, u->reply, u->reply_len);
	r = run(s, KEEP, "use one of", e);
	(void)snprintf(text, sizeof(text), "enrolled with token %" PRId64 " from %s", u->id,
		       u->remote);
	return r < 0 ? r :
		       put_note(s,
				&(struct enrol_note){ .wall_ns = u->now_ns,
						      .enrolled = true,
						      .tenant = u->tenant,
						      .host = u->host,
						      .object = *u->evidence,
						      .subject = "",
						      .text = text },
				e);
}

int enrol_store_use(struct enrol_store *s, const struct enrol_use *u, struct error *e)
{
	int r = run(s, BEGIN, "store", e);

	return r < 0 ? r : settle(s, use(s, u, e), e);
}

static int refused(struct enrol_store *s, const struct enrol_token *t, int64_t now_ns,
		   const char *why, struct error *e)
{
	sqlite3_stmt *q = s->statements[REFUSED];
	char text[256];
	int r;

	(void)sqlite3_bind_int64(q, 1, t->id);
	(void)sqlite3_bind_int(q, 2, ENROL_REFUSALS_NOTED);
	r = run(s, REFUSED, "note a refusal of", e);
	if (r < 0 || sqlite3_changes(s->db) != 1)
		return r;
	(void)snprintf(text, sizeof(text), "token %" PRId64 " was refused: %s", t->id, why);
	return put_note(
		s,
		&(struct enrol_note){
			.wall_ns = now_ns, .tenant = t->tenant, .subject = "", .text = text },
		e);
}

int enrol_store_refused(struct enrol_store *s, const struct enrol_token *t, int64_t now_ns,
			const char *why, struct error *e)
{
	int r = run(s, BEGIN, "store", e);

	return r < 0 ? r : settle(s, refused(s, t, now_ns, why, e), e);
}

/* ---- the ledger -------------------------------------------------------------------------------------- */

static int each_owed(struct enrol_store *s,
		     int (*leaf)(void *ctx, const struct enrol_note *n, struct error *e), void *ctx,
		     int64_t *ret_seq, size_t *ret_n, struct error *e)
{
	sqlite3_stmt *q = s->statements[OWED];
	int step = SQLITE_DONE, r = 0;

	(void)sqlite3_bind_int(q, 1, OWED_AT_ONCE);
	while (r == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
		struct enrol_note n = { .wall_ns = sqlite3_column_int64(q, 1),
					.enrolled = sqlite3_column_int(q, 2) != 0,
					.tenant = name_at(q, 3),
					.host = name_at(q, 4),
					.subject = (const char *)sqlite3_column_text(q, 6),
					.text = (const char *)sqlite3_column_text(q, 7) };

		if (n.subject == NULL || n.text == NULL ||
		    sqlite3_column_bytes(q, 5) != SEAL_HASH_LEN) {
			r = error_set(e, -EBADMSG, "the enrolment tokens hold a note that is none");
			break;
		}
		memcpy(n.object.b, sqlite3_column_blob(q, 5), SEAL_HASH_LEN);
		r = leaf(ctx, &n, e);
		if (r == 0) {
			*ret_seq = sqlite3_column_int64(q, 0);
			(*ret_n)++;
		}
	}
	if (r == 0 && step != SQLITE_DONE)
		r = failed(s, step, "read", e);
	done(q);
	return r;
}

int enrol_store_owed(struct enrol_store *s,
		     int (*leaf)(void *ctx, const struct enrol_note *n, struct error *e), void *ctx,
		     struct error *e)
{
	size_t n;
	int r;

	do {
		sqlite3_stmt *q = s->statements[TOLD];
		int64_t seq = 0;
		int told = 0;

		n = 0;
		r = each_owed(s, leaf, ctx, &seq, &n, e);
		if (n > 0) {
			(void)sqlite3_bind_int64(q, 1, seq);
			told = run(s, TOLD, "mark", r < 0 ? NULL : e);
		}
		r = r < 0 ? r : told;
	} while (r == 0 && n == OWED_AT_ONCE);
	return r;
}
