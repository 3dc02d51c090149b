/* SPDX-License-Identifier: Apache-2.0 */
/* driver_derive DIR: what exhibit makes beside the items of an image of memory in DIR. An error is one
 * sentence on standard error and exit status 1. */
#include <stdio.h>

#include "collector/derive.h"

int main(int argc, char **argv)
{
	struct error e = { 0 };

	if (argc == 2 && derive_memory(argv[1], &e) == 0)
		return 0;
	(void)fprintf(stderr, "driver_derive: %s\n", argc == 2 ? e.text : "DIR");
	return 1;
}
