/* SPDX-License-Identifier: Apache-2.0 */
/* Files into an exhibit: each an entry of NAME.tar with all that the file system knows of it, and a line of
 * NAME.jsonl with its hash and what was wrong. Reading leaves no trace: access times stay as they were,
 * but for symbolic links, which the kernel lets nobody read without. */
#ifndef ACQUIRE_FILE_SINK_H
#define ACQUIRE_FILE_SINK_H

#include "agent/acquire/tar.h"

struct file_sink;

struct file_sink_counts {
	uint64_t files, bytes; /* taken: entries of any kind; data read */
	uint64_t failed, changed; /* not taken; taken while they changed */
};

/* Begins both items. */
MUST_CHECK int file_sink_new(struct output *o, const char *name, struct file_sink **ret,
			     struct error *e);
/* Take what path_fd (O_PATH or not) stands for. path, len: bytes, its name in archive and table. why: a word for
 * the table ("deleted", "whiteout"), or NULL. A file that cannot be read is told of in the table and is no
 * failure; -ECANCELED: the order's limits are used up, finish. */
MUST_CHECK int file_sink_take(struct file_sink *s, int path_fd, const void *path, size_t len,
			      const char *why, struct error *e);
/* Something that is not there, or could not be looked at. */
MUST_CHECK int file_sink_miss(struct file_sink *s, const void *path, size_t len, const char *reason,
			      struct error *e);
struct file_sink_counts file_sink_counts(const struct file_sink *s);
/* Ends both items and notes what was counted. canceled: why it ends early (an -ECANCELED before, or a failure), or
 * NULL. */
MUST_CHECK int file_sink_finish(struct file_sink *s, const char *canceled, struct error *e);
void file_sink_free(struct file_sink *s); /* NULL allowed */
static inline void file_sink_free_ptr(struct file_sink **s)
{
	file_sink_free(*s);
}

#endif
