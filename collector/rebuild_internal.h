/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the rebuild, in the order of its steps: rebuild.c, rebuild_ledger.c (checkpoint, tiles), rebuild_leaves.c (what
 * the ledger says there must be), rebuild_store.c (segments, orders), rebuild_vault.c (exhibits), rebuild_begin.c (the
 * ledger goes on). One thread. */
#ifndef COLLECTOR_REBUILD_INTERNAL_H
#define COLLECTOR_REBUILD_INTERNAL_H

#include <limits.h>

#include "collector/archive_index.h"
#include "collector/archive_keys.h"
#include "collector/bucket.h"
#include "collector/ledger.h"
#include "collector/rebuild.h"
#include "collector/server.h"
#include "collector/vault.h"
#include "collector/vault_parts.h"
#include "proto/authorities.h"

#define REBUILD_EXHIBITS_MAX VAULT_EXHIBITS_MAX

/* One exhibit, as leaves say. */
struct rebuild_exhibit {
	struct batch_name tenant;
	uint8_t id[VAULT_ID_LEN];
	bool leaf, removed, held, found;
	uint64_t index; /* of the leaf of its sealing */
	uint8_t object[SEAL_HASH_LEN];
	char by[256], reason[1024]; /* of the newest hold */
	int64_t held_ns;
};

struct rebuild {
	const struct collector_config *c;
	char ledger_dir[SERVER_PATH_MAX], vault_dir[VAULT_DIR_MAX];
	struct bucket *bucket;
	struct archive_index *index;
	struct authorities *authorities;
	uint64_t faults, lost, later;
	/* The checkpoint that is rebuilt from. */
	char log[ARCHIVE_LOG_LEN + 1];
	char *note;
	struct checkpoint checkpoint;
	struct note_key key; /* that signed it */
	/* What its leaves say. */
	void *exhibits; /* tsearch: struct rebuild_exhibit */
	void *removed_segments; /* tsearch: char *, "TENANT/ID" */
	void *orders; /* tsearch: struct rebuild_order */
	uint8_t orders_copy[SEAL_HASH_LEN];
	bool has_orders;
	uint64_t n_segments, n_exhibits, n_orders;
};

struct rebuild_order {
	uint8_t hash[SEAL_HASH_LEN];
	uint64_t index;
	bool found;
};

/* One line on standard output, counted: what: "damaged", "lost", "later". */
PRINTF(3, 4)
void rebuild_say(struct rebuild *b, const char *what, const char *fmt, ...);

/* An object as a file: each of its versions, the oldest first, until one is good: it has this SHA-256 (hex; NULL: any)
 * and check agrees (NULL: as above; 0 or -EBADMSG). ret: what was taken (may be NULL). -ENOENT: there is none;
 * -EBADMSG: none is good; the last one stays at PATH when keep. */
struct rebuild_get {
	const char *key; /* below the prefix */
	const char *path;
	const char *sha256;
	unsigned int mode;
	bool keep;
	int (*check)(void *ctx, const char *path, struct error *e);
	void *ctx;
};
struct rebuild_got {
	char version[S3_WORD_MAX], sha256[65];
	uint64_t size;
};
MUST_CHECK int rebuild_fetch(struct rebuild *b, const struct rebuild_get *get,
			     struct rebuild_got *ret, struct error *e);
/* Each version of each object below prefix (which is below the bucket's), with the key below the bucket's prefix. */
MUST_CHECK int rebuild_each(struct rebuild *b, const char *prefix,
			    int (*fn)(void *ctx, const struct s3_version *v, struct error *e),
			    void *ctx, struct error *e);
/* The folders that path lies in. */
MUST_CHECK int rebuild_folders(const char *path, struct error *e);
void rebuild_hex(const uint8_t *data, size_t len, char *out);

/* ---- the steps ---- */
MUST_CHECK int rebuild_ledger(struct rebuild *b, struct error *e);
MUST_CHECK int rebuild_leaves(struct rebuild *b, struct error *e);
void rebuild_leaves_free(struct rebuild *b);
struct rebuild_exhibit *rebuild_exhibit_of(struct rebuild *b, const struct batch_name *tenant,
					   const uint8_t id[static VAULT_ID_LEN]);
MUST_CHECK int rebuild_segments(struct rebuild *b, struct error *e);
MUST_CHECK int rebuild_orders(struct rebuild *b, struct error *e);
MUST_CHECK int rebuild_vault(struct rebuild *b, struct error *e);
/* Opens ledger and store, says from what they were rebuilt, gives leaves to what came later. */
MUST_CHECK int rebuild_begin(struct rebuild *b, struct error *e);

#endif
