/* SPDX-License-Identifier: Apache-2.0 */
/* Text -> entity id -> text: what parses is canonical. */
#include <string.h>

#include "proto/entity.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct entity id;
	char text[ENTITY_TEXT_MAX];

	if (entity_parse(data, size, &id) < 0)
		return 0;
	(void)entity_format(&id, text);
	if (strlen(text) != size || memcmp(text, data, size) != 0)
		abort();
	return 0;
}
