/* SPDX-License-Identifier: Apache-2.0 */
/* A cgroup path, and the same bytes as a /proc/PID/cgroup. Results must lie inside of the input. */
#include <stdlib.h>

#include "agent/workload.h"
#include "tests/fuzz/fuzz.h"

static void inside(struct bytes b, const uint8_t *data, size_t size)
{
	if (b.len && (b.at < data || b.len > size || b.at + b.len > data + size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes all = { .at = data, .len = size };
	struct workload w = workload_parse(all);

	inside(w.container_id, data, size);
	inside(w.unit, data, size);
	inside(w.session, data, size);
	inside(w.pod_uid, data, size);
	if (w.container_len > size || (w.container_id.len != 0) != (w.container_len != 0))
		abort();
	inside(workload_of_proc_cgroup(all), data, size);
	return 0;
}
