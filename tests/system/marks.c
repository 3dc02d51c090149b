/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/system/marks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/base/files.h"

struct hex hex(const struct seal_hash *h)
{
	struct hex x;

	for (size_t i = 0; i < SEAL_HASH_LEN; i++)
		(void)snprintf(x.text + 2 * i, 3, "%02x", h->b[i]);
	return x;
}

/* splitmix64 */
uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

void say(const char *fmt, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n < 0 || files_write_all(STDOUT_FILENO, line, (size_t)n, NULL) < 0)
		exit(3);
}

void report(int r, const struct error *e, bool *failed)
{
	char text[ERROR_TEXT_MAX + ERROR_HINT_MAX];

	if (r >= 0)
		return;
	*failed = true;
	(void)fprintf(stderr, "%s: %s\n", program_invocation_short_name,
		      error_format(e, text, sizeof(text)));
}

void count_from_here(void)
{
	(void)!write(-1, "failnth", 7);
}
