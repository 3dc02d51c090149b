/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the vault: vault.c opens and answers, vault_files.c knows names and file systems, vault_incoming.c an
 * upload's bytes, vault_resume.c what a start or a new call finds of them, vault_seal.c the way from incoming/
 * to exhibits/, vault_remove.c the way out. */
#ifndef COLLECTOR_VAULT_INTERNAL_H
#define COLLECTOR_VAULT_INTERNAL_H

#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "collector/vault.h"
#include "collector/vault_record.h"

#define VAULT_FILE_RECORD "exhibit.json"
#define VAULT_FILE_MANIFEST "manifest.json"
#define VAULT_FILE_SIGNATURE "manifest.sig"
#define VAULT_FILE_CHUNKS "chunks.jsonl"
#define VAULT_FILE_HOLD "hold.json"
#define VAULT_FILE_ARCHIVE "archive.json"
#define VAULT_FILE_HELD "held.json"
#define VAULT_RECORD_MAX MiB(1)
#define VAULT_OPEN_ITEMS_MAX 32
#define VAULT_LINE_MAX 768 /* of chunks.jsonl */

/* One exhibit that the vault knows. */
struct vault_entry {
	struct batch_name tenant;
	uint8_t id[VAULT_ID_LEN];
	struct vault_record record; /* info is never NULL; changed under the lock */
	bool busy; /* an upload, sealing or removal has it: nobody else touches its files */
	bool made; /* its folder is there */
	bool going; /* it is being removed: no hold any more */
	bool removal_told; /* the ledger has a leaf of its removal */
	unsigned int
		holding; /* calls that set or release its hold: it is neither removed nor forgotten */
	bool archived; /* archive.json is there */
	bool bucket_held; /* its objects in S3 are under legal hold (held.json) */
	uint64_t hold_tries; /* at telling S3 of a hold, failed or not */
	bool sealing; /* the record says sealed, the folder still lies in incoming/ */
	int64_t touched_ns; /* when something of it arrived last */
	struct vault_upload *kept; /* state of an upload between two calls; of whoever made it busy */
};

struct vault {
	struct vault_config c;
	char *dir;
	int lock_fd;
	pthread_mutex_t lock; /* of the table and what stands in it, held for copies only */
	pthread_mutex_t
		moving; /* a folder goes from incoming/ to exhibits/, or hold.json is written */
	/* Whether an object is needed is decided and done under this: by who seals, and by who removes. */
	pthread_mutex_t objects;
	struct vault_entry **at;
	size_t n, size;
	atomic_bool stopping, archives;
	bool left_out; /* since it was opened: an exhibit could not be read */
	void (*on_sealed)(void *ctx, const struct batch_name *tenant,
			  const Exhibit__V1__ExhibitInfo *info);
	void *on_sealed_ctx;
};

struct vault_item {
	char name[VAULT_NAME_MAX + 1], format[VAULT_FORMAT_MAX + 1];
	uint64_t expected_bytes;
	uint64_t taken; /* bytes so far */
	uint64_t synced; /* of them durable */
	uint64_t held; /* were here before this call */
	int fd; /* -1: not open */
	EVP_MD_CTX *md; /* over taken */
	uint32_t short_chunks; /* that had less than VAULT_CHUNK_BYTES */
	bool ended, end_synced, held_end;
	struct seal_hash hash; /* once ended */
};

struct vault_upload {
	struct vault *vault;
	struct vault_entry *entry;
	char folder[PATH_MAX]; /* incoming/ID */
	struct vault_item *items; /* number n stands at n - 1 */
	uint32_t n_items;
	uint32_t held_items;
	uint64_t bytes, unsynced;
	uint64_t max_bytes; /* of all items together, in this call; 0: no limit */
	const char *max_whose; /* whose limit that is, for a sentence */
	bool new_files; /* since the folder was synced last */
	bool broken; /* a write failed: only what is on disk counts */
	int chunks_fd;
	uint64_t chunks_len; /* that counts */
	char *lines; /* to be appended at the next sync */
	size_t n_lines, size_lines;
	char damage[512]; /* what was found damaged when it was read back; empty: nothing */
};

/* ---- vault_files.c ---- */
/* DIR/TENANT/ and what follows. -ENAMETOOLONG. */
PRINTF(3, 4)
void vault_path(const struct vault *v, char out[static PATH_MAX], const char *fmt, ...);
void vault_tenant_path(const struct vault *v, const struct batch_name *tenant,
		       char out[static PATH_MAX], const char *sub, const uint8_t *id /* or NULL */,
		       const char *leaf /* or NULL */);
