/* SPDX-License-Identifier: Apache-2.0 */
/* A SignedBatch as the collector opens it; the signature alone is not asked for, or nothing behind it
 * would ever be reached. */
#include "proto/base/reader.h"
#include "proto/batch.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *a;
	static struct batch_opener *o;
	struct batch_view view;
	struct reader r;
	const uint8_t *raw, *entry;
	size_t raw_len, len;
	uint32_t entries = 0;

	if (!a)
		a = arena_new(MiB(16), MiB(1));
	if (!a || (!o && batch_opener_new(&o, NULL) < 0))
		abort();
	arena_reset(a);
	if (batch_parse(data, size, a, &view, NULL) < 0 ||
	    batch_open(o, &view, NULL, &raw, &raw_len, NULL) < 0)
		return 0;
	for (r = reader_init(raw, raw_len); batch_next(&r, &entry, &len); entries++)
		;
	if (r.bad || entries != view.header.entries)
		abort();
	return 0;
}
