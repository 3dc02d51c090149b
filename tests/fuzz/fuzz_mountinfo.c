/* SPDX-License-Identifier: Apache-2.0 */
/* A /proc/PID/mountinfo; texts are terminated and absolute. */
#include <stdlib.h>
#include <string.h>

#include "agent/mounts.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = reader_init(data, size);
	static struct mount m;

	while (mounts_next(&r, &m)) {
		if (m.point[0] != '/' || strnlen(m.point, sizeof(m.point)) == sizeof(m.point) ||
		    !m.root[0] || !m.type[0])
			abort();
		(void)mounts_kind(m.type);
	}
	return 0;
}
