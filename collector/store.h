/* SPDX-License-Identifier: Apache-2.0 */
/* The collector's store: segments of signed batches byte for byte, with a catalog and a sorted token
 * index beside them that can be rebuilt. Format: collector/README.md "segments".
 *
 * Layout: DIR/lock, DIR/catalog.sqlite (derived), DIR/TENANT/open-ID.seg (one being written for each
 * tenant; ID.tok beside it, derived), DIR/TENANT/ID.seg (sealed, mode 0444), ID.idx (derived).
 *
 * Threads: store_put, store_idle and store_retain belong to the one writer thread. store_find,
 * store_read, store_streams, store_removed, store_hosts and store_totals may be called by any number of
 * query threads meanwhile (a reader-writer lock inside, held for copies only, never across I/O of the
 * writer). */
#ifndef COLLECTOR_STORE_H
#define COLLECTOR_STORE_H

#include "proto/base/arena.h"
#include "proto/batch.h"

#define STORE_TOKENS_MAX 65536 /* of one batch */
#define STORE_PUT_MAX 256 /* items in one group commit */

enum store_kind {
	STORE_BATCH = 1,
	STORE_TOMBSTONE = 2,
	STORE_HOST_RECORD = 3,
	STORE_RETENTION = 4
};

enum store_result {
	STORE_STORED = 1,
	STORE_DUPLICATE, /* same key, same header hash: already durable, to be acknowledged */
	STORE_CONFLICT, /* same key, another header hash: kept as well, shown, alarm */
	STORE_REFUSED, /* a bound of this host is used up (STORE_*_MAX below): not stored, never to be
			* acknowledged, the rest of the group is not concerned */
};

#define STORE_HOLES_MAX                                                                            \
	256 /* per stream; past it the oldest missing numbers are taken for lost (a chain break) */
#define STORE_STREAMS_MAX 4096 /* per host */
#define STORE_HOST_RECORDS_MAX 64 /* different ones per host */
#define STORE_CONFLICTS_MAX 64 /* other batches kept under one key */

struct store_item {
	enum store_kind kind;
	const uint8_t *bytes; /* SignedBatch, SignedTombstone or SignedHostRecord as received */
	size_t len;
	int64_t received_ns;
	const struct batch_view *view; /* STORE_BATCH: parsed and verified */
	const struct batch_tombstone *tombstone; /* STORE_TOMBSTONE: verified */
	const struct batch_name *tenant, *host_id; /* STORE_HOST_RECORD */
	const uint64_t *tokens; /* STORE_BATCH: sorted, without duplicates */
	size_t n_tokens;
	enum store_result result; /* set by store_put */
};

/* Where a batch lies and what its header says of it; a copy, valid as long as the caller likes. The
 * segment may be removed by retention meanwhile: store_read then says -ENOENT. */
struct store_ref {
	uint8_t segment[16];
	uint64_t offset;
	uint32_t len;
	enum store_kind kind; /* STORE_BATCH or STORE_TOMBSTONE */
	struct batch_name tenant, host_id;
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	enum batch_lane lane;
	bool conflict; /* not the first with its key */
	/* Of a tombstone: number is the first dropped one, the sequences span all, count is how many
	 * events were dropped and gaps how many numbers. */
	uint64_t number, first_sequence, last_sequence;
	uint32_t count, gaps;
	int64_t first_wall_ns, last_wall_ns; /* of its events; of sealing when it has none */
	int64_t offset_ns; /* wall minus boottime */
	int64_t received_ns;
};

