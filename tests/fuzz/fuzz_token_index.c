/* SPDX-License-Identifier: Apache-2.0 */
/* An index file of any bytes: its head, streams, rows and tokens; and a bucket without its sum. */
#include "collector/segment_index.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define ROWS 100

struct bytes {
	const uint8_t *data;
	size_t size;
};

static ssize_t read_bytes(void *ctx, uint64_t offset, void *buf, size_t len)
{
	const struct bytes *b = ctx;

	if (offset >= b->size)
		return 0;
	if (len > b->size - offset)
		len = b->size - (size_t)offset;
	if (len > 0)
		memcpy(buf, b->data + offset, len);
	return (ssize_t)len;
}

static void walk(const struct segment_index *i)
{
	uint32_t rows = segment_index_summary(i)->rows, no;
	struct index_stream *streams = NULL, one;
	struct row_cursor c;
	struct bitmap hits;
	struct row row;
	size_t n = 0;

	row_cursor_init(&c, i);
	if (bitmap_init(&hits, rows, false)) {
		if (segment_index_streams(i, &streams, &n) == 0)
			for (size_t k = 0; k < n; k++) {
				(void)!segment_index_stream_rows(i, &streams[k], &hits);
				(void)!segment_index_stream(i, &streams[k].key, streams[k].key_hash,
							    &one, &no);
			}
		for (uint32_t k = 0; k < rows && row_cursor_get(&c, k, &row) == 0; k++)
			(void)!segment_index_by_stream(i, k, &no);
		for (uint32_t k = 0; k < 64; k++)
			(void)!segment_index_token(i, k << 26, &hits);
	}
	free(streams);
	bitmap_release(&hits);
	row_cursor_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	struct segment_index *i;
	struct bitmap hits;

	if (segment_index_over(read_bytes, &b, size, &i, NULL) == 0) {
		walk(i);
		segment_index_close(i);
	}
	if (bitmap_init(&hits, ROWS, false)) {
		(void)!token_index_search(data, size, 0, size ? data[0] : 7, &hits);
		(void)!token_index_search(data, size, 0xfc000000, 0xffffffff, &hits);
	}
	bitmap_release(&hits);
	return 0;
}
