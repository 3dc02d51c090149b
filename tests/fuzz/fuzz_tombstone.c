/* SPDX-License-Identifier: Apache-2.0 */
/* A SignedTombstone and a SignedIdle as the collector opens them, signature not asked for. */
#include "proto/batch.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	struct batch_tombstone t;
	struct batch_idle idle;

	if (!a)
		a = arena_new(MiB(16), MiB(1));
	if (!a)
		abort();
	arena_reset(a);
	if (batch_open_tombstone(data, size, NULL, a, &t, NULL) == 0 &&
	    (t.n_dropped == 0 || t.n_dropped > BATCH_DROPPED_MAX))
		abort();
	arena_reset(a);
	(void)!batch_open_idle(data, size, NULL, a, &idle, NULL);
	return 0;
}
