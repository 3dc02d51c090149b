/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the options module only: one value, one name. */
#ifndef BASE_OPTIONS_INTERNAL_H
#define BASE_OPTIONS_INTERNAL_H

#include "proto/base/options.h"

#define OPTION_VALUE_TEXT_MAX 32

/* Where a value was written. */
struct option_source {
	const char *file; /* borrowed; NULL: a flag or a default */
	size_t line, column; /* from 1 */
};

/* Set e to "FILE:LINE:COLUMN: SENTENCE", or "--SENTENCE", which then begins with the option's name.
 * Returns code. */
int option_fail(const struct option_source *s, int code, struct error *e, const char *fmt, ...)
	PRINTF(4, 5);
/* Parse text into the row's field, replacing what was there; OPT_STRINGS: append one item. */
MUST_CHECK int option_set(const struct option *row, void *opts, const char *text,
			  const struct option_source *s, struct error *e);
/* For OPT_STRINGS: forget the items; and check their number when they are complete. */
void option_list_clear(struct option_list *list);
MUST_CHECK int option_list_check(const struct option *row, const void *opts,
				 const struct option_source *s, struct error *e);
/* Empty, 0, false; whatever was there is not freed. */
void option_zero(const struct option *row, void *opts);
/* The default of all types but lists; a row without one is not bound by min. The field is zero. */
MUST_CHECK int option_set_default(const struct option *row, void *opts, struct error *e);
void option_release(const struct option *row, void *opts);
struct option_list *option_list(const struct option *row, void *opts);
/* 1073741824 of OPT_BYTES is "1GiB". Returns buf. */
const char *option_format(const struct option *row, uint64_t v,
			  char buf[static OPTION_VALUE_TEXT_MAX]);
/* "SIZE", "DURATION"... or the row's own. */
const char *option_metavar(const struct option *row);

/* The row called name, or NULL. */
const struct option *option_find(const struct option_table *t, const char *name);
/* Whether some row's name starts with prefix ("journal."). */
bool option_has_prefix(const struct option_table *t, const char *prefix);
/* Hint at the key below prefix that looks most like name ("did you mean 'journal'?"), if one does.
 * flag: compare with whole names, not with the part up to the next dot, and show "--" before them. */
void option_hint_near(const struct option_table *t, const char *prefix, const char *name, bool flag,
		      struct error *e);

#endif
