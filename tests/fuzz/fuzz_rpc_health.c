/* SPDX-License-Identifier: Apache-2.0 */
/* A HealthCheckRequest from any authenticated peer. The name lies inside of the message. */
#include <stdlib.h>

#include "proto/rpc_health.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *name;
	size_t len;

	if (!rpc_health_parse(data, size, &name, &len) || len == 0)
		return 0;
	if (len > size || (const uint8_t *)name < data || (const uint8_t *)name + len > data + size)
		abort();
	return 0;
}
