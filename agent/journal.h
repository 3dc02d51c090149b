/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded on-disk queue of sealed batches: one folder, two lanes, frames with a checksum.
 * Owned by the seal thread; not thread-safe. Format: agent/README.md "journal".
 *
 * A frame is a SignedBatch or a SignedTombstone as bytes. Each lane numbers its frames by position
 * (1, 2, 3 ... for as long as the journal exists, whatever the boot); the uplink asks by position.
 * What is acknowledged is deleted a file at a time, but the last JOURNAL_KEEP frames of a lane stay:
 * they carry the chain on, and a collector that lost its tail can have them again. */
#ifndef AGENT_JOURNAL_H
#define AGENT_JOURNAL_H

#include "proto/batch.h"

#define JOURNAL_KEEP 64
#define JOURNAL_FRAME_MAX BATCH_MESSAGE_MAX

enum journal_kind { JOURNAL_BATCH = 1, JOURNAL_TOMBSTONE = 2 };
enum journal_policy { JOURNAL_DROP_OLDEST_BULK, JOURNAL_DROP_NEW };

struct journal_config {
	const char *dir; /* made if absent, mode 0700 */
	uint64_t max_bytes; /* both lanes together, files as they lie on disk */
	enum journal_policy policy;
	/* Fills the 16 bytes of a new epoch; at the edge getrandom. */
	int (*random)(void *ctx, void *buf, size_t len);
	void *random_ctx;
};

/* Where a lane stands; what its next batch has to continue. */
struct journal_tail {
	bool has_hash; /* false: the lane is empty in this epoch */
	struct seal_hash hash; /* of the newest header in this epoch and lane, whatever its boot */
	uint8_t boot_id[BATCH_BOOT_LEN]; /* of that header */
	uint64_t number; /* of that header; meaningful in its boot only */
	uint64_t last_sequence; /* the highest in its boot, epoch and lane; 0: none yet */
	uint64_t watermark_ns; /* of that header */
	int64_t sealed_wall_ns;
	uint64_t sealed_boottime_ns;
};

/* What recovery found; the agent turns it into log lines and gap events. */
struct journal_recovery {
	bool new_epoch; /* no journal was there, its epoch file was unreadable, or frames are missing */
	uint64_t torn_bytes; /* cut off at the end of a lane's newest file: never known to be durable */
	uint64_t damaged_files; /* a frame in the middle was false, or missing, or one that had been durable is
				 * not there: its good frames are still offered, and the file becomes
				 * NAME.damaged when they are acknowledged */
	uint64_t lost_frames; /* of the epoch that ends here: neither acknowledged nor dropped, and missing */
};

struct journal;

/* Open or make; recovers: cuts a torn tail, keeps damaged files (never deletes them silently; what was durable
 * and is no frame any more is damage, not a torn tail), begins a new epoch when a frame that was not acknowledged is missing, since its chain cannot go on.
 * Locks dir/lock: -EBUSY when another agent has it. */
MUST_CHECK int journal_open(const struct journal_config *c, struct journal **ret_j,
			    struct journal_recovery *ret_r, struct error *e);
void journal_close(struct journal *j); /* NULL allowed */
/* BATCH_EPOCH_LEN bytes; ask before each batch, as with journal_tail: see journal_read. */
const uint8_t *journal_epoch(const struct journal *j);
void journal_tail(const struct journal *j, enum batch_lane lane, struct journal_tail *ret_t);

/* Append one SignedBatch; durable (fdatasync) when this returns 0. header: what was sealed, hash: its
 * SHA-256, counts: events by class (for a later tombstone). The tail moves on.
 * Errors: -ENOSPC the budget is used up and the policy (or the lack of bulk frames) forbids making
 * room, or the disk is full: nothing written, the caller counts the events into a gap; -ESTALE the
 * header does not continue journal_tail in journal_epoch; -EIO and others: the file system failed:
 * the file is abandoned, the next append begins another; nothing of it will be found after recovery,
 * or the whole frame, unless a later append took its position. */
MUST_CHECK int journal_append(struct journal *j, const struct batch_header *header,
			      const struct seal_hash *hash, const uint64_t counts[static 16],
			      const void *bytes, size_t len, struct error *e);
/* Before an append of len bytes in lane: which bulk frames have to go so that it fits (frees what was
 * acknowledged first). Returns how many, 1..max; 0: it fits, or nothing may be dropped. t->dropped: max
 * elements of the caller, filled oldest first, of one boot and epoch, numbers without a hole; it also
 * sets n_dropped, tenant, host_id, boot_id, epoch, lane and offset_ns. The caller adds times and
 * reason, seals the tombstone, gives it to journal_drop, and asks again. max: BATCH_DROPPED_MAX. */
size_t journal_must_drop(struct journal *j, enum batch_lane lane, size_t len,
			 struct batch_tombstone *t, size_t max);
/* Put a SignedTombstone in the place of the n frames that journal_must_drop named just before;
 * durable on return. It stands at the position of the last of them. On error nothing was dropped. */
MUST_CHECK int journal_drop(struct journal *j, size_t n, const void *bytes, size_t len,
			    struct error *e);

/* What the uplink may read: positions from first (oldest not acknowledged) to last; empty when
 * first > last. Some between may be missing (dropped, damaged): journal_next steps over them. */
void journal_range(const struct journal *j, enum batch_lane lane, uint64_t *ret_first,
		   uint64_t *ret_last);
/* The first position that can be read, not below position; last + 1: none yet. */
uint64_t journal_next(const struct journal *j, enum batch_lane lane, uint64_t position);
/* The frame at position. ret_bytes: owned by j until its next call. -ENOENT: acknowledged, dropped or
 * damaged meanwhile, go on at journal_next; -EBADMSG: it was changed on disk: from now on missing, its
 * file is kept as damaged, and a new epoch begins; others: nothing changed, try the same one later. */
MUST_CHECK int journal_read(struct journal *j, enum batch_lane lane, uint64_t position,
			    enum journal_kind *ret_kind, const uint8_t **ret_bytes, size_t *ret_len,
			    struct error *e);
/* The frame at position was read, and is nothing that could ever be sent: from now on missing, as after -EBADMSG
 * of journal_read. 0: that is so; -ENOENT; others: it is, but there is no new epoch yet, tried again by the
 * next append. */
MUST_CHECK int journal_lose(struct journal *j, enum batch_lane lane, uint64_t position,
			    struct error *e);
/* Everything up to the frame with this header hash (a tombstone: its last dropped hash) is durable at
 * the collector; position as sent. Persisted lazily: after a crash a few acknowledged frames are sent
 * again. -ENOENT: no such frame (stale or false acknowledgement, ignored). */
MUST_CHECK int journal_ack(struct journal *j, enum batch_lane lane, uint64_t position,
			   const struct seal_hash *hash, struct error *e);

struct journal_stats {
	uint64_t bytes, frames, unacknowledged, dropped_frames, dropped_events;
};
void journal_stats(const struct journal *j, enum batch_lane lane, struct journal_stats *ret_s);

#endif
