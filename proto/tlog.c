/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/tlog.h"

#include <errno.h>
#include <string.h>

#include "proto/openssl_util.h"

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

/* ---- the tree ---- */

int tlog_leaf_hash(const void *leaf, size_t len, struct seal_hash *ret)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const uint8_t prefix = LEAF_PREFIX;

	if (!ctx || EVP_DigestInit_ex2(ctx, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(ctx, &prefix, 1) != 1 || EVP_DigestUpdate(ctx, leaf, len) != 1 ||
	    EVP_DigestFinal_ex(ctx, ret->b, NULL) != 1) {
		(void)openssl_reason();
		return -ENOMEM;
	}
	return 0;
}

int tlog_node_hash(const struct seal_hash *left, const struct seal_hash *right,
		   struct seal_hash *ret)
{
	uint8_t text[1 + 2 * SEAL_HASH_LEN] = { NODE_PREFIX };

	memcpy(text + 1, left->b, SEAL_HASH_LEN);
	memcpy(text + 1 + SEAL_HASH_LEN, right->b, SEAL_HASH_LEN);
	return seal_sha256(text, sizeof(text), ret);
}

int tlog_fold(struct seal_hash *hashes, size_t n, struct seal_hash *ret)
{
	for (; n > 1; n /= 2)
		for (size_t i = 0; i < n / 2; i++) {
			int r = tlog_node_hash(&hashes[2 * i], &hashes[2 * i + 1], &hashes[i]);

			if (r < 0)
				return r;
		}
	*ret = hashes[0];
	return 0;
}

static unsigned int log2_of(uint64_t n)
{
	return 63U - (unsigned int)__builtin_clzll(n);
}

/* The largest power of two smaller than n ("k" of RFC 6962); n > 1. */
static uint64_t split(uint64_t n)
{
	return (uint64_t)1 << log2_of(n - 1);
}

/* MTH(D[lo:hi]) where lo is a multiple of every power of two that hi - lo has room for. */
static int range_hash(const struct tlog_source *s, uint64_t lo, uint64_t hi, struct seal_hash *ret,
		      struct error *e)
{
	struct seal_hash peaks[TLOG_PROOF_MAX];
	size_t n = 0;
	int r = 0;

	while (lo < hi && r == 0) {
		unsigned int level = log2_of(hi - lo);

		r = s->hash(s->ctx, level, lo >> level, &peaks[n++], e);
		lo += (uint64_t)1 << level;
	}
	if (r < 0)
		return r;
	*ret = peaks[--n];
	while (n > 0 && r == 0)
		r = tlog_node_hash(&peaks[--n], ret, ret);
	return r < 0 ? error_set(e, r, "cannot hash: %m") : 0;
}

int tlog_root(const struct tlog_source *s, uint64_t size, struct seal_hash *ret, struct error *e)
{
	if (size > TLOG_SIZE_MAX)
		return error_set(e, -ERANGE, "a log of %llu leaves is too large",
				 (unsigned long long)size);
	if (size == 0)
		return seal_sha256("", 0, ret) < 0 ? error_set(e, -ENOMEM, "cannot hash: %m") : 0;
	return range_hash(s, 0, size, ret, e);
}

/* A way down the tree: the siblings that are passed, from the root on. */
struct descent {
	const struct tlog_source *s;
	uint64_t lo, hi;
	struct seal_hash siblings[TLOG_PROOF_MAX];
	size_t n;
};

static int step(struct descent *d, bool left, struct error *e)
{
	uint64_t middle = d->lo + split(d->hi - d->lo);
	int r = left ? range_hash(d->s, middle, d->hi, &d->siblings[d->n], e) :
		       range_hash(d->s, d->lo, middle, &d->siblings[d->n], e);

	d->n++;
	*(left ? &d->hi : &d->lo) = middle;
	return r;
}

static void reverse(const struct descent *d, struct seal_hash *ret, size_t *n)
{
	for (size_t i = d->n; i-- > 0;)
		ret[(*n)++] = d->siblings[i];
}

int tlog_prove_inclusion(const struct tlog_source *s, uint64_t index, uint64_t size,
			 struct seal_hash *ret, size_t *ret_n, struct error *e)
{
	struct descent d = { .s = s, .hi = size };
	int r = 0;

