/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file, over a table that has every type. Whatever comes: an error with a sentence, or
 * values within their bounds. */
#include <stdlib.h>
#include <string.h>

#include "proto/base/options.h"
#include "tests/fuzz/fuzz.h"

struct opts {
	char *text;
	uint64_t size, duration, number;
	bool flag;
	struct option_list list;
};

static const struct option rows[] = {
	{ "a.text", OPT_STRING, offsetof(struct opts, text), 1, 8, "x", "text", NULL },
	{ "a.size", OPT_BYTES, offsetof(struct opts, size), 16, MiB(1), "64KiB", "size", NULL },
	{ "a.b.duration", OPT_DURATION_MS, offsetof(struct opts, duration), 1, 1000, "1s",
	  "duration", NULL },
	{ "a.b.number", OPT_U64, offsetof(struct opts, number), 0, 0, NULL, "number", NULL },
	{ "flag", OPT_BOOL, offsetof(struct opts, flag), 0, 0, NULL, "flag", NULL },
	{ "list", OPT_STRINGS, offsetof(struct opts, list), 1, 4, "[a]", "list", NULL },
};
static const struct option_table table = {
	.program = "fuzz", .summary = "fuzz", .rows = rows, .n_rows = ARRAY_LEN(rows)
};

static bool within_bounds(const struct opts *o)
{
	return o->text && strlen(o->text) >= 1 && strlen(o->text) <= 8 && o->size >= 16 &&
	       o->size <= MiB(1) && o->duration >= 1 && o->duration <= 1000 && o->list.n >= 1 &&
	       o->list.n <= 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct opts o;
	struct error e = { 0 };
	int r;

	if (options_init(&table, &o, &e) < 0)
		abort();
	r = options_parse(&table, "f", data, size, &o, &e);
	if (r < 0 ? e.text[0] == '\0' : !within_bounds(&o))
		abort();
	options_release(&table, &o);
	return 0;
}
