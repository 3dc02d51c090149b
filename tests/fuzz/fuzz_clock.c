/* SPDX-License-Identifier: Apache-2.0 */
/* Times that people and scripts pass to --since and --until. What is taken is printed and taken again. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/clock.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), printed[CLOCK_TEXT_MAX];
	int64_t ns, again;

	if (!text)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	/* Years at the edges of 64 bits print, but are refused. */
	if (clock_parse(text, 1764000000000000000, &ns) == 0 && ns > -9000000000000000000 &&
	    ns < 9000000000000000000 &&
	    (clock_parse(clock_format(ns, printed), 0, &again) < 0 || again != ns))
		abort();
	free(text);
	return 0;
}
