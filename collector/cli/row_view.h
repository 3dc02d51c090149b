/* SPDX-License-Identifier: Apache-2.0 */
/* One row of an answer, unpacked, and the texts that tables show of it. */
#ifndef CLI_ROW_VIEW_H
#define CLI_ROW_VIEW_H

#include "collector/cli/screen.h"
#include "proto/fields.h"

struct row_view {
	struct subject subject; /* in the arena */
	const Exhibit__V1__Row *row;
	int64_t time_ns;
};

/* false: the event cannot be read. Everything is in a, which it resets. */
bool row_view_open(struct row_view *v, const Exhibit__V1__BatchContext *context,
		   const Exhibit__V1__Row *row, struct arena *a);
enum color row_view_color(const struct row_view *v);
/* What happened: command line, path, addresses. Raw bytes for screen_cell; malloc'ed, NULL: out of memory. */
char *row_view_what(struct row_view *v, size_t *ret_len);
/* "name(pid)", user, unit or container: written to out, cut to size - 1 bytes. Returns its length. */
size_t row_view_process(const struct row_view *v, char *out, size_t size);
size_t row_view_user(const struct row_view *v, char *out, size_t size);
size_t row_view_place(const struct row_view *v, char *out, size_t size);

#endif
