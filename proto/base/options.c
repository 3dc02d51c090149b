/* SPDX-License-Identifier: Apache-2.0 */
/* The table as a whole: defaults and names. */
#include "proto/base/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/options_internal.h"

#define NEAR_NAME_MAX 64

/* A list's default is YAML: "[a, b]". */
static int list_default(const struct option *row, void *opts, struct error *e)
{
	const struct option_table one = { .rows = row, .n_rows = 1 };
	AUTO(free_ptr) char *text = NULL;
	int n = asprintf(&text, "%s: %s", row->name, row->def);

	if (n < 0) {
		text = NULL;
		return error_set(e, -ENOMEM, "%s: out of memory", row->name);
	}
	return options_parse(&one, "defaults", text, (size_t)n, opts, e);
}

int options_init(const struct option_table *t, void *opts, struct error *e)
{
	if (t->n_rows > OPTION_ROWS_MAX)
		return error_set(e, -EINVAL, "%s: more than %d options", t->program,
				 OPTION_ROWS_MAX);
	/* All first, so that options_release is safe wherever this stops. */
	for (size_t i = 0; i < t->n_rows; i++)
		option_zero(&t->rows[i], opts);
	for (size_t i = 0; i < t->n_rows; i++) {
		const struct option *row = &t->rows[i];
		int r = row->type == OPT_STRINGS && row->def ? list_default(row, opts, e) :
							       option_set_default(row, opts, e);

		if (r < 0)
			return error_wrap(e, r, "wrong default");
	}
	return 0;
}

void options_release(const struct option_table *t, void *opts)
{
	for (size_t i = 0; i < t->n_rows; i++)
		option_release(&t->rows[i], opts);
}

const struct option *option_find(const struct option_table *t, const char *name)
{
	for (size_t i = 0; i < t->n_rows; i++)
		if (strcmp(t->rows[i].name, name) == 0)
			return &t->rows[i];
	return NULL;
}

bool option_has_prefix(const struct option_table *t, const char *prefix)
{
	for (size_t i = 0; i < t->n_rows; i++)
		if (strncmp(t->rows[i].name, prefix, strlen(prefix)) == 0)
			return true;
	return false;
}

/* Levenshtein's distance. Both at most NEAR_NAME_MAX bytes. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t row[NEAR_NAME_MAX + 1];

	for (size_t k = 0; k <= b_len; k++)
		row[k] = k;
	for (size_t i = 1; i <= a_len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b_len; k++) {
			size_t best = diagonal + (a[i - 1] != b[k - 1]);

			diagonal = row[k];
			if (row[k] + 1 < best)
				best = row[k] + 1;
			if (row[k - 1] + 1 < best)
				best = row[k - 1] + 1;
			row[k] = best;
		}
	}
	return row[b_len];
}

void option_hint_near(const struct option_table *t, const char *prefix, const char *name, bool flag,
		      struct error *e)
{
	size_t name_len = strlen(name), best = 1 + name_len / 3, best_len = 0;
	const char *found = NULL;

	for (size_t i = 0; i < t->n_rows && name_len <= NEAR_NAME_MAX; i++) {
		const char *key = t->rows[i].name + strlen(prefix);
		size_t len, d;

		if (strncmp(t->rows[i].name, prefix, strlen(prefix)) != 0)
			continue;
		len = flag ? strlen(key) : strcspn(key, ".");
		d = len <= NEAR_NAME_MAX ? distance(name, name_len, key, len) : best + 1;
		if (d > best || (found && d == best))
			continue;
		best = d;
		found = key;
		best_len = len;
	}
	if (found)
		error_hint(e, "did you mean '%s%.*s'?", flag ? "--" : "", (int)best_len, found);
	else
		error_hint(e, "see %s --help", t->program);
}
