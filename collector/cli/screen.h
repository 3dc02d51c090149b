/* SPDX-License-Identifier: Apache-2.0 */
/* What a terminal gets: cells of fixed width in columns, and colours. Text from hosts is hostile: control and
 * formatting characters are shown as escapes, so that a file's name cannot drive the terminal or turn
 * letters around. */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include <stdio.h>

#include "collector/cli/args.h"

enum color {
	COLOR_NONE,
	COLOR_BOLD,
	COLOR_DIM,
	COLOR_RED,
	COLOR_GREEN,
	COLOR_YELLOW,
	COLOR_BLUE,
	COLOR_CYAN
};

struct screen {
	FILE *out;
	bool table; /* else JSON lines */
	bool color;
	size_t width; /* columns of the terminal */
};

/* For standard output. */
void screen_init(struct screen *s, const struct args *a);
/* Print text (len bytes) made harmless, cut to width columns with an ellipsis, padded to width when pad.
 * width 0: nothing; SIZE_MAX: as long as it is. Returns the columns used. */
size_t screen_cell(const struct screen *s, const void *text, size_t len, size_t width, bool pad,
		   enum color color);
size_t screen_text(const struct screen *s, const char *text, size_t width, bool pad,
		   enum color color);

/* A small table that is known as a whole before it is printed: columns as wide as their widest cell. */
#define TABLE_COLUMNS_MAX 12
struct table;

struct table *
table_new(const char *const *headers); /* NULL-terminated, constants; NULL: out of memory */
void table_free(struct table *t); /* NULL allowed */
static inline void table_free_ptr(struct table **t)
{
	table_free(*t);
}
/* The next cell, row by row; copied. Out of memory: the cell is empty. */
void table_add(struct table *t, enum color color, const char *fmt, ...) PRINTF(3, 4);
void table_add_bytes(struct table *t, enum color color, const void *text, size_t len);
void table_print(const struct table *t, const struct screen *s);

#endif
