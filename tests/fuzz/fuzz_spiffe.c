/* SPDX-License-Identifier: Apache-2.0 */
/* The name in a peer's certificate. What is taken is written back byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "proto/identity.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[IDENTITY_SPIFFE_MAX];
	struct identity id;
	struct error e;

	if (identity_parse_spiffe((const char *)data, size, &id, &e) < 0)
		return 0;
	(void)identity_spiffe(&id, text);
	if (strlen(text) != size || memcmp(text, data, size) != 0 || strstr(text, "..") != NULL)
		abort();
	return 0;
}
