/* SPDX-License-Identifier: Apache-2.0 */
/* events/ID.events of a bundle that somebody hands over: read, described, put on the timeline. */
#include <stdio.h>
#include <stdlib.h>

#include "collector/cli/bundle_events.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle b = { 0 };
	struct bundle_events *x = bundle_add_event(&b);
	AUTO(free_ptr) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!x || !out || blob_set(&x->bytes, data, size) < 0)
		abort();
	bundle_events_understand(x);
	bundle_write_events(x, out);
	if (bundle_write_timeline(&b, out) < 0 || fclose(out) != 0)
		abort();
	/* Nothing of it drives a terminal. */
	for (size_t i = 0; i < len; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\n') || text[i] == 0x7f)
			abort();
	bundle_release(&b);
	return 0;
}
