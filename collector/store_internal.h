/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share. Who may touch what: the writer thread reads everything without the
 * lock and changes what others read (tenants, segments, streams, tables of open segments) under it;
 * other threads read under the lock, for copies only. */
#ifndef COLLECTOR_STORE_INTERNAL_H
#define COLLECTOR_STORE_INTERNAL_H

#include "collector/catalog.h"
#include "collector/cut_off.h"
#include "collector/durable_mark.h"
#include "collector/segment_writer.h"
#include "collector/store.h"
#include "collector/streams.h"

#include <pthread.h>
#include <stdatomic.h>

#define STORE_TENANTS_MAX 1024
#define STORE_TENANT_LEN_MAX 200
#define STORE_FROZEN_MAX 8 /* segments abandoned since the start: then the disk is taken for dead */
#define STORE_RETENTION_CLASS 1

enum segment_state {
	SEGMENT_WRITING,
	SEGMENT_FROZEN, /* abandoned: read from memory's table, sealed at the next start */
	SEGMENT_SEALED,
};

enum index_state {
	INDEX_GOOD,
	INDEX_DAMAGED /* to be built again */,
	INDEX_LOST /* that failed */
};

struct segment {
	struct tenant *tenant;
	struct segment_id id;
	uint64_t sequence;
	enum segment_state state;
	int64_t created_ns;
	struct segment_writer *writer; /* not sealed */
	struct index_summary summary; /* sealed */
	atomic_int index; /* enum index_state; set by any thread */
	bool removed; /* a durable retention record says so */
};

struct tenant {
	struct batch_name name;
	int dirfd;
	struct segment **segments; /* by sequence */
	size_t n_segments, max_segments;
	struct segment *open; /* the one being written, or NULL */
	struct segment_id last_id; /* newest segment ever: the next one names it */
	struct seal_hash last_root; /* zero: not known */
	uint64_t last_length; /* of an abandoned one; else 0 */
	bool seal_now; /* sealing failed or is due */
	struct cut_off_totals cut_off; /* changed under the lock */
	uint64_t damaged; /* places of open segments that the start found damaged */
	struct store_removed removed;
};

struct store {
	struct store_config c;
	char *dir;
	int dirfd, lockfd;
	pthread_rwlock_t lock;
	struct tenant **tenants;
	size_t n_tenants;
	struct streams *streams;
	struct catalog *catalog; /* NULL: broken, built again at the next start */
	unsigned int frozen; /* segments abandoned since the start */
};

/* store.c */
/* Folder, lock, nothing loaded yet. */
MUST_CHECK int store_open_locked(const struct store_config *c, struct store **ret_s,
				 struct error *e);
struct tenant *store_tenant(const struct store *s, const struct batch_name *name);
MUST_CHECK bool store_tenant_valid(const struct batch_name *name);
/* Find, or make folder and entry. -EDQUOT, -ENOMEM, -EIO, -ENOSPC. */
MUST_CHECK int store_tenant_get(struct store *s, const struct batch_name *name, struct tenant **ret,
				struct error *e);
/* Room for one more segment in the list. */
MUST_CHECK int tenant_reserve(struct store *s, struct tenant *t);
/* Put a segment in its place in the list (room was reserved; takes it). */
void tenant_add(struct store *s, struct tenant *t, struct segment *g);
struct segment *tenant_segment(const struct tenant *t, const struct segment_id *id);
void segment_free(struct segment *g);
void store_ref_make(const struct segment *g, const struct row *row, const struct stream_key *k,
		    struct store_ref *ret);
/* The catalog failed: forget it, say so once. */
void store_drop_catalog(struct store *s, const struct error *why);

/* store_append.c */
/* The tenant's open segment, begun or changed when need be. -EIO, -ENOSPC, -ENOMEM. */
MUST_CHECK int tenant_open_segment(struct store *s, struct tenant *t, int64_t now_ns,
				   struct segment **ret, struct error *e);
/* Write frames to it; on -EIO it is abandoned. */
MUST_CHECK int tenant_write(struct store *s, struct tenant *t, struct frame *frames, size_t n,
			    struct error *e);
MUST_CHECK int tenant_seal(struct store *s, struct tenant *t, struct error *e);
/* -ENOSPC when fewer than reserve + bytes are free. */
MUST_CHECK int store_room(const struct store *s, uint64_t bytes, struct error *e);

/* store_twins.c */
enum twin { TWIN_NONE, TWIN_SAME, TWIN_OTHER, TWIN_TOO_MANY };
/* What is stored under a row's stream and number. -EBADMSG: an index is damaged. */
MUST_CHECK int store_twin(struct store *s, const struct stream *stream, const struct row *row,
			  enum twin *ret, struct error *e);

/* store_read.c: the body of a frame of g. -ENOENT: the file is gone. */
MUST_CHECK int segment_body(const struct segment *g, uint64_t offset, enum frame_kind kind,
			    uint8_t **ret_body, size_t *ret_len, struct error *e);

/* segment_load.c: everything of a segment file, into a table. */
struct segment_load {
	const struct store_config *c; /* for tokenize */
	const struct batch_name *tenant;
	struct segment_id id;
	int fd;
	bool open; /* being written: a torn tail is cut off; otherwise it is damage */
	/* Results. */
	struct segment_table table;
	struct segment_begin begin;
	struct segment_writer *writer; /* when writer_dirfd >= 0: it has seen all leaves */
	int writer_dirfd;
	uint64_t length; /* up to the last whole frame before FRAME_END, or before the torn tail; what is
			  * damaged there and was durable is kept in its place */
	struct durable_mark durable; /* of an open one */
	uint64_t end_offset; /* of FRAME_END; 0: none */
	struct segment_end end;
	struct seal_hash sha256; /* of the whole file; not when open */
	uint32_t frames, ordinal;
	unsigned int damaged; /* places */
	bool complete; /* FRAME_END and trailer are there */
};
MUST_CHECK int segment_load(struct segment_load *l, uint64_t size, struct error *e);
void segment_load_release(struct segment_load *l);

/* store_load.c */
/* Everything in the folder: tenants, segments, streams, catalog. */
MUST_CHECK int store_load(struct store *s, struct error *e);
/* fn for every tenant's folder. */
MUST_CHECK int store_each_tenant(struct store *s,
				 int (*fn)(void *ctx, struct tenant *t, struct error *e), void *ctx,
				 struct error *e);
/* Unlink catalog and indexes: store_load builds them again. */
MUST_CHECK int store_forget_derived(struct store *s, struct error *e);

/* store_catalog.c */
MUST_CHECK int store_load_catalog(struct store *s, struct error *e);

/* store_replay.c */
MUST_CHECK int store_replay_sealed(struct store *s, struct segment *g, struct error *e);
MUST_CHECK int store_replay_table(struct store *s, struct segment *g, struct error *e);

/* store_index.c */
/* Rebuild a sealed segment's index file and g->summary from its bytes. */
MUST_CHECK int store_rebuild_index(struct store *s, struct segment *g, struct error *e);

/* retention.c */
/* A retention record is durable in the segment with this sequence: what it says of streams and of the
 * segment that it removes. */
MUST_CHECK int retention_apply(struct store *s, struct tenant *t, const uint8_t *body, size_t len,
			       uint64_t segment, struct error *e);
/* Unlink what retention records say is removed. */
MUST_CHECK int retention_finish(struct store *s, struct error *e);

#endif
