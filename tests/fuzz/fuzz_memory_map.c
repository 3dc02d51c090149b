/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/iomem and the head of /proc/kcore, of any bytes. */
#include <stdlib.h>

#include "agent/acquire/memory_map.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory_range *ranges = NULL;
	struct memory_kcore k;
	size_t n = 0, len = 0;

	if (size == 0)
		return 0;
	if (memory_ranges_parse((const char *)data, size, &ranges, &n, NULL) == 0)
		for (size_t i = 0; i < n; i++)
			if (ranges[i].last < ranges[i].first ||
			    (i > 0 && ranges[i].first <= ranges[i - 1].last))
				abort();
	free(ranges);
	if (memory_kcore_parse(data, size, &k, NULL) == 0) {
		(void)memory_segment_at(&k, data[0]);
		if (k.note != NULL)
			(void)memory_note_find(k.note, k.note_len, "NUMBER(phys_base)=", &len);
		memory_kcore_release(&k);
	}
	return 0;
}
