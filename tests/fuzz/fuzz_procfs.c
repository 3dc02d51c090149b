/* SPDX-License-Identifier: Apache-2.0 */
/* The same bytes as /proc/PID/stat, /proc/PID/status and a namespace's link. */
#include <stdlib.h>

#include "agent/procfs.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes all = { .at = data, .len = size };
	struct procfs_status status;
	struct procfs_stat stat;

	if (procfs_parse_stat(all, &stat) &&
	    (stat.name.at < data || stat.name.at + stat.name.len > data + size))
		abort();
	(void)procfs_parse_status(all, &status);
	(void)procfs_parse_ns(all);
	return 0;
}
