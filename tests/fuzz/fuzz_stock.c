/* SPDX-License-Identifier: Apache-2.0 */
/* The same bytes as an iterator's stream of records and as /proc/PID/stat. */
#include <stdlib.h>

#include "agent/stock.h"
#include "tests/fuzz/fuzz.h"

struct sum {
	size_t bytes;
};

static int add(void *ctx, const void *record, size_t len)
{
	struct sum *sum = ctx;
	const struct rec_header *h = record;

	if (h->len != len)
		abort();
	sum->bytes += len;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum sum = { 0 };
	size_t used = 0;

	if (stock_split(data, size, add, &sum, &used) == 0 && (used > size || used != sum.bytes))
		abort();
	(void)stock_start_ticks(data, size);
	return 0;
}