struct store_config {
	const char *dir;
	uint64_t segment_bytes; /* seal the open segment at this size; 0: 64 MiB */
	uint64_t segment_age_ms; /* or this age; 0: 10 minutes */
	uint64_t reserve_bytes; /* refuse to write when the file system has less left */
	uint64_t retain_bytes; /* 0: no limit; whole sealed segments, oldest first */
	uint64_t retain_ms; /* 0: no limit; by the newest receipt in the segment, not by hosts' clocks */
	struct seal_key *ledger_key; /* signs retention records; borrowed */
	/* Tokens of an opened batch, for reindex. ret_tokens in arena a, sorted, no duplicates. */
	int (*tokenize)(const struct batch_header *h, const uint8_t *raw, size_t raw_len,
			struct arena *a, uint64_t **ret_tokens, size_t *ret_n, struct error *e);
	/* After a put is durable, on the writer thread, once per STORED or CONFLICT batch. May be NULL. */
	void (*on_stored)(void *ctx, const struct store_ref *ref, const struct store_item *item);
	/* After a frame of one of the four kinds is durable, whether or not the call that brought it succeeds as
	 * a whole; on the writer thread. May be NULL. */
	void (*on_frame)(void *ctx, enum store_kind kind, const struct batch_name *tenant,
			 const uint8_t *body, size_t len);
	void *ctx;
	/* For check: does this frame have a leaf in the ledger? May be NULL. */
	bool (*has_leaf)(void *ctx, enum store_kind kind, const struct batch_name *tenant,
			 const uint8_t *body, size_t len);
	void *has_leaf_ctx;
};

struct store;

/* Opens, makes, recovers (cuts a torn tail of an open segment; sealed ones are checked by size and
 * footer only), rebuilds catalog or indexes that are missing or older than their segment.
 * -EBUSY: another collector holds the folder. */
MUST_CHECK int store_open(const struct store_config *c, struct store **ret_s, struct error *e);
/* Seals nothing: the open segments go on at the next start. */
void store_close(struct store *s);

/* Append n items as one group, durable when this returns 0: each item's result is set. On an error
 * nothing of the group may be acknowledged: -ENOSPC (reserve reached), -ENOMEM, -EIO. With items of
 * several tenants some may have been stored all the same; sent again they are duplicates. After -EIO
 * the segment is abandoned (kept, read up to its last durable frame) and the next put begins a new
 * one. Cost: one pwritev and one fdatasync per tenant in the group. */
MUST_CHECK int store_put(struct store *s, struct store_item *items, size_t n, struct error *e);
/* A verified idle message: moves the stream's watermark when it names the stream's newest header.
 * In memory only. -ESTALE otherwise (harmless). */
int store_idle(struct store *s, const struct batch_idle *idle, int64_t received_ns);
/* Seal by age, remove by age and size, with signed retention records stored first. Call often. */
MUST_CHECK int store_retain(struct store *s, int64_t now_ns, struct error *e);

/* Alternatives within a group, all groups must hold; tokens as tokenize makes them. */
struct store_group {
	const uint64_t *tokens;
	size_t n;
};

struct store_question {
	const struct batch_name *tenant; /* required */
	const struct batch_name *hosts; /* host ids; n_hosts 0: all */
	size_t n_hosts;
	int64_t since_ns, until_ns; /* Unix time of events, until exclusive; INT64_MIN/MAX: open */
	const struct store_group *groups;
	size_t n_groups;
	size_t max; /* refs; more is -E2BIG */
};

/* References to all batches that may hold an answer (never too few; perhaps too many), ordered by
 * first_wall_ns. ret_refs: malloc'ed. Tombstones are included whenever their range overlaps.
 * -EBADMSG: an index is damaged; store_retain builds it again, then ask once more. */
MUST_CHECK int store_find(struct store *s, const struct store_question *q,
			  struct store_ref **ret_refs, size_t *ret_n, struct error *e);
/* The stored bytes behind a reference, frame checksum verified. ret_bytes: malloc'ed.
 * -ENOENT: removed by retention; -EBADMSG: damaged on disk (segment and offset in the sentence). */
MUST_CHECK int store_read(struct store *s, const struct store_ref *ref, uint8_t **ret_bytes,
			  size_t *ret_len, struct error *e);

