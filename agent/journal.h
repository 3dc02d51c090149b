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
	uint64_t number, last_sequence; /* of that header; meaningful in its boot only */
	uint64_t watermark_ns; /* of that header */
	int64_t sealed_wall_ns;
	uint64_t sealed_boottime_ns;
};

/* What recovery found; the agent turns it into log lines and gap events. */
struct journal_recovery {
	bool new_epoch; /* no journal was there, or its epoch file was unreadable */
	uint64_t torn_bytes; /* cut off at the end of a lane's newest file */
	uint64_t damaged_files; /* set aside as NAME.damaged: a frame in the middle was false */
};

struct journal;

/* Open or make; recovers: cuts a torn tail, sets damaged files aside (never deletes them silently).
 * Locks dir/lock: -EBUSY when another agent has it. */
MUST_CHECK int journal_open(const struct journal_config *c, struct journal **ret_j,
			    struct journal_recovery *ret_r, struct error *e);
void journal_close(struct journal *j); /* NULL allowed */
const uint8_t *journal_epoch(const struct journal *j); /* BATCH_EPOCH_LEN bytes */
void journal_tail(const struct journal *j, enum batch_lane lane, struct journal_tail *ret_t);

/* Append one SignedBatch; durable (fdatasync) when this returns 0. header: what was sealed, hash: its
 * SHA-256, counts: events by class (for a later tombstone). The tail moves on.
 * Errors: -ENOSPC the budget is used up and the policy (or the lack of bulk frames) forbids making
 * room: nothing written, the caller counts the events into a gap; -EIO and others: the file system
 * failed: nothing of it will be found after recovery, or the whole frame. */
MUST_CHECK int journal_append(struct journal *j, const struct batch_header *header, const struct seal_hash *hash,
			      const uint64_t counts[static 16], const void *bytes, size_t len, struct error *e);
/* Before an append of len bytes in lane: which bulk frames have to go so that it fits. Returns how
 * many (at most max) and fills dropped, oldest first, all of one boot; 0: it fits, or nothing may be
 * dropped. The caller seals a tombstone from them (t->dropped) and gives it to journal_drop. */
size_t journal_must_drop(const struct journal *j, enum batch_lane lane, size_t len, size_t max,
			 struct batch_dropped *dropped, uint8_t ret_boot[static BATCH_BOOT_LEN]);
/* Put a SignedTombstone in the place of the n oldest unacknowledged bulk frames; durable on return. */
MUST_CHECK int journal_drop(struct journal *j, size_t n, const void *bytes, size_t len, struct error *e);

/* What the uplink may read: positions from first (oldest not acknowledged) to last; empty when
 * first > last. */
void journal_range(const struct journal *j, enum batch_lane lane, uint64_t *ret_first, uint64_t *ret_last);
/* The frame at position. ret_bytes: owned by j until its next call. -ENOENT: acknowledged or dropped
 * meanwhile, ask journal_range again; -EBADMSG: it was changed on disk (set aside, counted). */
MUST_CHECK int journal_read(struct journal *j, enum batch_lane lane, uint64_t position, enum journal_kind *ret_kind,
			    const uint8_t **ret_bytes, size_t *ret_len, struct error *e);
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
