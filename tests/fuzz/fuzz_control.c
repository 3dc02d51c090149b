/* SPDX-License-Identifier: Apache-2.0 */
/* What an acquirer that read hostile memory may say to sense: what decodes encodes to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "agent/acquire/control.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[CONTROL_MESSAGE_MAX];
	struct control_message m;
	size_t len;

	if (control_decode(data, size, &m) < 0)
		return 0;
	if (control_encode(&m, again, &len) < 0 || len != size || memcmp(again, data, len) != 0)
		abort();
	return 0;
}
