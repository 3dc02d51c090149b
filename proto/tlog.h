/* SPDX-License-Identifier: Apache-2.0 */
/* Proofs over an append-only Merkle log: RFC 6962 section 2.1 (the tree, audit paths, consistency proofs) made from
 * stored hashes and verified without them, and the tiles of C2SP tlog-tiles that hold the hashes. Pure; any
 * thread. */
#ifndef PROTO_TLOG_H
#define PROTO_TLOG_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#define TLOG_PROOF_MAX 64 /* hashes: a proof has at most one per bit of the size, and one more */
#define TLOG_SIZE_MAX ((uint64_t)1 << 62)

/* ---- the tree ---------------------------------------------------------------------------------- */

/* SHA-256(0x00 || leaf), SHA-256(0x01 || left || right). -ENOMEM. */
MUST_CHECK int tlog_leaf_hash(const void *leaf, size_t len, struct seal_hash *ret);
MUST_CHECK int tlog_node_hash(const struct seal_hash *left, const struct seal_hash *right,
			      struct seal_hash *ret);
/* Root of a perfect subtree over n hashes of one level (n: a power of two, 1..256). hashes is used up. */
MUST_CHECK int tlog_fold(struct seal_hash *hashes, size_t n, struct seal_hash *ret);

/* Where hashes come from: that of the perfect subtree over leaves index << level up to
 * (index + 1) << level, less than the tree's size. */
struct tlog_source {
	int (*hash)(void *ctx, unsigned int level, uint64_t index, struct seal_hash *ret,
		    struct error *e);
	void *ctx;
};

/* Root of the first size leaves; SHA-256("") of none. Errors: the source's. */
MUST_CHECK int tlog_root(const struct tlog_source *s, uint64_t size, struct seal_hash *ret,
			 struct error *e);
/* Leaf index is in the tree of size leaves. ret: TLOG_PROOF_MAX hashes, the lowest first. -ERANGE. */
MUST_CHECK int tlog_prove_inclusion(const struct tlog_source *s, uint64_t index, uint64_t size,
				    struct seal_hash *ret, size_t *ret_n, struct error *e);
/* The tree of old leaves is the beginning of that of size. ret as above; none when old is 0 or size. */
MUST_CHECK int tlog_prove_consistency(const struct tlog_source *s, uint64_t old, uint64_t size,
				      struct seal_hash *ret, size_t *ret_n, struct error *e);

/* 0, or -EBADMSG: the proof does not show it (-ENOMEM). proof: n hashes, as received. */
MUST_CHECK int tlog_check_inclusion(const struct seal_hash *proof, size_t n, uint64_t index,
				    uint64_t size, const struct seal_hash *leaf,
				    const struct seal_hash *root);
MUST_CHECK int tlog_check_consistency(const struct seal_hash *proof, size_t n, uint64_t old,
				      const struct seal_hash *old_root, uint64_t size,
				      const struct seal_hash *root);

/* ---- tiles (C2SP tlog-tiles v0.1.0) ------------------------------------------------------------- */

#define TLOG_TILE_HEIGHT 8
#define TLOG_TILE_WIDTH 256 /* hashes, or entries, of a full tile */
#define TLOG_TILE_LEVELS 8
#define TLOG_TILE_PATH_MAX 64
#define TLOG_ENTRIES (-1) /* as a level: the tile of entries */

/* "tile/0/x001/x234/067", "tile/entries/000.p/7". level: 0..TLOG_TILE_LEVELS-1 or TLOG_ENTRIES; width:
 * 1..TLOG_TILE_WIDTH. Returns buf. */
const char *tlog_tile_path(int level, uint64_t index, unsigned int width,
			   char buf[static TLOG_TILE_PATH_MAX]);
/* Its reverse, of the one spelling only. -EINVAL. */
MUST_CHECK int tlog_tile_parse(const char *path, int *ret_level, uint64_t *ret_index,
			       unsigned int *ret_width);
/* How many hashes (or entries) the tile has in a tree of size leaves: 0..TLOG_TILE_WIDTH. */
unsigned int tlog_tile_width(int level, uint64_t index, uint64_t size);

/* The hash of a perfect subtree as a run of hashes in one tile, to be folded. */
struct tlog_place {
	int level; /* of the tile */
	uint64_t tile;
	unsigned int first, n; /* hashes in it */
};
struct tlog_place tlog_place(unsigned int level, uint64_t index);

/* ---- tlog-proof (C2SP tlog-proof, draft): one text file that proves one leaf ------------------------- */

#define TLOG_PROOF_TEXT_MAX KiB(16)

struct tlog_proof {
	uint64_t index;
	size_t n;
	struct seal_hash hashes[TLOG_PROOF_MAX];
	const char *checkpoint; /* the signed note; of a parsed proof: inside its text */
	size_t checkpoint_len;
};

/* "c2sp.org/tlog-proof@v1\nindex I\nHASH...\n\nCHECKPOINT". buf: size bytes, NUL-terminated. -E2BIG. */
MUST_CHECK int tlog_proof_format(const struct tlog_proof *p, char *buf, size_t size,
				 size_t *ret_len);
/* -EBADMSG with a sentence. */
MUST_CHECK int tlog_proof_parse(const char *text, size_t len, struct tlog_proof *ret,
				struct error *e);

#endif
