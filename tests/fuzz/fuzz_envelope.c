/* SPDX-License-Identifier: Apache-2.0 */
/* The outermost layer of what agents and collectors send each other. What opens lies inside the input. */
#include <stdlib.h>

#include "proto/envelope.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t field;
	const uint8_t *body;
	size_t len;

	if (envelope_open(data, size, ENVELOPE_IDLE, &field, &body, &len) != 0)
		return 0;
	if (field < 1 || field > ENVELOPE_IDLE || body < data || len > size ||
	    (size_t)(body - data) > size - len)
		abort();
	return 0;
}
