/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the archive: archive.c decides when, archive_ledger.c sends a checkpoint's tree, archive_store.c segments and
 * orders. */
#ifndef COLLECTOR_ARCHIVE_INTERNAL_H
#define COLLECTOR_ARCHIVE_INTERNAL_H

#include <pthread.h>

#include "collector/archive.h"
#include "collector/archive_index.h"
#include "collector/archive_keys.h"

/* What is to be archived: made once, sent in as many tries as it takes. */
struct archive_shot {
	char *note; /* NULL: there is none */
	uint64_t size; /* of its tree */
	char orders[65]; /* SHA-256 of the orders' copy, which its last leaf names */
};

struct archive {
	struct archive_config c;
	char *store_dir, *cert_file;
	struct bucket *bucket;
	struct archive_index *index;
	char log[ARCHIVE_LOG_LEN + 1];
	struct archive_shot shot;
	uint64_t looked_ns; /* at locks to be renewed, last; monotonic */
	uint64_t since_ns; /* the last checkpoint that was archived; monotonic */
	struct queue *wake; /* closed: end */
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	struct archive_status status;
};

/* The first len bytes of fd as PREFIX key, unless they are there; noted in the index. sha256: hex, of them. */
MUST_CHECK int archive_put(struct archive *a, const char *key, int fd, uint64_t len,
			   const char *sha256, const char *group, bool renew, struct error *e);
MUST_CHECK int archive_put_bytes(struct archive *a, const char *key, const void *data, size_t len,
				 bool renew, struct error *e);
bool archive_stopping(const struct archive *a);
/* Hex SHA-256 of the first len bytes of fd. */
MUST_CHECK int archive_hash(int fd, uint64_t len, char ret[static 65], struct error *e);

/* ---- archive_ledger.c ---- */
/* Every tile that the tree of the shot has and that of `from` leaves had not; then certificate and checkpoint. */
MUST_CHECK int archive_send_tiles(struct archive *a, uint64_t from, struct error *e);
MUST_CHECK int archive_send_note(struct archive *a, struct error *e);

/* ---- archive_store.c ---- */
/* A copy of the orders at DIR/.archive/orders, with its SHA-256. 1: there are none. */
MUST_CHECK int archive_copy_orders(struct archive *a, char ret[static 65], uint64_t *ret_bytes,
				   struct error *e);
MUST_CHECK int archive_send_orders(struct archive *a, struct error *e);
MUST_CHECK int archive_send_segments(struct archive *a, struct error *e);
/* Is the segment of this group ("TENANT/ID") still here? */
MUST_CHECK bool archive_has_segment(const struct archive *a, const char *group);

#endif
