/* SPDX-License-Identifier: Apache-2.0 */
/* What a collector needs to be the same collector again goes to the bucket, under lock: the ledger's tiles and a signed
 * checkpoint, the segments as far as they are durable, a copy of the orders. The checkpoint goes last: where it lies,
 * all of its tree lies. Exhibits are vault_archive.h's. Layout: README.md "The archive". One thread of its own, which
 * nobody waits for; a server that fails is asked again, less and less often. */
#ifndef COLLECTOR_ARCHIVE_H
#define COLLECTOR_ARCHIVE_H

#include "collector/bucket.h"
#include "collector/ledger.h"
#include "collector/store.h"

struct archive_config {
	struct bucket_config
		bucket; /* retain_days: of locks, renewed while what they lock is needed */
	const char *store_dir; /* copied, as the next */
	const char *cert_file; /* the ledger's certificate */
	struct ledger *ledger; /* borrowed, as the next */
	struct store *store;
	uint64_t age_ms; /* of a leaf that is not archived, at most */
	uint64_t leaves; /* that are not archived, at most */
	bool segments; /* the segments too */
};

struct archive;

/* Nothing is sent before this returns. */
MUST_CHECK int archive_start(const struct archive_config *c, struct archive **ret, struct error *e);
/* Have a checkpoint archived now. Any thread. NULL allowed. */
void archive_poke(struct archive *a);
void archive_stop(struct archive *a); /* NULL allowed */

struct archive_status {
	uint64_t size; /* leaves of the newest archived checkpoint */
	int64_t at_ns; /* when it was; 0: never */
	char why[ERROR_TEXT_MAX]; /* the last try failed; "": it did not */
};
/* Any thread. */
void archive_status(struct archive *a, struct archive_status *ret);

#endif
