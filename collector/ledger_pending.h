/* SPDX-License-Identifier: Apache-2.0 */
/* Leaves on their way into a checkpoint: files that are only appended to, each group of records with one
 * fdatasync. Format: collector/README.md, "The ledger". One thread at a time. */
#ifndef COLLECTOR_LEDGER_PENDING_H
#define COLLECTOR_LEDGER_PENDING_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define PENDING_FILE_MAX MiB(256)

struct leaf {
	uint32_t len;
	uint8_t bytes[]; /* a LedgerEntry, as hashed */
};

/* A growing list of leaves, with the first one's index. */
struct leaves {
	uint64_t first;
	size_t n, max;
	uint64_t bytes;
	struct leaf **at; /* owned */
};
void leaves_release(struct leaves *l);
/* Room for n more. -ENOMEM. */
MUST_CHECK int leaves_reserve(struct leaves *l, size_t n);
void leaves_push(struct leaves *l, struct leaf *leaf); /* takes it; room was reserved */
/* Take off the first n. */
void leaves_drop(struct leaves *l, size_t n);

struct pending; /* one file, open for appending */

/* Makes DIR/pending-SEQ, durable when this returns. */
MUST_CHECK int pending_make(int dirfd, uint64_t seq, struct pending **ret, struct error *e);
void pending_close(struct pending *p); /* NULL allowed */
static inline void pending_close_ptr(struct pending **p)
{
	pending_close(*p);
}
uint64_t pending_seq(const struct pending *p);
uint64_t pending_bytes(const struct pending *p);
/* Append n leaves with indexes from first on; durable when this returns 0. After an error the file is as it was
 * (-ENOSPC), or must not be appended to again (pending_broken): then what stands behind may come to life at a
 * later start, unless a later file begins with the same index. */
MUST_CHECK int pending_append(struct pending *p, uint64_t first, struct leaf *const *leaves,
			      size_t n, struct error *e);
bool pending_broken(const struct pending *p);

/* What all files of the folder hold of the leaves from size on, in order. ret_last: the highest number of a file, 0:
 * there is none. -EBADMSG: leaves that were durable are damaged. */
MUST_CHECK int pending_read_all(int dirfd, uint64_t size, struct leaves *ret, uint64_t *ret_last,
				struct error *e);
/* Unlink the files numbered below seq. */
void pending_remove(int dirfd, uint64_t seq);

#endif
