/* SPDX-License-Identifier: Apache-2.0 */
/* A passwd file; names must lie inside of it and keep to their maximum. */
#include <stdlib.h>

#include "agent/users.h"
#include "tests/fuzz/fuzz.h"

struct input {
	const uint8_t *data;
	size_t size;
};

static void check(void *ctx, uint32_t uid, struct bytes name)
{
	const struct input *in = ctx;

	if (uid == UINT32_MAX || !name.len || name.len > USERS_NAME_MAX || name.at < in->data ||
	    name.at + name.len > in->data + in->size)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	users_parse((struct bytes){ .at = data, .len = size }, check, &in);
	return 0;
}
