/* SPDX-License-Identifier: Apache-2.0 */
/* A ring's record through decode, and every byte that the result points to. */
#include "agent/decode.h"
#include "proto/actions.h"
#include "tests/fuzz/fuzz.h"

static unsigned int touch(struct bytes b)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < b.len; i++)
		sum += b.at[i];
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct decode_hooks hooks;
	static volatile unsigned int sink;
	struct decoded d;
	const char *why;

	if (decode_record(&hooks, data, size, &d, &why) < 0)
		return 0;
	sink += touch(d.facts.name);
	if (d.event.facts) {
		const struct image_facts *f = d.event.facts;

		sink += touch(f->executable) + touch(f->working_directory) + touch(f->cgroup_name) +
			touch(f->args);
	}
	if (d.event.action == ACTION_CREATE || d.event.action == ACTION_OPEN_WRITE)
		sink += touch(d.event.u.file.path);
	return 0;
}
