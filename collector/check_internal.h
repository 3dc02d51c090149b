/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the check share: one goes over folders, the other into a segment. */
#ifndef COLLECTOR_CHECK_INTERNAL_H
#define COLLECTOR_CHECK_INTERNAL_H

#include "collector/store_internal.h"
#include "proto/merkle.h"

struct check_key {
	struct batch_name host_id;
	uint8_t key_id[SEAL_KEY_ID_LEN];
	struct seal_verifier *verifier;
};

/* One segment that a retention record says is removed. */
struct check_removed {
	struct segment_id id;
};

struct check {
	const struct store_config *c;
	struct store *s; /* folder and lock; nothing loaded */
	void (*report)(void *ctx, const char *sentence);
	void *ctx;
	uint64_t faults;
	struct arena *arena;
	struct batch_opener *opener;
	struct merkle *merkle;
	struct seal_verifier *ledger;
	/* Of the tenant at hand. */
	struct tenant *tenant;
	struct streams *streams;
	struct check_key *keys; /* sorted by host and key id after the first pass */
	size_t n_keys, max_keys;
	struct check_removed *removed;
	size_t n_removed, max_removed;
	struct segment_id last_id; /* the segment before */
	struct seal_hash last_root;
	/* Frames without a leaf, since the last one that has one. */
	struct {
		uint64_t n, offset;
		uint32_t group;
		char name[SEGMENT_NAME_MAX];
	} bare;
};

/* One fault: "segment 'TENANT/NAME': ..." */
PRINTF(3, 4)
void check_fault(struct check *k, const char *name, const char *fmt, ...);
/* The same, of something that is no fault. */
PRINTF(3, 4)
void check_note(struct check *k, const char *name, const char *fmt, ...);
/* First pass: host records and retention records of one file. */
MUST_CHECK int check_collect(struct check *k, const char *name, const struct segment_id *id,
			     struct error *e);
void check_keys_sort(struct check *k);
/* Second pass: everything of it. length: how much counts; 0: all. */
MUST_CHECK int check_segment(struct check *k, const char *name, const struct segment_id *id,
			     bool open, uint64_t length, struct error *e);
/* Its index file: every part readable, as many rows as there should be. */
void check_index(struct check *k, const struct segment_id *id);

#endif
