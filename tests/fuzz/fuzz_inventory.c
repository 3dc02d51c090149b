/* SPDX-License-Identifier: Apache-2.0 */
/* An inventory of hosts: whatever comes, an error with a sentence, or hosts with names within their bounds. */
#include <stdlib.h>
#include <string.h>

#include "collector/cli/inventory.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);
	struct inventory v;
	struct error e = { 0 };

	if (!copy)
		return 0;
	if (size)
		memcpy(copy, data, size);
	copy[size] = '\0';
	if (inventory_parse("f", copy, size, &v, &e) < 0) {
		if (!e.text[0])
			abort();
	} else {
		for (size_t i = 0; i < v.n; i++)
			if (!v.hosts[i].name[0] || strlen(v.hosts[i].name) > INVENTORY_FIELD_MAX ||
			    strlen(v.hosts[i].id) > size || strlen(v.hosts[i].owner) > size)
				abort();
	}
	inventory_release(&v);
	return 0;
}