/* One chain of batches: what is there and what is missing. */
struct store_stream {
	struct batch_name tenant, host_id;
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	enum batch_lane lane;
	uint64_t contiguous; /* all numbers 1..contiguous are here, dropped by tombstone, or removed lawfully */
	uint64_t newest; /* highest number here */
	struct seal_hash newest_hash; /* of contiguous */
	uint64_t events, gaps, conflicts, dropped_events;
	int64_t first_wall_ns, watermark_wall_ns,
		received_ns; /* watermark of the contiguous part */
	int64_t offset_ns;
	uint64_t chain_breaks; /* previous_hash did not name the header before */
};
/* ret: malloc'ed, ordered by tenant, host, first_wall_ns. tenant required, host_id NULL: all. */
MUST_CHECK int store_streams(struct store *s, const struct batch_name *tenant,
			     const struct batch_name *host_id, struct store_stream **ret,
			     size_t *ret_n, struct error *e);
/* What may be acknowledged for this stream: the contiguous number and its hash. false: none. */
bool store_acknowledged(struct store *s, const struct batch_header *h, uint64_t *ret_number,
			struct seal_hash *ret_hash);

/* A place in a tenant's segments: all before it in segments with a lower number, or lower in this one. */
struct store_mark {
	struct batch_name tenant;
	uint64_t sequence, offset;
};
/* Where each tenant's next frame will stand. Writer thread. ret: malloc'ed. */
MUST_CHECK int store_marks(struct store *s, struct store_mark **ret, size_t *ret_n,
			   struct error *e);
typedef int (*store_frame_fn)(void *ctx, enum store_kind kind, const struct batch_name *tenant,
			      const uint8_t *body, size_t len, struct error *e);
/* Every frame from these marks on (a tenant without one: from its beginning); what is damaged is passed over.
 * Stops at fn's error. Writer thread. */
MUST_CHECK int store_each_frame(struct store *s, const struct store_mark *marks, size_t n,
				store_frame_fn fn, void *ctx, struct error *e);

/* A segment's file as far as it is durable: what stands there never changes. */
struct store_file {
	struct batch_name tenant;
	uint8_t segment[16];
	bool sealed;
	uint64_t bytes;
};
/* Every segment, per tenant the oldest first. ret: malloc'ed. Retention may remove one meanwhile. Any thread. */
MUST_CHECK int store_files(struct store *s, struct store_file **ret, size_t *ret_n,
			   struct error *e);

/* What retention removed of a tenant so far, all together: it goes oldest first, so this is one span. */
struct store_removed {
	uint64_t segments, events;
	int64_t first_wall_ns,
		last_wall_ns; /* of events; last: never after their receipt, lest a host
					      * with a wrong clock makes every later question suspect */
	char reason[16]; /* of the newest: "age", "size" */
};
/* false: nothing. */
bool store_removed(struct store *s, const struct batch_name *tenant, struct store_removed *ret);

/* The newest host record of each host, as stored. */
struct store_host {
	struct batch_name tenant, host_id;
	uint8_t *record; /* SignedHostRecord, malloc'ed */
	size_t record_len;
	int64_t first_received_ns; /* the first record of the host, of any key */
};
MUST_CHECK int store_hosts(struct store *s, struct store_host **ret, size_t *ret_n,
			   struct error *e);
void store_hosts_free(struct store_host *h, size_t n);

struct store_totals {
	uint64_t segments, segment_bytes, index_bytes, batches, events, free_bytes;
	uint64_t cut_files, cut_bytes; /* torn ends that starts cut off and kept aside */
	uint64_t damaged; /* places that the last start found damaged in what was acknowledged */
	int64_t oldest_ns, newest_ns;
};
void store_totals(struct store *s, struct store_totals *ret);

/* Offline, nobody else may have the folder open (it locks). Rebuild catalog and indexes. */
MUST_CHECK int store_reindex(const struct store_config *c, struct error *e);
/* Re-read everything: frames, checksums, signatures (by the stored host records), hashes, chains,
 * retention records. Calls report once per fault, first byte named, and once for each torn
 * end and for what was kept of one, which are no faults. ret_faults: 0 intact. */
MUST_CHECK int store_check(const struct store_config *c,
			   void (*report)(void *ctx, const char *sentence), void *ctx,
			   uint64_t *ret_faults, struct error *e);

#endif
