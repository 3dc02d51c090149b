/* SPDX-License-Identifier: Apache-2.0 */
/* The vault: exhibits as they arrive, sealed, held, disposed of. What it holds is raw bytes in files named
 * after their SHA-256, so that sha256sum checks them. Layout and formats: collector/README.md "Vault".
 *
 * Any thread, but for an upload, which belongs to the thread that began it. What a call reported as durable
 * survives a kill and a loss of power. */
#ifndef COLLECTOR_VAULT_H
#define COLLECTOR_VAULT_H

#include "exhibit.pb-c.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"
#include "proto/seal.h"
#include "service.pb-c.h"

#define VAULT_ID_LEN 16
#define VAULT_ID_TEXT (2 * VAULT_ID_LEN + 1)
#define VAULT_CHUNK_BYTES MiB(1)
#define VAULT_MANIFEST_MAX MiB(1)
#define VAULT_SHORT_MAX 524288 /* chunks of an item with fewer bytes: three days of two a second */
#define VAULT_ITEMS_MAX 256 /* of one exhibit */
#define VAULT_NAME_MAX 128 /* of an item */
#define VAULT_FORMAT_MAX 32
#define VAULT_TEXT_MAX 255 /* case, requester */
#define VAULT_EXHIBITS_MAX 65536
#define VAULT_PER_ORDER_MAX 8 /* exhibits of one order and host */
/* What a host may bring above its order's limit: side tables, and the segment in which the limit was reached. */
#define VAULT_ABOVE_ORDER MiB(8)

struct vault;

struct vault_config {
	const char *dir; /* copied; made when it is not there */
	uint64_t reserve_bytes; /* nothing is written when the file system has less left */
	uint64_t exhibit_bytes; /* the most of one exhibit; 0: no limit */
	uint64_t retain_ms; /* from sealing; 0: for ever */
	uint64_t abandon_ms; /* an upload nobody goes on with is sealed as incomplete; 0: never */
	bool immutable; /* set the file system's immutable attribute where it has it and we may */
	int64_t (*now)(void); /* Unix time in ns */
	/* Append one leaf; durable when it returns 0. Called from any thread, never with a lock held. */
	int (*ledger)(void *ctx, const Exhibit__V1__LedgerEntry *entry, uint64_t *ret_index,
		      struct error *e);
	void *ledger_ctx;
};

/* Opens, makes, recovers: what was being sealed is sealed, what was being removed is removed, what was
 * arriving waits for its agent. -EBUSY: another process has it. */
MUST_CHECK int vault_open(const struct vault_config *c, struct vault **ret, struct error *e);
void vault_close(struct vault *v); /* no upload may be open; NULL allowed */
/* Told of each exhibit that is sealed from now on, without a lock. One listener each; before uploads begin. */
void vault_on_sealed(struct vault *v,
		     void (*fn)(void *ctx, const struct batch_name *tenant,
				const Exhibit__V1__ExhibitInfo *info),
		     void *ctx);
/* Abandoned uploads are sealed, exhibits past their time removed. Call every few seconds, from one thread.
 * Failures are logged. */
void vault_tick(struct vault *v);
/* Sets how long a stop of vault_tick's long work takes: it returns soon after. */
void vault_stop(struct vault *v);

/* ---- an exhibit on its way in ------------------------------------------------------------------------- */

/* An order as the collector forwarded it. */
struct vault_order {
	Exhibit__V1__OrderKind kind;
	struct batch_name case_id, requester;
	uint64_t max_bytes; /* of an exhibit, as the order says; 0: no word of it */
	bool over; /* its host said that nothing more comes of it: no exhibit is begun, one that was goes on */
};

struct vault_begin {
	struct batch_name tenant, host_id, host_name;
	struct vault_order order;
	uint8_t order_id[VAULT_ID_LEN], exhibit_id[VAULT_ID_LEN];
};

