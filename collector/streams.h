/* SPDX-License-Identifier: Apache-2.0 */
/* What is there of each host's chains: which numbers, how far without a hole, how far the chain holds.
 * Pure state; the store guards it: written by the writer thread, read by others under the store's lock. */
#ifndef COLLECTOR_STREAMS_H
#define COLLECTOR_STREAMS_H

#include "collector/row.h"
#include "collector/store.h"

#define STREAMS_HOSTS_MAX 1000000
#define STREAM_TWINS 4 /* conflicting headers that a successor may name */

/* A run of numbers beyond a hole. */
struct stream_run {
	uint64_t first, last;
	struct seal_hash first_previous; /* zero: none named */
	struct seal_hash last_hash;
	int64_t watermark_wall_ns;
};

struct stream_twin {
	uint64_t number;
	struct seal_hash hash;
};

struct stream_host;

struct stream {
	struct stream_host *host;
	uint8_t boot_id[BATCH_BOOT_LEN], epoch[BATCH_EPOCH_LEN];
	uint8_t lane;
	uint64_t key_hash;
	struct stream *next; /* of its host, newest first */
	/* Numbers. */
	uint64_t contiguous;
	struct seal_hash contiguous_hash;
	struct stream_run *runs; /* ordered, not touching */
	uint32_t n_runs, max_runs;
	uint64_t removed_first, removed_last; /* by retention; 0: nothing */
	struct seal_hash removed_hash;
	uint64_t removed_segment; /* sequence of the segment that holds the newest record of it */
	struct stream_twin twins[STREAM_TWINS];
	/* Sums for store_stream. */
	uint64_t newest, events, gaps, conflicts, dropped_events, chain_breaks;
	int64_t first_wall_ns, watermark_wall_ns, received_ns, offset_ns;
	/* Where to look for duplicates. */
	uint64_t first_segment; /* sequence of the segment with its first row */
	uint64_t last_segment;
	bool stored; /* at least one row is (or was, before its removal) durable */
};

/* One stored host record. */
struct host_record {
	uint8_t *bytes; /* SignedHostRecord */
	size_t len;
	int64_t received_ns;
	uint64_t segment; /* sequence of the segment with the newest copy */
};

struct stream_host {
	struct batch_name tenant, host_id;
	struct stream_host *chain;
	struct stream *streams;
	uint32_t n_streams;
	uint32_t n_records;
	struct host_record *records; /* oldest first */
};

struct streams;

struct streams *streams_new(void); /* NULL: out of memory */
void streams_free(struct streams *s);
static inline void streams_free_ptr(struct streams **s)
{
	streams_free(*s);
}

struct stream_host *streams_host(const struct streams *s, const struct batch_name *tenant,
				 const struct batch_name *host_id);
/* Find or make. -EDQUOT: STREAMS_HOSTS_MAX reached. -ENOMEM. */
MUST_CHECK int streams_host_get(struct streams *s, const struct batch_name *tenant,
				const struct batch_name *host_id, struct stream_host **ret);
void stream_key_of(const struct stream *s, struct stream_key *ret_key);
struct stream *streams_find(const struct streams *s, const struct stream_key *k);
/* Find or make. -EDQUOT: STORE_STREAMS_MAX of this host reached. -ENOMEM. */
MUST_CHECK int streams_get(struct streams *s, const struct stream_key *k, struct stream **ret);
/* Take out and free. */
void streams_forget(struct streams *s, struct stream *stream);
/* Every host, in no order; false from fn ends it. */
void streams_each_host(const struct streams *s, bool (*fn)(void *ctx, struct stream_host *h),
		       void *ctx);

/* host_records.c */
/* Whether these bytes are there already; else room is made for pending + 1 more. -EDQUOT, -ENOMEM. */
MUST_CHECK int host_record_plan(struct stream_host *h, const uint8_t *bytes, size_t len,
				uint32_t pending, bool *ret_known);
/* Takes copy (malloc'ed); of a known one only the segment is new. Room was made. */
void host_record_add(struct stream_host *h, uint8_t *copy, size_t len, int64_t received_ns,
		     uint64_t segment);

/* Whether a number is covered by what is known (stored, dropped or removed): then a batch with it may be
 * a duplicate, to be looked up. */
bool stream_knows(const struct stream *s, uint64_t number);
/* Make room for n (at most STORE_HOLES_MAX) more rows beyond a hole (those that are not the next number
 * when their turn comes), so that stream_add cannot fail; the oldest hole is given up when there would
 * be more than STORE_HOLES_MAX. -ENOMEM. */
MUST_CHECK int stream_reserve(struct stream *s, uint32_t n);
/* A row became durable in the segment with this sequence. */
void stream_add(struct stream *s, const struct row *row, uint64_t segment);
/* Retention removed all numbers up to last (of a segment that held the stream). */
void stream_removed(struct stream *s, uint64_t first, uint64_t last, const struct seal_hash *hash,
		    uint64_t record_segment);
void stream_view(const struct stream *s, struct store_stream *ret);

/* A stream's state without its key, for the catalog. Malloc'ed. NULL: out of memory. */
uint8_t *stream_pack(const struct stream *s, size_t *ret_len);
MUST_CHECK int stream_unpack(struct stream *s, const uint8_t *data, size_t len);

#endif
