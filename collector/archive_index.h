/* SPDX-License-Identifier: Apache-2.0 */
/* What of ledger, segments and orders lies in the bucket, with the version and how long it is locked: SQLite in
 * STORE/.archive/index.sqlite. Derived: without it everything is sent once more. One thread. */
#ifndef COLLECTOR_ARCHIVE_INDEX_H
#define COLLECTOR_ARCHIVE_INDEX_H

#include "collector/s3.h"

#define ARCHIVE_FOLDER ".archive" /* in the store's folder */
#define ARCHIVE_LOG_LEN 16 /* hex digits: one run of uploads of the ledger */

struct archive_index;

/* dir: the store's folder. One that is damaged is made anew. */
MUST_CHECK int archive_index_open(const char *dir, struct archive_index **ret, struct error *e);
void archive_index_close(struct archive_index *i); /* NULL allowed */
static inline void archive_index_close_ptr(struct archive_index **i)
{
	archive_index_close(*i);
}

struct archive_object {
	const char *key, *version;
	const char *group; /* "TENANT/SEGMENT" of a piece; "": none */
	uint64_t bytes;
	int64_t until_s; /* of the lock; 0: not known */
	bool renew; /* the lock is to last as long as the collector does */
};
/* 1: this key is there; 0: it is not. */
MUST_CHECK int archive_index_has(struct archive_index *i, const char *key, struct error *e);
MUST_CHECK int archive_index_add(struct archive_index *i, const struct archive_object *o,
				 struct error *e);
/* Bytes of all pieces of a group. */
MUST_CHECK int archive_index_bytes(struct archive_index *i, const char *group, uint64_t *ret,
				   struct error *e);
/* At most max of those to be renewed whose lock ends before until_s; fn must not call the index. */
MUST_CHECK int archive_index_due(struct archive_index *i, int64_t until_s, size_t max,
				 int (*fn)(void *ctx, const struct archive_object *o), void *ctx,
				 struct error *e);
/* The lock lasts longer (until_s 0: as it did), or need not be renewed any more. */
MUST_CHECK int archive_index_renewed(struct archive_index *i, const char *key, int64_t until_s,
				     bool renew, struct error *e);
/* Numbers and names that outlive a start: "" and 0 when never set. */
MUST_CHECK int archive_index_get(struct archive_index *i, const char *name, char *ret, size_t size,
				 struct error *e);
MUST_CHECK int archive_index_set(struct archive_index *i, const char *name, const char *value,
				 struct error *e);

/* ---- of a rebuild: what the bucket holds ---- */
MUST_CHECK int archive_index_seen(struct archive_index *i, const struct s3_version *v,
				  struct error *e);
/* Those below prefix, by key, of one key the oldest first. fn may call the index. Stops at fn's error. */
MUST_CHECK int archive_index_each_seen(struct archive_index *i, const char *prefix,
				       int (*fn)(void *ctx, const struct s3_version *v,
						 struct error *e),
				       void *ctx, struct error *e);
/* Forget what was seen. */
MUST_CHECK int archive_index_unsee(struct archive_index *i, struct error *e);
MUST_CHECK int archive_index_begin(struct archive_index *i, struct error *e);
MUST_CHECK int archive_index_commit(struct archive_index *i, struct error *e);

#endif
