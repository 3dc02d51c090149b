/* SPDX-License-Identifier: Apache-2.0 */
/* Inside 'exhibit verify': verify.c reads and decides, verify_files.c looks at files and hashes, verify_proofs.c at
 * signatures and proofs. */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include "collector/cli/bundle_files.h"
#include "collector/cli/verbs.h"
#include "proto/authorities.h"

struct verify {
	const struct args *args;
	struct bundle_files files;
	struct bundle bundle;
	struct authorities *order; /* the authority that is trusted */
	bool trusted; /* somebody named it; else it came with the bundle */
	struct checkpoint checkpoint;
	bool good_checkpoint;
	uint64_t faults, events_bytes;
};

/* One fault: bytes from up to to of an object (to 0: no range). Once per file. */
PRINTF(5, 6)
void verify_fault(struct verify *v, const char *object, uint64_t from, uint64_t to, const char *fmt,
		  ...);
/* What was checked and held, for --explain. */
PRINTF(2, 3) void verify_explain(struct verify *v, const char *fmt, ...);

/* From files to the bundle; what cannot be read is named. */
MUST_CHECK int verify_load(struct verify *v, struct error *e);
/* SHA256SUMS against the files, and what is derived against what it is derived from. */
MUST_CHECK int verify_sums(struct verify *v, struct error *e);
MUST_CHECK int verify_derived(struct verify *v, struct error *e);
/* Items against the manifests that name them. */
MUST_CHECK int verify_items(struct verify *v, struct error *e);
/* A file's bytes are not those of a hash: where, as far as its pieces tell. */
MUST_CHECK int verify_locate(struct verify *v, struct bundle_file *f, const char *why,
			     struct error *e);
/* Authority, certificate, checkpoint, leaves; manifests, host records; orders. */
MUST_CHECK int verify_ledger(struct verify *v, struct error *e);
MUST_CHECK int verify_exhibits(struct verify *v, struct error *e);
MUST_CHECK int verify_orders(struct verify *v, struct error *e);
/* Is there a leaf of this kind over this object? NULL: no. */
const struct bundle_leaf *verify_leaf_of(const struct verify *v, Exhibit__V1__LedgerKind kind,
					 const struct seal_hash *object);

#endif