	if (index >= size || size > TLOG_SIZE_MAX)
		return error_set(e, -ERANGE, "leaf %llu is not in a log of %llu leaves",
				 (unsigned long long)index, (unsigned long long)size);
	while (d.hi - d.lo > 1 && r == 0)
		r = step(&d, index < d.lo + split(d.hi - d.lo), e);
	if (r < 0)
		return r;
	*ret_n = 0;
	reverse(&d, ret, ret_n);
	return 0;
}

int tlog_prove_consistency(const struct tlog_source *s, uint64_t old, uint64_t size,
			   struct seal_hash *ret, size_t *ret_n, struct error *e)
{
	struct descent d = { .s = s, .hi = size };
	struct seal_hash own;
	int r = 0;

	if (old > size || size > TLOG_SIZE_MAX)
		return error_set(e, -ERANGE, "a log of %llu leaves has no %llu",
				 (unsigned long long)size, (unsigned long long)old);
	*ret_n = 0;
	if (old == 0 || old == size)
		return 0;
	while (d.hi != old && r == 0)
		r = step(&d, old <= d.lo + split(d.hi - d.lo), e);
	/* The old tree's own root is known to whoever asks; any other node has to be told. */
	if (r == 0 && d.lo > 0)
		r = range_hash(s, d.lo, d.hi, &own, e);
	if (r < 0)
		return r;
	if (d.lo > 0)
		ret[(*ret_n)++] = own;
	reverse(&d, ret, ret_n);
	return 0;
}

/* ---- checking: RFC 9162 sections 2.1.3.2 and 2.1.4.2, step by step ---- */

/* The node's and the last node's number, one level up; a node without a sibling stands for its parent. */
static void climb(uint64_t *fn, uint64_t *sn)
{
	if (!(*fn & 1))
		while (!(*fn & 1) && *fn != 0) {
			*fn >>= 1;
			*sn >>= 1;
		}
}

int tlog_check_inclusion(const struct seal_hash *proof, size_t n, uint64_t index, uint64_t size,
			 const struct seal_hash *leaf, const struct seal_hash *root)
{
	uint64_t fn = index, sn = size - 1;
	struct seal_hash h = *leaf;

	if (index >= size || n > TLOG_PROOF_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++) {
		bool right = (fn & 1) || fn == sn;
		int r;

		if (sn == 0)
			return -EBADMSG;
		r = right ? tlog_node_hash(&proof[i], &h, &h) : tlog_node_hash(&h, &proof[i], &h);
		if (r < 0)
			return r;
		if (right)
			climb(&fn, &sn);
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && memcmp(h.b, root->b, SEAL_HASH_LEN) == 0 ? 0 : -EBADMSG;
}

/* One hash of a consistency proof into both roots. */
static int take_node(const struct seal_hash *c, uint64_t *fn, uint64_t *sn, struct seal_hash *fr,
		     struct seal_hash *sr)
{
	int r;

	if ((*fn & 1) || *fn == *sn) {
		r = tlog_node_hash(c, fr, fr);
		if (r == 0)
			r = tlog_node_hash(c, sr, sr);
		climb(fn, sn);
	} else {
		r = tlog_node_hash(sr, c, sr);
	}
	*fn >>= 1;
	*sn >>= 1;
	return r;
}

int tlog_check_consistency(const struct seal_hash *proof, size_t n, uint64_t old,
			   const struct seal_hash *old_root, uint64_t size,
			   const struct seal_hash *root)
{
	uint64_t fn = old - 1, sn = size - 1;
	bool whole = (old & (old - 1)) == 0; /* a perfect tree: its root is the first hash */
	struct seal_hash fr, sr;
	size_t i = 0;

	if (old > size || n > TLOG_PROOF_MAX)
		return -EBADMSG;
	if (old == 0)
		return n == 0 ? 0 : -EBADMSG;
	if (old == size)
		return n == 0 && memcmp(old_root->b, root->b, SEAL_HASH_LEN) == 0 ? 0 : -EBADMSG;
	if (n == 0)
		return -EBADMSG;
	while (fn & 1) {
		fn >>= 1;
		sn >>= 1;
	}
	fr = sr = whole ? *old_root : proof[i++];
	for (; i < n; i++) {
		int r = sn == 0 ? -EBADMSG : take_node(&proof[i], &fn, &sn, &fr, &sr);

		if (r < 0)
			return r;
	}
	return sn == 0 && memcmp(fr.b, old_root->b, SEAL_HASH_LEN) == 0 &&
			       memcmp(sr.b, root->b, SEAL_HASH_LEN) == 0 ?
		       0 :
		       -EBADMSG;
}
