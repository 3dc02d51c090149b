/* SPDX-License-Identifier: Apache-2.0 */
/* DIR/catalog.sqlite: what would take long to learn from the segments again at each start: the state of
 * all streams, the host records and the sums of removals as of the sealed segments that it lists. Derived; when it does not fit
 * the folder it is built anew. SQLite in WAL mode, synchronous=FULL, exclusive. Writer thread only. */
#ifndef COLLECTOR_CATALOG_H
#define COLLECTOR_CATALOG_H

#include "collector/segment.h"
#include "collector/streams.h"

struct catalog;

/* Open or make. -EBADMSG: damaged or of another version (remove it and call again), -ENOMEM, -EIO. */
MUST_CHECK int catalog_open(const char *dir, struct catalog **ret_c, struct error *e);
void catalog_close(struct catalog *c); /* NULL allowed */
/* Remove the files. */
void catalog_remove(int dirfd);

MUST_CHECK int catalog_begin(struct catalog *c, struct error *e);
MUST_CHECK int catalog_commit(struct catalog *c, struct error *e);
void catalog_rollback(struct catalog *c);

MUST_CHECK int catalog_put_segment(struct catalog *c, const struct batch_name *tenant,
				   const struct segment_id *id, uint64_t bytes, struct error *e);
MUST_CHECK int catalog_remove_segment(struct catalog *c, const struct segment_id *id,
				      struct error *e);
MUST_CHECK int catalog_put_stream(struct catalog *c, const struct stream *s, struct error *e);
MUST_CHECK int catalog_remove_stream(struct catalog *c, const struct stream *s, struct error *e);
MUST_CHECK int catalog_put_record(struct catalog *c, const struct stream_host *h,
				  const struct host_record *r, struct error *e);

/* What was removed of a tenant; nothing (no segments) is not kept. */
MUST_CHECK int catalog_put_removed(struct catalog *c, const struct batch_name *tenant,
				   const struct store_removed *removed, struct error *e);

/* Each calls fn per row; a negative return of fn ends it and is returned. */
struct catalog_segment {
	struct batch_name tenant;
	struct segment_id id;
	uint64_t bytes;
};
MUST_CHECK int catalog_each_segment(struct catalog *c,
				    int (*fn)(void *ctx, const struct catalog_segment *g),
				    void *ctx, struct error *e);
struct catalog_removed {
	struct batch_name tenant;
	struct store_removed removed;
};
MUST_CHECK int catalog_each_removed(struct catalog *c,
				    int (*fn)(void *ctx, const struct catalog_removed *m),
				    void *ctx, struct error *e);
/* Everything of streams and host records into s. */
MUST_CHECK int catalog_load(struct catalog *c, struct streams *s, struct error *e);

#endif
