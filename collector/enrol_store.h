/* SPDX-License-Identifier: Apache-2.0 */
/* Enrolment tokens at rest: SQLite in DIR/tokens.sqlite. A token itself is nowhere in it, only its SHA-256.
 * What a function reported as done survives a kill and a loss of power. Several processes may have it open
 * (the collector, and `exhibit-collector tokens`); within one, the caller guards it.
 *
 * Each creation, use, revocation and refusal is a note, written in the same transaction; the collector makes a
 * leaf of the ledger of each (enrol_store_owed). */
#ifndef COLLECTOR_ENROL_STORE_H
#define COLLECTOR_ENROL_STORE_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"
#include "proto/enrol.h"

#define ENROL_FOLDER ".enrol" /* in the store's folder; no tenant's name begins with a dot */
#define ENROL_USES_MAX 1000000
#define ENROL_REFUSALS_NOTED 100 /* of one token: who holds one shall not fill the ledger */

struct enrol_store;

MUST_CHECK int enrol_store_open(const char *dir, struct enrol_store **ret, struct error *e);
void enrol_store_close(struct enrol_store *s); /* NULL allowed */
static inline void enrol_store_close_ptr(struct enrol_store **s)
{
	enrol_store_close(*s);
}

struct enrol_token {
	int64_t id; /* shown to people; rises */
	struct batch_name tenant;
	struct batch_name instance; /* cloud instance that it is bound to; empty: none */
	int64_t made_ns, expires_ns, revoked_ns; /* Unix time; revoked 0: it is not */
	uint64_t uses, used;
};

/* hash: SHA-256 of the token. t->id is set. by: who made it. */
MUST_CHECK int enrol_store_make(struct enrol_store *s, struct enrol_token *t,
				const struct seal_hash *hash, const char *by, struct error *e);
/* -ENOENT: there is none; -EALREADY. */
MUST_CHECK int enrol_store_revoke(struct enrol_store *s, int64_t id, int64_t now_ns, const char *by,
				  struct error *e);
MUST_CHECK int enrol_store_each(struct enrol_store *s,
				int (*fn)(void *ctx, const struct enrol_token *t), void *ctx,
				struct error *e);

/* The token, if it may be used: -EACCES with a sentence for the peer (unknown, revoked, expired, used up, of
 * another instance or tenant); ret->id is set whenever it is known. tenant: that is wanted; empty: any. keys: a
 * host that these keys were certified for by this token before may ask again, unless it was revoked; then
 * *ret_reply is what it was answered, malloc'ed. */
MUST_CHECK int enrol_store_find(struct enrol_store *s, const struct seal_hash *hash,
				const struct seal_hash *keys, const struct batch_name *tenant,
				const struct batch_name *instance, int64_t now_ns,
				struct enrol_token *ret, uint8_t **ret_reply, size_t *ret_reply_len,
				struct error *e);
/* Burn one use and keep the answer, or neither. -EACCES: it was used up, revoked, or expired meanwhile. */
struct enrol_use {
	int64_t id, now_ns;
	struct batch_name tenant, host;
	const struct seal_hash *keys, *evidence;
	const uint8_t *request, *reply; /* request: as it came, without its token */
	size_t request_len, reply_len;
	const char *remote;
};
MUST_CHECK int enrol_store_use(struct enrol_store *s, const struct enrol_use *u, struct error *e);
/* A use was refused. */
MUST_CHECK int enrol_store_refused(struct enrol_store *s, const struct enrol_token *t,
				   int64_t now_ns, const char *why, struct error *e);

/* Notes that have no leaf yet, oldest first; those that leaf returned 0 for are owed no more. */
struct enrol_note {
	int64_t wall_ns;
	bool enrolled; /* a host was; else something about a token */
	struct batch_name tenant, host;
	struct seal_hash object;
	const char *subject, *text;
};
MUST_CHECK int enrol_store_owed(struct enrol_store *s,
				int (*leaf)(void *ctx, const struct enrol_note *n, struct error *e),
				void *ctx, struct error *e);

#endif