struct vault_durable {
	uint32_t item; /* all before are whole */
	uint64_t offset; /* of this one */
};

struct vault_receipt {
	struct seal_hash manifest;
	uint64_t ledger_index;
};

struct vault_upload;

/* Begin, or go on where it stopped. 0: ret is set; 1: the exhibit is sealed already, ret_receipt is set.
 * -EBUSY: another call uploads it; -EACCES: it is another host's or order's, or new and its order is over; -ENOSPC: room or a bound used up;
 * -EIO. Cost of going on after a restart: reading back what is there, to hash it. */
MUST_CHECK int vault_upload_begin(struct vault *v, const struct vault_begin *b,
				  struct vault_upload **ret, struct vault_receipt *ret_receipt,
				  struct error *e);
/* -EBADMSG: the message is out of place or out of bounds, one sentence; the call ends, what is durable stays. */
MUST_CHECK int vault_upload_item(struct vault_upload *u, uint32_t item, const void *name,
				 size_t name_len, const void *format, size_t format_len,
				 uint64_t expected_bytes, struct error *e);
/* raw: len bytes, or NULL for len zeros. sha256: of the raw bytes, as the host says; compared. */
MUST_CHECK int vault_upload_chunk(struct vault_upload *u, uint32_t item, uint64_t offset,
				  const void *raw, size_t len, const struct seal_hash *sha256,
				  struct error *e);
/* A whole item: its length and hash as the host says must be what is here, else -EBADMSG. */
MUST_CHECK int vault_upload_end(struct vault_upload *u, uint32_t item, uint64_t bytes,
				const struct seal_hash *sha256, struct error *e);
/* Bytes taken since the last sync; not 0 when anything was. */
uint64_t vault_upload_unsynced(const struct vault_upload *u);
/* Everything so far is durable when this returns 0. */
MUST_CHECK int vault_upload_sync(struct vault_upload *u, struct vault_durable *ret,
				 struct error *e);
/* Seal it with this manifest, whose signature was verified. What the manifest says and what arrived are
 * compared: where they differ the exhibit is sealed as incomplete, with the reason. Ends the upload whether
 * it fails or not; after a failure it can be begun again. */
MUST_CHECK int vault_upload_seal(struct vault_upload *u, const void *manifest, size_t len,
				 const uint8_t signature[static SEAL_SIGNATURE_LEN],
				 const uint8_t key_id[static SEAL_KEY_ID_LEN],
				 struct vault_receipt *ret, struct error *e);
/* The call is over; what is durable waits for the next. NULL allowed. */
void vault_upload_leave(struct vault_upload *u);

/* ---- exhibits that are here ------------------------------------------------------------------------------ */

struct vault_question {
	struct batch_name tenant;
	const uint8_t *exhibit_id, *order_id; /* NULL: any */
	struct batch_name case_id; /* empty: any */
};

/* Each that matches, oldest first, packed as ExhibitInfo. ret: malloc'ed buffers in a malloc'ed array. */
struct vault_packed {
	uint8_t *data;
	size_t len;
};
MUST_CHECK int vault_find(struct vault *v, const struct vault_question *q,
			  struct vault_packed **ret, size_t *ret_n, struct error *e);
void vault_packed_free(struct vault_packed *p, size_t n);
/* One of them, unpacked (exhibit__v1__exhibit_info__free_unpacked). -ENOENT. */
MUST_CHECK int vault_get(struct vault *v, const struct batch_name *tenant,
			 const uint8_t id[static VAULT_ID_LEN], Exhibit__V1__ExhibitInfo **ret,
			 struct error *e);
/* An item's bytes, open for reading; it stays readable when the exhibit is removed meanwhile. -ENOENT. */
MUST_CHECK int vault_open_item(struct vault *v, const struct batch_name *tenant,
			       const uint8_t id[static VAULT_ID_LEN], const void *name, size_t len,
			       int *ret_fd, Exhibit__V1__ItemInfo **ret_info, struct error *e);