/* DIR/TENANT/sha256/ab/HASH */
void vault_object_path(const struct vault *v, const struct batch_name *tenant,
		       const uint8_t hash[static SEAL_HASH_LEN], char out[static PATH_MAX]);
/* Set or clear the immutable attribute; nothing where the file system has none or we may not. */
void vault_protect(const char *path, bool on);
/* Room for len more bytes above the reserve? -ENOSPC with a sentence. */
MUST_CHECK int vault_room(const struct vault *v, uint64_t len, struct error *e);
/* The folder with all that is in it (no folders in folders), attributes cleared. 0 also when it is not there. */
MUST_CHECK int vault_remove_folder(const char *path, struct error *e);
/* Each name in a folder without leading dot; 0 when the folder is not there. Stops at fn's first non-zero. */
MUST_CHECK int vault_file_hash(const char *path, struct seal_hash *ret, struct error *e);
MUST_CHECK int vault_each_name(const char *path, int (*fn)(void *ctx, const char *name), void *ctx,
			       struct error *e);
void vault_hex(const uint8_t *data, size_t len, char *out); /* 2 * len and NUL */
MUST_CHECK bool vault_unhex(const char *text, uint8_t *out, size_t len); /* exactly len bytes */

/* ---- vault.c ---- */
struct vault_entry *vault_lookup(struct vault *v, const struct batch_name *tenant,
				 const uint8_t id[static VAULT_ID_LEN]); /* under the lock */
/* Takes the record over. -ENOSPC, -ENOMEM. Under the lock. */
MUST_CHECK int vault_add(struct vault *v, const struct batch_name *tenant,
			 const uint8_t id[static VAULT_ID_LEN], struct vault_record *record,
			 struct vault_entry **ret, struct error *e);
void vault_forget(struct vault *v, struct vault_entry *entry); /* under the lock; frees it */
int64_t vault_now(const struct vault *v);
/* Write the record as FOLDER/exhibit.json. */
MUST_CHECK int vault_record_put(const char *folder, const struct batch_name *tenant,
				const struct vault_record *r, unsigned int mode, struct error *e);
MUST_CHECK int vault_record_get(const char *folder, struct vault_record *ret, struct error *e);
/* FOLDER/hold.json; without one there is none. */
MUST_CHECK int vault_hold_get(const char *folder, bool *ret, struct error *e);

/* ---- vault_incoming.c ---- */
struct vault_upload *vault_upload_new(struct vault *v, struct vault_entry *entry);
void vault_upload_free(struct vault_upload *u); /* NULL allowed */
/* Makes incoming/ID with its record and an empty chunks.jsonl, durably. */
MUST_CHECK int vault_upload_create(struct vault_upload *u, struct error *e);
MUST_CHECK int vault_item_open(struct vault_upload *u, uint32_t item, int flags, struct error *e);
MUST_CHECK int vault_item_hash(const struct vault_item *i, struct seal_hash *ret);
struct vault_item *vault_item_add(struct vault_upload *u); /* NULL: out of memory */

/* ---- vault_resume.c ---- */
/* Read back what is durable, hash it, cut off what is not. Damage is not an error: what is whole before it
 * counts, u->damage says the rest. */
MUST_CHECK int vault_upload_load(struct vault_upload *u, struct error *e);

/* ---- vault_seal.c ---- */
/* From the record in incoming/ID (state sealed or incomplete) to exhibits/ID. Each step may have been done. */
MUST_CHECK int vault_seal_finish(struct vault *v, struct vault_entry *entry, struct error *e);
/* Without manifest, by us. Frees u. */
MUST_CHECK int vault_seal_incomplete(struct vault_upload *u, const char *reason, struct error *e);

/* ---- vault_hold.c ---- */
/* What held.json of a folder says; false: no, or there is none. */
bool vault_hold_in_bucket(const char *folder);

/* ---- vault_remove.c ---- */
MUST_CHECK int vault_remove_due(struct vault *v, struct error *e);
MUST_CHECK int vault_remove_finish(struct vault *v, const struct batch_name *tenant,
				   const uint8_t id[static VAULT_ID_LEN], struct error *e);

#endif
