/* SPDX-License-Identifier: Apache-2.0 */
/* A segment file of any bytes: recovered, with all that its frames may hold. */
#include "collector/segment.h"
#include "proto/base/reader.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

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

static void parse_bodies(const uint8_t *body, size_t len)
{
	struct segment_begin begin;
	struct segment_end end;
	struct segment_end_stream stream;
	struct reader r = reader_init(body, len);

	(void)!segment_begin_parse(body, len, &begin, NULL);
	if (segment_end_read(&r, &end, NULL) == 0)
		while (segment_end_stream_read(&r, &stream) == 1)
			;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The id that the corpus was made with. */
	static const struct segment_id id = { "\0\0\0\0\0\0\0\7randomxx" };
	struct bytes b = { data, size };
	struct segment_scan *s;
	enum segment_fault fault;
	struct frame f;
	uint8_t *body = NULL;
	int r;

	parse_bodies(data, size);
	if (segment_read_frame(read_bytes, &b, &id, 0, &f, &body, NULL) == 0)
		free(body);
	if (segment_scan_new(read_bytes, &b, &id, size, &s, NULL))
		return 0;
	while ((r = segment_scan_next(s, &f, NULL)) != 0) {
		if (r == 1)
			parse_bodies(f.body, f.length);
		else if (r != -EBADMSG || segment_scan_judge(s, 0, &fault, NULL) ||
			 segment_scan_skip(s, NULL))
			break;
	}
	segment_scan_free(s);
	return 0;
}