/* ret: unpacked, with malloc'ed members. -ENOENT: sealed without one. */
MUST_CHECK int vault_manifest(struct vault *v, const struct batch_name *tenant,
			      const uint8_t id[static VAULT_ID_LEN],
			      Exhibit__V1__SignedManifest **ret, struct error *e);
/* Legal hold on or off, by whom and why; a ledger leaf first. 0 also when it is so already. */
MUST_CHECK int vault_hold(struct vault *v, const struct batch_name *tenant,
			  const uint8_t id[static VAULT_ID_LEN], bool hold, const char *subject,
			  const void *reason, size_t reason_len, struct error *e);
/* Somebody is about to get bytes of it: a leaf. object: SHA-256 of the item or the manifest. */
MUST_CHECK int vault_fetched(struct vault *v, const struct batch_name *tenant,
			     const Exhibit__V1__ExhibitInfo *info, const char *subject,
			     const ProtobufCBinaryData *object, uint64_t size, const char *text,
			     struct error *e);
/* Copied into dir/exhibits/ID/archive.json by whoever archives (vault_archive.h). */
MUST_CHECK int vault_archived(struct vault *v, const struct batch_name *tenant,
			      const uint8_t id[static VAULT_ID_LEN], const char *json, size_t len,
			      struct error *e);

/* The oldest sealed exhibit without archive.json, behind so many that are older. ret_info: unpacked, the caller's. false: none. */
MUST_CHECK bool vault_unarchived(struct vault *v, size_t skip, struct batch_name *ret_tenant,
				 Exhibit__V1__ExhibitInfo **ret_info);
/* How many sealed exhibits are not archived, and how many archived ones wait for S3 to take their legal hold. Any
 * thread. */
void vault_waiting(struct vault *v, uint64_t *ret_exhibits, uint64_t *ret_holds);
/* Legal holds to S3: each archived exhibit whose objects do not have the hold that it has. Whatever the server refuses is
 * noted with its exhibit and tried again by the next call; the first error is returned. stop: ends it when closed. The
 * archive's thread. */
struct bucket;
struct queue;
MUST_CHECK int vault_hold_waiting(struct vault *v, struct bucket *b, struct queue *stop,
				  struct error *e);
/* Wait, at most ms, until S3 has the hold of this exhibit or refused it. Any thread. */
void vault_hold_settle(struct vault *v, const struct batch_name *tenant,
		       const uint8_t id[static VAULT_ID_LEN], unsigned int ms);
/* From now on retention removes nothing that is not archived, and holds go to S3 too. */
void vault_keep_unarchived(struct vault *v);

struct vault_totals {
	uint64_t exhibits, arriving, incomplete, held, bytes;
};
void vault_totals(struct vault *v, struct vault_totals *ret);

struct vault_keys;
/* Offline: re-read everything. keys: of the hosts, that manifests are verified with
 * (NULL: there is no store to have them from, a signature is only measured). report: once per fault, with
 * object and byte range. ret_faults: 0 intact. -ENOENT: there is no vault. */
MUST_CHECK int vault_check(const char *dir, const struct vault_keys *keys,
			   void (*report)(void *ctx, const char *sentence), void *ctx,
			   uint64_t *ret_faults, struct error *e);

const char *vault_id_text(const uint8_t id[static VAULT_ID_LEN], char buf[static VAULT_ID_TEXT]);
MUST_CHECK bool vault_id_parse(const char *text, uint8_t ret[static VAULT_ID_LEN]);
/* [A-Za-z0-9._-], 1..VAULT_NAME_MAX, no leading dot. */
MUST_CHECK bool vault_name_valid(const void *name, size_t len);
/* A name that a fetched or exported exhibit needs for itself: manifest.json, SHA256SUMS, *.part, ... */
MUST_CHECK bool vault_name_reserved(const void *name, size_t len);

#endif
