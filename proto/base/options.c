/* SPDX-License-Identifier: Apache-2.0 */
/* The table as a whole: defaults and names. */
#include "proto/base/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/options_internal.h"
#include "proto/base/suggest.h"

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

void option_hint_near(const struct option_table *t, const char *prefix, const char *name, bool flag,
		      struct error *e)
{
	struct suggestion near = { 0 };
	char key[NEAR_NAME_MAX], nearest[NEAR_NAME_MAX];

	for (size_t i = 0; i < t->n_rows; i++) {
		const char *rest = t->rows[i].name + strlen(prefix);
		size_t len;

		if (strncmp(t->rows[i].name, prefix, strlen(prefix)) != 0)
			continue;
		len = flag ? strlen(rest) : strcspn(rest, ".");
		if (len >= sizeof(key))
			continue;
		(void)snprintf(key, sizeof(key), "%.*s", (int)len, rest);
		suggest(&near, name, strlen(name), key);
		/* The word is borrowed, and key is about to be the next one. */
		if (near.word == key) {
			memcpy(nearest, key, sizeof(nearest));
			near.word = nearest;
		}
	}
	if (near.word)
		error_hint(e, "did you mean '%s%s'?", flag ? "--" : "", near.word);
	else
		error_hint(e, "see %s --help", t->program);
}
