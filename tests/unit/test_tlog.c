/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/merkle.h"
#include "proto/tlog.h"
#include "tests/unit/rows.h"

/* ---- the Certificate Transparency implementations' vectors ---- */

static const struct {
	const char *bytes;
	size_t len;
} leaves[] = {
	{ "", 0 },
	{ "\x00", 1 },
	{ "\x10", 1 },
	{ "\x20\x21", 2 },
	{ "\x30\x31", 2 },
	{ "\x40\x41\x42\x43", 4 },
	{ "\x50\x51\x52\x53\x54\x55\x56\x57", 8 },
	{ "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f", 16 },
};

static const struct path_row {
	const char *name;
	uint64_t index, size;
	size_t n;
	const char *hashes[3];
} path_rows[] = {
	{ "leaf 0 of 1", 0, 1, 0, { NULL } },
	{ "leaf 0 of 8",
	  0,
	  8,
	  3,
	  { "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
	    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4" } },
	{ "leaf 5 of 8",
	  5,
	  8,
	  3,
	  { "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
	    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
	    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" } },
	{ "leaf 2 of 3",
	  2,
	  3,
	  1,
	  { "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125" } },
	{ "leaf 1 of 5",
	  1,
	  5,
	  3,
	  { "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
	    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b" } },
};

static const struct path_row consistency_rows[] = {
	{ "1 to 1", 1, 1, 0, { NULL } },
	{ "1 to 8",
	  1,
	  8,
	  3,
	  { "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
	    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4" } },
	{ "6 to 8",
	  6,
	  8,
	  3,
	  { "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
	    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
	    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7" } },
	{ "2 to 5",
	  2,
	  5,
	  2,
	  { "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
	    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b" } },
};

/* ---- a tree that is computed as the RFC defines it ---- */

#define TREE_MAX 1100U

static struct seal_hash leaf_hashes[TREE_MAX];

static void fill_rfc(void)
{
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(tlog_leaf_hash(leaves[i].bytes, leaves[i].len, &leaf_hashes[i]),
				 0);
}

static void fill_numbers(void)
{
	for (uint32_t i = 0; i < TREE_MAX; i++)
		assert_int_equal(tlog_leaf_hash(&i, sizeof(i), &leaf_hashes[i]), 0);
}

static struct seal_hash naive(size_t lo, size_t hi)
{
	struct seal_hash l, r, h = leaf_hashes[lo];
	size_t k = 1;

	if (hi - lo <= 1)
		return h;
	while (2 * k < hi - lo)
		k *= 2;
	l = naive(lo, lo + k);
	r = naive(lo + k, hi);
	assert_int_equal(tlog_node_hash(&l, &r, &h), 0);
	return h;
}

/* Perfect subtrees, remembered: the naive tree's own, so that all pairs take seconds. */
static struct seal_hash nodes[12][TREE_MAX];

static void fill_nodes(void)
{
	memcpy(nodes[0], leaf_hashes, sizeof(leaf_hashes));
	for (size_t level = 1; level < 11; level++)
		for (size_t i = 0; i < TREE_MAX >> level; i++)
			assert_int_equal(tlog_node_hash(&nodes[level - 1][2 * i],
							&nodes[level - 1][2 * i + 1],
							&nodes[level][i]),
					 0);
}

static int node(void *ctx, unsigned int level, uint64_t index, struct seal_hash *ret,
		struct error *e)
{
	const uint64_t *size = ctx;

	(void)e;
	assert_true((index + 1) << level <= *size);
	*ret = nodes[level][index];
	return 0;
}

static void assert_hex(const struct seal_hash *h, const char *want)
{
	char hex[2 * SEAL_HASH_LEN + 1];

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", h->b[i]);
	assert_string_equal(hex, want);
}

static void path_is_that_of_the_rfc(void **state)
{
	const struct path_row *row = *state;
	uint64_t size = row->size;
	struct tlog_source s = { node, &size };
	struct seal_hash proof[TLOG_PROOF_MAX];
	size_t n;

	fill_rfc();
	fill_nodes();
	assert_int_equal(tlog_prove_inclusion(&s, row->index, size, proof, &n, NULL), 0);
	assert_int_equal(n, row->n);
	for (size_t i = 0; i < n; i++)
		assert_hex(&proof[i], row->hashes[i]);
}

static void consistency_is_that_of_the_rfc(void **state)
{
	const struct path_row *row = *state;
	uint64_t size = row->size;
	struct tlog_source s = { node, &size };
	struct seal_hash proof[TLOG_PROOF_MAX];
	size_t n;

	fill_rfc();
	fill_nodes();
	assert_int_equal(tlog_prove_consistency(&s, row->index, size, proof, &n, NULL), 0);
	assert_int_equal(n, row->n);
	for (size_t i = 0; i < n; i++)
		assert_hex(&proof[i], row->hashes[i]);
}

static void roots_are_those_of_the_naive_tree(void **state)
{
	struct merkle *m = merkle_new();

	(void)state;
	assert_non_null(m);
	fill_numbers();
	fill_nodes();
	for (uint64_t size = 0; size < TREE_MAX; size++) {
		struct tlog_source s = { node, &size };
		struct seal_hash root, streamed;
		uint32_t leaf = (uint32_t)size;

		assert_int_equal(tlog_root(&s, size, &root, NULL), 0);
		assert_int_equal(merkle_root(m, &streamed), 0);
		assert_memory_equal(root.b, streamed.b, SEAL_HASH_LEN);
		if (size > 0) {
			struct seal_hash slow = naive(0, size);

			assert_memory_equal(root.b, slow.b, SEAL_HASH_LEN);
		}
		assert_int_equal(merkle_add(m, &leaf, sizeof(leaf)), 0);
	}
	merkle_free(m);
}

/* All pairs up to 300, then a thousand of the rest. */
static void each_pair(void (*fn)(uint64_t small, uint64_t size))
{
	uint64_t x = 88172645463325252ULL;

	for (uint64_t size = 1; size <= 300; size++)
		for (uint64_t small = 0; small <= size; small++)
			fn(small, size);
	for (size_t i = 0; i < 3000; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		fn(x % TREE_MAX % (1 + (x >> 32) % TREE_MAX), 1 + (x >> 32) % TREE_MAX);
	}
}

static struct seal_hash root_of(uint64_t size)
{
	struct tlog_source s = { node, &size };
	struct seal_hash root;

	assert_int_equal(tlog_root(&s, size, &root, NULL), 0);
	return root;
}

static void inclusion_pair(uint64_t index, uint64_t size)
{
	struct tlog_source s = { node, &size };
	struct seal_hash proof[TLOG_PROOF_MAX], root = root_of(size);
	size_t n;

	if (index >= size) {
		assert_int_equal(tlog_prove_inclusion(&s, index, size, proof, &n, NULL), -ERANGE);
		return;
	}
	assert_int_equal(tlog_prove_inclusion(&s, index, size, proof, &n, NULL), 0);
	assert_int_equal(tlog_check_inclusion(proof, n, index, size, &leaf_hashes[index], &root),
			 0);
	/* Nothing else passes: another place, leaf or length; a hash changed. */
	assert_int_equal(tlog_check_inclusion(proof, n, index ^ 1, size, &leaf_hashes[index],
					      &root),
			 -EBADMSG);
	if (size > 1)
		assert_int_equal(tlog_check_inclusion(proof, n, index, size,
						      &leaf_hashes[(index + 1) % size], &root),
				 -EBADMSG);
	assert_int_equal(tlog_check_inclusion(proof, n + 1, index, size, &leaf_hashes[index],
					      &root),
			 -EBADMSG);
	if (n == 0)
		return;
	assert_int_equal(tlog_check_inclusion(proof, n - 1, index, size, &leaf_hashes[index],
					      &root),
			 -EBADMSG);
	proof[index % n].b[7] ^= 1;
	assert_int_equal(tlog_check_inclusion(proof, n, index, size, &leaf_hashes[index], &root),
			 -EBADMSG);
}

static void consistency_pair(uint64_t old, uint64_t size)
{
	struct tlog_source s = { node, &size };
	struct seal_hash proof[TLOG_PROOF_MAX] = { 0 }, root = root_of(size), before, wrong;
	size_t n;

	if (old > size)
		return;
	before = root_of(old);
	assert_int_equal(tlog_prove_consistency(&s, old, size, proof, &n, NULL), 0);
	assert_int_equal(tlog_check_consistency(proof, n, old, &before, size, &root), 0);
	if (old == 0)
		return;
	wrong = before;
	wrong.b[0] ^= 1;
	assert_int_equal(tlog_check_consistency(proof, n, old, &wrong, size, &root), -EBADMSG);
	wrong = root;
	wrong.b[31] ^= 1;
	assert_int_equal(tlog_check_consistency(proof, n, old, &before, size, &wrong), -EBADMSG);
	assert_int_equal(tlog_check_consistency(proof, n + 1, old, &before, size, &root), -EBADMSG);
	if (n == 0)
		return;
	assert_int_equal(tlog_check_consistency(proof, n - 1, old, &before, size, &root), -EBADMSG);
	proof[old % n].b[0] ^= 0x80;
	assert_int_equal(tlog_check_consistency(proof, n, old, &before, size, &root), -EBADMSG);
}

static void inclusion_holds_for_all_pairs_and_nothing_else(void **state)
{
	(void)state;
	fill_numbers();
	fill_nodes();
	each_pair(inclusion_pair);
}

static void consistency_holds_for_all_pairs_and_nothing_else(void **state)
{
	(void)state;
	fill_numbers();
	fill_nodes();
	each_pair(consistency_pair);
}

/* ---- tiles ---- */

static const struct tile_row {
	const char *name, *path;
	int level;
	uint64_t index;
	unsigned int width;
} tile_rows[] = {
	{ "the first", "tile/0/000", 0, 0, 256 },
	{ "of entries", "tile/entries/007", TLOG_ENTRIES, 7, 256 },
	{ "the specification's", "tile/0/x001/x234/067", 0, 1234067, 256 },
	{ "partial", "tile/1/001.p/17", 1, 1, 17 },
	{ "a thousand", "tile/0/x001/000.p/1", 0, 1000, 1 },
};

static void tile_has_its_name(void **state)
{
	const struct tile_row *row = *state;
	char path[TLOG_TILE_PATH_MAX];
	int level;
	uint64_t index;
	unsigned int width;

	assert_string_equal(tlog_tile_path(row->level, row->index, row->width, path), row->path);
	assert_int_equal(tlog_tile_parse(row->path, &level, &index, &width), 0);
	assert_int_equal(level, row->level);
	assert_int_equal(index, row->index);
	assert_int_equal(width, row->width);
}

static const struct tile_row bad_tile_rows[] = {
	{ "level 8", "tile/8/000", 0, 0, 0 },
	{ "two digits", "tile/0/00", 0, 0, 0 },
	{ "needless part", "tile/0/x000/001", 0, 0, 0 },
	{ "width 256", "tile/0/000.p/256", 0, 0, 0 },
	{ "width 0", "tile/0/000.p/0", 0, 0, 0 },
	{ "width with a zero", "tile/0/000.p/01", 0, 0, 0 },
	{ "more behind", "tile/0/000/", 0, 0, 0 },
	{ "up", "tile/0/../000", 0, 0, 0 },
	{ "too many parts", "tile/0/x001/x001/x001/x001/x001/x001/x001/000", 0, 0, 0 },
};

static void tile_name_is_refused(void **state)
{
	const struct tile_row *row = *state;
	int level;
	uint64_t index;
	unsigned int width;

	assert_int_equal(tlog_tile_parse(row->path, &level, &index, &width), -EINVAL);
}

/* The specification's example: a tree of 70,000 leaves has 273 full tiles and one of 112 hashes on level 0, one
 * full and one of 17 on level 1, one of 1 on level 2. */
static void size_70000_has_the_tiles_of_the_specification(void **state)
{
	static const struct {
		int level;
		uint64_t index;
		unsigned int width;
	} want[] = { { 0, 272, 256 },
		     { 0, 273, 112 },
		     { 0, 274, 0 },
		     { 1, 0, 256 },
		     { 1, 1, 17 },
		     { 1, 2, 0 },
		     { 2, 0, 1 },
		     { 3, 0, 0 },
		     { TLOG_ENTRIES, 272, 256 },
		     { TLOG_ENTRIES, 273, 112 } };

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
		assert_int_equal(tlog_tile_width(want[i].level, want[i].index, 70000),
				 want[i].width);
}

/* ---- tlog-proof ---- */

#define H "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ="
static const struct text_row {
	const char *name, *text;
} bad_proofs[] = {
	{ "empty", "" },
	{ "another version", "c2sp.org/tlog-proof@v2\nindex 1\n\nx\n" },
	{ "no index", "c2sp.org/tlog-proof@v1\n" H "\n\nx\n" },
	{ "leading zero", "c2sp.org/tlog-proof@v1\nindex 01\n\nx\n" },
	{ "short hash", "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx\n" },
	{ "no empty line", "c2sp.org/tlog-proof@v1\nindex 1\n" H "\n" },
	{ "no line end", "c2sp.org/tlog-proof@v1\nindex 1" },
};

static void proof_is_refused(void **state)
{
	const struct text_row *row = *state;
	struct tlog_proof p;

	assert_int_equal(tlog_proof_parse(row->text, strlen(row->text), &p, NULL), -EBADMSG);
}

static void proof_goes_there_and_back(void **state)
{
	static const char text[] = "c2sp.org/tlog-proof@v1\nindex 73894\n" H "\n" H
				   "\n\nexample.com/log\n109482\n";
	char again[TLOG_PROOF_TEXT_MAX];
	struct tlog_proof p;
	size_t len;

	(void)state;
	assert_int_equal(tlog_proof_parse(text, strlen(text), &p, NULL), 0);
	assert_int_equal(p.index, 73894);
	assert_int_equal(p.n, 2);
	assert_memory_equal(p.checkpoint, "example.com/log\n109482\n", p.checkpoint_len);
	assert_int_equal(tlog_proof_format(&p, again, strlen(text), &len), -E2BIG);
	assert_int_equal(tlog_proof_format(&p, again, sizeof(again), &len), 0);
	assert_string_equal(again, text);
}

int main(void)
{
	static struct tests t;

	ADD_ROWS(&t, proof_is_refused, bad_proofs);
	ADD_ROWS(&t, tile_name_is_refused, bad_tile_rows);
	ADD_ROWS(&t, path_is_that_of_the_rfc, path_rows);
	ADD_ROWS(&t, consistency_is_that_of_the_rfc, consistency_rows);
	ADD_TEST(&t, roots_are_those_of_the_naive_tree);
	ADD_TEST(&t, inclusion_holds_for_all_pairs_and_nothing_else);
	ADD_TEST(&t, consistency_holds_for_all_pairs_and_nothing_else);
	ADD_ROWS(&t, tile_has_its_name, tile_rows);
	ADD_TEST(&t, size_70000_has_the_tiles_of_the_specification);
	ADD_TEST(&t, proof_goes_there_and_back);
	return tests_run(&t, "tlog");
}
