/* SPDX-License-Identifier: Apache-2.0 */
/* STATE/enrolled. What is taken is written back and taken again as the same. */
#include <stdlib.h>
#include <string.h>

#include "agent/enroll_facts.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[ENROLL_FACTS_TEXT];
	struct enroll_facts first, again;

	if (!enroll_facts_parse((const char *)data, size, &first))
		return 0;
	if (!enroll_facts_parse(text, enroll_facts_format(&first, text), &again) ||
	    memcmp(&first, &again, sizeof(first)) != 0)
		abort();
	return 0;
}
