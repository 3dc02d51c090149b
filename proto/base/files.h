/* SPDX-License-Identifier: Apache-2.0 */
/* Whole small files, durable replacement, directories. Any thread. */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include "proto/base/base.h"
#include "proto/base/error.h"

/* Read a whole file of at most max bytes. ret_data: malloc'ed, terminated by a NUL that ret_len does
 * not count. -EFBIG when it is longer. Works on /proc (no size known). */
MUST_CHECK int files_read(const char *path, size_t max, uint8_t **ret_data, size_t *ret_len,
			  struct error *e);
MUST_CHECK int files_read_at(int dirfd, const char *path, size_t max, uint8_t **ret_data,
			     size_t *ret_len, struct error *e);
/* The same from a file that is open; name: in sentences. fd stays the caller's. */
MUST_CHECK int files_read_fd(int fd, const char *name, size_t max, uint8_t **ret_data,
			     size_t *ret_len, struct error *e);
/* Replace path by data: temporary file in the same folder, fsync, rename, fsync of the folder. */
MUST_CHECK int files_replace(const char *path, const void *data, size_t len, unsigned int mode,
			     struct error *e);
/* write(2) until all is written; EINTR is retried. */
MUST_CHECK int files_write_all(int fd, const void *data, size_t len, struct error *e);
/* mkdir -p; each new folder gets mode, and its name is durable. */
MUST_CHECK int files_mkdirs(const char *path, unsigned int mode, struct error *e);
MUST_CHECK int files_sync_dir(const char *path, struct error *e);

#endif
