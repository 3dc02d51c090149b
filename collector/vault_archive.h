/* SPDX-License-Identifier: Apache-2.0 */
/* Copies sealed exhibits into an S3 bucket under Object Lock: items as PREFIX/TENANT/sha256/ab/HASH, then the
 * files of exhibits/ID, exhibit.json last. What was stored, with its versions, stands in archive.json. One thread
 * of its own; a server that fails is asked again, less and less often. */
#ifndef COLLECTOR_VAULT_ARCHIVE_H
#define COLLECTOR_VAULT_ARCHIVE_H

#include "collector/s3.h"
#include "collector/vault.h"

struct vault_archive_config {
	struct vault *vault; /* borrowed */
	const char *endpoint, *bucket, *region, *prefix, *access_key_file, *ca_file,
		*lock_mode; /* copied */
	uint64_t retain_days; /* of the lock, from sealing */
	uint64_t part_bytes; /* 0: the default */
	uint64_t stall_ms; /* 0: 60 s */
};

struct vault_archive;

/* Proves the lock on a canary before it returns: -ENOTSUP with a sentence where the server does not enforce it. Where
 * the server cannot be reached it starts all the same, and proves it before the first exhibit is sent. */
MUST_CHECK int vault_archive_start(const struct vault_archive_config *c, struct vault_archive **ret,
				   struct error *e);
void vault_archive_stop(struct vault_archive *a); /* NULL allowed */

#endif
