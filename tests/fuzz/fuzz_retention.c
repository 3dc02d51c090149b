/* SPDX-License-Identifier: Apache-2.0 */
/* Retention records, host records and a stream's state in the catalog, of any bytes. */
#include "collector/retention_record.h"
#include "collector/streams.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_new(MiB(16), 0);
	struct stream *s = calloc(1, sizeof(*s));
	struct host_record_info host;
	struct retention_info info;
	struct row row;

	if (a && s) {
		(void)!retention_record_open(data, size, NULL, a, &info, NULL);
		(void)!host_record_open(data, size, &host);
		if (size >= ROW_PACKED)
			(void)!row_parse(data, 0, &row);
		(void)!stream_unpack(s, data, size);
		free(s->runs);
	}
	free(s);
	arena_free(a);
	return 0;
}
