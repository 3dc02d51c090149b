/* SPDX-License-Identifier: Apache-2.0 */
/* Copies sealed exhibits into an S3 bucket under Object Lock: items as PREFIX/TENANT/sha256/ab/HASH, then the
 * files of exhibits/ID, exhibit.json last. What was stored, with its versions, stands in archive.json. One thread
 * of its own; a server that fails is asked again, less and less often. A legal hold on an archived exhibit is set on
 * its objects too, and taken off them. */
#ifndef COLLECTOR_VAULT_ARCHIVE_H
#define COLLECTOR_VAULT_ARCHIVE_H

#include "collector/bucket.h"
#include "collector/vault.h"

struct vault_archive_config {
	struct vault *vault; /* borrowed */
	struct bucket_config bucket; /* retain_days: of the lock, from sealing */
	/* After each exhibit or hold that went to S3, from the archive's thread; may be NULL. */
	void (*on_archived)(void *ctx);
	void *ctx;
};

struct vault_archive;

/* Proves the lock on a canary before it returns: -ENOTSUP with a sentence where the server does not enforce it. Where
 * the server cannot be reached it starts all the same, and proves it before the first exhibit is sent. */
MUST_CHECK int vault_archive_start(const struct vault_archive_config *c, struct vault_archive **ret,
				   struct error *e);
/* What waits, and why the last try failed ("": it did not). Any thread. */
struct vault_archive_status {
	uint64_t waiting, holds_waiting;
	char why[ERROR_TEXT_MAX];
};
void vault_archive_status(struct vault_archive *a, struct vault_archive_status *ret);
void vault_archive_stop(struct vault_archive *a); /* NULL allowed */

#endif
