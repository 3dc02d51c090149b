/* SPDX-License-Identifier: Apache-2.0 */
/* Proofs as agents and `exhibit verify` read them: a tlog-proof text; and proofs of any shape, of which none may
 * hold (their hashes are no preimages). A tile's name too. */
#include <string.h>

#include "proto/base/reader.h"
#include "proto/tlog.h"
#include "tests/fuzz/fuzz.h"

static void check_shapes(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	uint64_t a = reader_u64(&r), b = reader_u64(&r);
	struct seal_hash proof[TLOG_PROOF_MAX + 1] = { 0 }, leaf = { 0 }, root = { { 1 } };
	size_t n = reader_u8(&r) % (TLOG_PROOF_MAX + 2);

	for (size_t i = 0; i < n; i++)
		reader_copy(&r, proof[i].b, SEAL_HASH_LEN);
	if (tlog_check_inclusion(proof, n, a, b, &leaf, &root) == 0)
		abort();
	if (tlog_check_consistency(proof, n, a, &leaf, b, &root) == 0 && a != 0)
		abort();
}

static void check_path(const uint8_t *data, size_t size)
{
	char path[2 * TLOG_TILE_PATH_MAX], again[TLOG_TILE_PATH_MAX];
	int level;
	uint64_t index;
	unsigned int width;

	if (size == 0 || size >= sizeof(path))
		return;
	memcpy(path, data, size);
	path[size] = '\0';
	if (tlog_tile_parse(path, &level, &index, &width) == 0 &&
	    strcmp(tlog_tile_path(level, index, width, again), path) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[TLOG_PROOF_TEXT_MAX];
	struct tlog_proof p;
	size_t len;

	check_shapes(data, size);
	check_path(data, size);
	/* What parses is written again as it was, but for a proof of many hashes and no room. */
	if (tlog_proof_parse((const char *)data, size, &p, NULL) == 0 &&
	    tlog_proof_format(&p, text, sizeof(text), &len) == 0 &&
	    (len != size || size == 0 || memcmp(text, data, size) != 0))
		abort();
	return 0;
}
