/* SPDX-License-Identifier: Apache-2.0 */
/* A tar archive as an item, in the pax interchange format (POSIX.1-2008, pax, "pax Interchange Format"), with
 * extended attributes as SCHILY.xattr.* and holes as GNU sparse format 1.0: what GNU tar, bsdtar and Python
 * read. Ours and not libarchive's, which would bring libxml2 and ICU, 40 MB, into the agent of every host.
 * Names are bytes; they are made relative, and one with a ".." component is refused, so that an archive of a
 * hostile host unpacks below the folder that it is unpacked in. One thread. */
#ifndef ACQUIRE_TAR_H
#define ACQUIRE_TAR_H

#include <sys/stat.h>

#include "agent/acquire/output.h"

#define TAR_XATTRS_MAX 64
#define TAR_XATTR_BYTES_MAX KiB(64) /* of one value */
#define TAR_PIECES_MAX 4096 /* pieces of data between holes; past that a file is stored whole */

struct tar_xattr {
	char name[256];
	uint8_t *value; /* malloc'ed */
	size_t len;
};

struct tar_piece { /* of data */
	uint64_t offset, bytes;
};

struct tar_entry {
	const void *path; /* bytes; leading slashes are dropped */
	size_t path_len;
	const void *link; /* symbolic link: its text */
	size_t link_len;
	struct stat st; /* type, mode, owner, times, device of a device; st_size of a regular file */
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
	const struct tar_piece *pieces; /* NULL: the file has no holes */
	size_t n_pieces;
};

struct tar;

/* Begins the item. -ENOMEM and those of output_begin. */
MUST_CHECK int tar_new(struct output *o, const char *name, struct tar **ret, struct error *e);
/* Everything of an entry but its data. Regular files want tar_data until tar_left is 0. -EINVAL: a name that must
 * not be in an archive, or a kind of file that tar does not know (a socket). -ECANCELED, from tar_data too:
 * once, when the order's limits are used up; what was given is whole in the archive all the same, so that
 * tar_close_entry, a last small entry and tar_finish end it well, as long as OUTPUT_CLOSING_BYTES suffice. */
MUST_CHECK int tar_entry(struct tar *t, const struct tar_entry *entry, struct error *e);
/* Bytes of data that the entry still wants: its size, or of its pieces together. */
uint64_t tar_left(const struct tar *t);
MUST_CHECK int tar_data(struct tar *t, const void *data, size_t len, struct error *e);
/* The same with zeros that need no buffer and no way to the collector: what cannot be read between what can. */
MUST_CHECK int tar_zeros(struct tar *t, uint64_t len, struct error *e);
/* The rest as zeros (a file that shrank while it was read: the caller tells of it), and the padding. */
MUST_CHECK int tar_close_entry(struct tar *t, struct error *e);
/* The end of the archive and of the item. status: see output_end. An archive whose entry was not closed stays
 * as it is: it ends in the middle. */
MUST_CHECK int tar_finish(struct tar *t, const char *status, struct error *e);
void tar_free(struct tar *t); /* NULL allowed */
static inline void tar_free_ptr(struct tar **t)
{
	tar_free(*t);
}

/* Attributes and pieces of an open file. ret_xattrs: TAR_XATTRS_MAX; values malloc'ed (tar_xattrs_release). What
 * cannot be read is left out; returns how many, *ret_lost how many were left out. */
size_t tar_read_xattrs(int fd, struct tar_xattr *ret_xattrs, size_t *ret_lost);
void tar_xattrs_release(struct tar_xattr *xattrs, size_t n);
/* ret_pieces: TAR_PIECES_MAX. false: the file has no holes, or too many, or its file system does not tell. */
bool tar_read_pieces(int fd, uint64_t size, struct tar_piece *ret_pieces, size_t *ret_n);

#endif
