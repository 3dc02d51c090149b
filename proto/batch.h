/* SPDX-License-Identifier: Apache-2.0 */
/* Seal a run of entries into a SignedBatch, and open one again. Format: proto/README.md.
 * Entries travel as ENTRY-LENGTH (varint) ENTRY, one after the other. Pure functions of bytes and
 * state; a sealer or opener belongs to one thread and reuses its zstd and hash contexts. */
#ifndef PROTO_BATCH_H
#define PROTO_BATCH_H

#include "proto/base/arena.h"
#include "proto/seal.h"

#define BATCH_VERSION 1
#define BATCH_RAW_MAX MiB(1) /* entries with their lengths, before compression */
#define BATCH_RAW_CLOSE KiB(64) /* the agent closes a batch at this size */
#define BATCH_EVENTS_CLOSE 500 /* ... or at this many events */
#define BATCH_EVENTS_MAX 4096
#define BATCH_ENTRIES_MAX 8192
#define BATCH_ENTRY_MAX KiB(128)
#define BATCH_MESSAGE_MAX (MiB(1) + KiB(64)) /* a SignedBatch as bytes */
#define BATCH_RINGS_MAX 1024
#define BATCH_BOOT_LEN 16
#define BATCH_EPOCH_LEN 16
#define BATCH_NAME_MAX 255 /* tenant, host id, host name */

enum batch_lane { BATCH_LANE_CRITICAL = 1, BATCH_LANE_BULK = 2 }; /* as enum Lane on the wire */
#define BATCH_LANES 2

struct batch_name {
	uint8_t len;
	uint8_t b[BATCH_NAME_MAX];
};

struct batch_ring {
	uint32_t ring, cpu;
	uint64_t sequence;
};

/* BatchHeader as a struct; meanings and units in batch.proto. */
struct batch_header {
	struct batch_name tenant, host_id, host_name;
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	enum batch_lane lane;
	uint64_t number, first_sequence, last_sequence;
	uint32_t count, entries, gaps;
	uint64_t first_boottime_ns, last_boottime_ns, sealed_boottime_ns;
	int64_t sealed_wall_ns;
	bool synchronised;
	uint64_t watermark_ns;
	bool has_previous; /* false: first of its epoch and lane */
	struct seal_hash previous;
	bool has_checkpoint; /* false: this host holds none */
	struct seal_hash last_checkpoint; /* SHA-256 of the newest one that it holds */
	uint32_t raw_bytes, compressed_bytes;
	struct seal_hash raw_sha256, compressed_sha256, merkle_root;
	uint8_t key_id[SEAL_KEY_ID_LEN];
	size_t n_rings;
	const struct batch_ring *rings; /* borrowed when sealing; in the arena when opened */
};

struct batch_sealer;

/* key is borrowed. */
MUST_CHECK int batch_sealer_new(struct seal_key *key, struct batch_sealer **ret_s, struct error *e);
void batch_sealer_free(struct batch_sealer *s);
/* Seal raw (raw_len bytes of entries; may be 0 with no entry). The caller filled everything of h but
 * raw_bytes, compressed_bytes, the hashes, the root and key_id, which this sets. ret_bytes: the
 * SignedBatch, owned by s until its next call. ret_hash: SHA-256 of the header, the next one's
 * previous. Errors: -EINVAL raw is not h->entries entries, -ENOMEM. */
MUST_CHECK int batch_seal(struct batch_sealer *s, struct batch_header *h, const void *raw,
			  size_t raw_len, const uint8_t **ret_bytes, size_t *ret_len,
			  struct seal_hash *ret_hash, struct error *e);

/* A batch as received, not yet opened. All pointers into the caller's bytes, or into the arena. */
struct batch_view {
	const uint8_t *header_bytes;
	size_t header_len;
	const uint8_t *signature;
	size_t signature_len;
	const uint8_t *payload;
	size_t payload_len;
	struct batch_header header;
	struct seal_hash hash; /* of header_bytes */
};

/* Parse (not verify) a SignedBatch: sizes, presence, ranges, the header's inner consistency.
 * bytes: borrowed as long as the view. -EBADMSG with one sentence naming the field. */
MUST_CHECK int batch_parse(const void *bytes, size_t len, struct arena *a,
			   struct batch_view *ret_view, struct error *e);

struct batch_opener;
MUST_CHECK int batch_opener_new(struct batch_opener **ret_o, struct error *e);
void batch_opener_free(struct batch_opener *o);
/* Verify signature (v may be NULL: not asked), hashes, sizes, then decompress (bounded by the
 * header's raw_bytes <= BATCH_RAW_MAX before anything is allocated), verify raw hash, number of
 * entries, Merkle root. ret_raw: owned by o until its next call. -EBADMSG with one sentence. */
MUST_CHECK int batch_open(struct batch_opener *o, const struct batch_view *view,
			  struct seal_verifier *v, const uint8_t **ret_raw, size_t *ret_raw_len,
			  struct error *e);
/* The next entry of an opened batch: r starts as reader_init(raw, raw_len). false at the end or when
 * bad (ask r->bad). */
struct reader;
bool batch_next(struct reader *r, const uint8_t **ret_entry, size_t *ret_len);

/* Tombstones and idle messages: sign what the caller packed; check what arrived. */
struct batch_dropped {
	uint64_t number, first_sequence, last_sequence, first_boottime_ns, last_boottime_ns;
	struct seal_hash header_hash, previous;
	bool has_previous;
	uint64_t counts[16]; /* by class; fewer than 16 classes exist */
};
#define BATCH_DROPPED_MAX 1024

struct batch_tombstone {
	struct batch_name tenant, host_id;
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	enum batch_lane lane;
	int64_t wall_ns, offset_ns;
	uint64_t boottime_ns;
	const char *reason; /* "journal full" */
	uint8_t key_id[SEAL_KEY_ID_LEN]; /* set by sealing and by opening */
	size_t n_dropped;
	struct batch_dropped *dropped; /* borrowed when sealing; in the arena when opened */
};

struct batch_idle {
	struct batch_name tenant, host_id;
	uint8_t boot_id[BATCH_BOOT_LEN];
	uint8_t epoch[BATCH_EPOCH_LEN];
	enum batch_lane lane;
	uint64_t number, watermark_ns, boottime_ns;
	int64_t wall_ns;
	bool synchronised;
	bool has_hash; /* false: nothing sealed in this epoch and lane yet */
	struct seal_hash header_hash;
	uint8_t key_id[SEAL_KEY_ID_LEN];
};

/* ret_bytes: SignedTombstone / SignedIdle, in arena a. */
MUST_CHECK int batch_seal_tombstone(struct seal_key *k, const struct batch_tombstone *t,
				    struct arena *a, const uint8_t **ret_bytes, size_t *ret_len,
				    struct error *e);
MUST_CHECK int batch_seal_idle(struct seal_key *k, const struct batch_idle *t, struct arena *a,
			       const uint8_t **ret_bytes, size_t *ret_len, struct error *e);
/* v may be NULL: parse only. */
MUST_CHECK int batch_open_tombstone(const void *bytes, size_t len, struct seal_verifier *v,
				    struct arena *a, struct batch_tombstone *ret_t,
				    struct error *e);
MUST_CHECK int batch_open_idle(const void *bytes, size_t len, struct seal_verifier *v,
			       struct arena *a, struct batch_idle *ret_t, struct error *e);

#endif
