/* SPDX-License-Identifier: Apache-2.0 */
/* An Entry's bytes -> every field -> JSON, as the CLI shows it. A process entry serves as the process of
 * an empty event, so that both halves are reached. */
#include <stdio.h>
#include <string.h>

#include "batch.pb-c.h"
#include "proto/batch.h"
#include "proto/fields.h"
#include "proto/json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t boot[16], host[] = "h";
	Exhibit__V1__BatchContext context = EXHIBIT__V1__BATCH_CONTEXT__INIT;
	Exhibit__V1__Event none = EXHIBIT__V1__EVENT__INIT;
	struct arena *a = arena_new(MiB(8), MiB(1));
	FILE *out = fopen("/dev/null", "w");
	Exhibit__V1__Entry *entry = NULL;

	if (!a || !out)
		abort();
	context.host_id = (ProtobufCBinaryData){ 1, host };
	context.boot_id = (ProtobufCBinaryData){ sizeof(boot), boot };
	if (size <= BATCH_ENTRY_MAX)
		entry = exhibit__v1__entry__unpack(arena_protobuf(a), size, data);
	if (entry && entry->kind_case != EXHIBIT__V1__ENTRY__KIND__NOT_SET) {
		bool event = entry->kind_case == EXHIBIT__V1__ENTRY__KIND_EVENT;
		struct subject s = { &context, event ? entry->event : &none,
				     event ? NULL : entry->process, a, .failed = false };
		struct json j = json_init(out);

		fields_write_json(&j, &s);
		if (j.bad || j.depth)
			abort();
	}
	(void)fclose(out);
	arena_free(a);
	return 0;
}
