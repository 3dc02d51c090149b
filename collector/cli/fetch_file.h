/* SPDX-License-Identifier: Apache-2.0 */
/* One file of a fetched exhibit: written as NAME.part, hashed on the way, renamed to NAME once its SHA-256 is
 * right. What an interrupted fetch left is hashed and gone on with. Never follows a link, never overwrites. */
#ifndef CLI_FETCH_FILE_H
#define CLI_FETCH_FILE_H

#include "collector/vault.h"

struct fetch_file;

/* dirfd: borrowed. name: valid (vault_name_valid). 0: ret is set, ret_offset is where to go on; 1: it is there
 * already, whole. -EEXIST: something else has that name. */
MUST_CHECK int fetch_file_open(int dirfd, const char *name, uint64_t bytes,
			       const uint8_t sha256[static SEAL_HASH_LEN], struct fetch_file **ret,
			       uint64_t *ret_offset, struct error *e);
/* The next bytes. -EBADMSG: more than there should be. */
MUST_CHECK int fetch_file_write(struct fetch_file *f, const uint8_t *data, size_t len,
				struct error *e);
/* All came: compare, sync, rename, make read-only. -EBADMSG: not the bytes of that hash; NAME.part is removed. */
MUST_CHECK int fetch_file_finish(struct fetch_file *f, struct error *e);
void fetch_file_free(struct fetch_file *f); /* keeps NAME.part; NULL allowed */
static inline void fetch_file_free_ptr(struct fetch_file **f)
{
	fetch_file_free(*f);
}

#endif
