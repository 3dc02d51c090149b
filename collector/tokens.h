/* SPDX-License-Identifier: Apache-2.0 */
/* What of a batch the index knows: 64-bit hashes of (family, canonical value). Pure functions. */
#ifndef COLLECTOR_TOKENS_H
#define COLLECTOR_TOKENS_H

#include "proto/base/arena.h"
#include "proto/batch.h"

/* Of what is indexed. An index of an older one is built again: what it never knew would be missed. */
#define TOKENS_VERSION 2

enum token_family {
	TOKEN_IP = 1, /* 4 or 16 bytes; IPv4-mapped as 4 */
	TOKEN_PORT, /* 2 bytes, little-endian */
	TOKEN_PATH, /* file.path, file.target_path, exhibit.file.old_path, exhibit.exec.filename, executables */
	TOKEN_ENTITY, /* boot id, pid, start, exec id of the event's process */
	TOKEN_PARENT, /* the same of its parent */
	TOKEN_PID, /* 4 bytes, little-endian */
	TOKEN_NAME, /* process.name */
	TOKEN_CONTAINER,
	TOKEN_ACTION, /* 4 bytes, little-endian */
	TOKEN_USER, /* uid, 4 bytes, little-endian */
	TOKEN_POD, /* its name, without the namespace */
	TOKEN_NAMESPACE, /* of pods */
	TOKEN_IMAGE, /* container.image.name, whole */
};

uint64_t token_hash(enum token_family family, const void *value, size_t len);
/* All tokens of an opened batch, sorted, without duplicates, in arena a; store_config.tokenize.
 * -EBADMSG: an entry that does not parse as Entry, more than STORE_TOKENS_MAX. */
MUST_CHECK int tokens_extract(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
			      struct arena *a, uint64_t **ret_tokens, size_t *ret_n,
			      struct error *e);

#endif
