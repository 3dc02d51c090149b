/* SPDX-License-Identifier: Apache-2.0 */
/* A buffer as read(2) from a fanotify group gives it; all that the records point to is inside of it. */
#include <stdlib.h>

#include "agent/decode_fanotify.h"
#include "tests/fuzz/fuzz.h"

static void inside(struct bytes b, const uint8_t *data, size_t size)
{
	if (b.len && (b.at < data || b.len > size || b.at + b.len > data + size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	struct fanotify_record rec;

	while (decode_fanotify(&r, &rec) > 0) {
		inside(rec.at.name, data, size);
		inside(rec.old.name, data, size);
		inside(rec.at.dir.bytes, data, size);
		inside(rec.old.dir.bytes, data, size);
		inside(rec.object.bytes, data, size);
		if (rec.object.bytes.len > FANOTIFY_HANDLE_MAX ||
		    rec.at.dir.bytes.len > FANOTIFY_HANDLE_MAX)
			abort();
	}
	return 0;
}
