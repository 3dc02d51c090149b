/* SPDX-License-Identifier: Apache-2.0 */
/* The file of an acquisition that is not over, as a torn disk may give it back: what parses lies inside. */
#include <stdlib.h>

#include "agent/orders_state.h"
#include "tests/fuzz/fuzz.h"

static void must_lie_in(const uint8_t *data, size_t size, const uint8_t *part, size_t len)
{
	if (len > size || part < data || (size_t)(part - data) > size - len)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct orders_state s;

	if (size > ORDERS_STATE_MAX || orders_state_parse(data, size, &s) < 0)
		return 0;
	must_lie_in(data, size, s.order, s.order_len);
	must_lie_in(data, size, s.manifest, s.manifest_len);
	return 0;
}
