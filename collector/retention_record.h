/* SPDX-License-Identifier: Apache-2.0 */
/* The two signed records that the store itself reads and writes: who is removed, and who seals for a
 * host. Messages: proto/batch.proto. Pure functions. */
#ifndef COLLECTOR_RETENTION_RECORD_H
#define COLLECTOR_RETENTION_RECORD_H

#include "collector/row.h"
#include "collector/store.h"
#include "proto/seal.h"

struct retention_stream {
	struct stream_key key; /* tenant is the record's */
	uint64_t first_number, last_number; /* removed so far */
	struct seal_hash last_hash; /* header of last_number */
};

struct retention_info {
	struct batch_name tenant;
	bool has_segment; /* false: about streams only, the record with the segment follows */
	struct segment_id segment;
	struct seal_hash sha256;
	uint64_t bytes, batches, events;
	int64_t first_wall_ns, last_wall_ns, removed_wall_ns;
	const char *reason; /* "age", "size" */
	size_t n_streams;
	struct retention_stream *streams;
	struct store_removed all; /* this one too; with has_segment only */
};

#define RETENTION_STREAMS_MAX 4096 /* in one record; more make more records */

/* SignedRetentionRecord, in arena a. */
MUST_CHECK int retention_record_make(const struct retention_info *i, struct seal_key *k,
				     struct arena *a, const uint8_t **ret_bytes, size_t *ret_len,
				     struct error *e);
/* v may be NULL: not verified. All in arena a. -EBADMSG. */
MUST_CHECK int retention_record_open(const uint8_t *bytes, size_t len, struct seal_verifier *v,
				     struct arena *a, struct retention_info *ret_i,
				     struct error *e);

struct host_record_info {
	struct batch_name tenant, host_id;
	uint8_t sealing_key[SEAL_PUBLIC_LEN];
	uint8_t key_id[SEAL_KEY_ID_LEN];
};
/* What a SignedHostRecord says; the fleet authority's signature was verified when it was stored. -EBADMSG. */
MUST_CHECK int host_record_open(const uint8_t *bytes, size_t len, struct host_record_info *ret_i);

#endif
