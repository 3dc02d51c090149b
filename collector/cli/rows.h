/* SPDX-License-Identifier: Apache-2.0 */
/* Asks a question whose answer is rows (Events, Tree), shows each as JSON line or by the verb's own hand, and
 * ends with the completeness. */
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include "collector/cli/row_view.h"

struct rows_request {
	const struct args *args;
	const char *path; /* "/exhibit.v1.Query/Events" */
	const void *question; /* a protobuf-c message */
	bool tree; /* JSON carries depth, focus and exit */
	uint64_t limit; /* rows shown at most, the first; 0: all that come */
	bool endless; /* a live tail: waiting is no news */
	/* Asked when Ctrl-C ended a live tail: how complete it was. since_ns becomes the first row's time when
	 * that was earlier. NULL: nothing. */
	Exhibit__V1__EventsQuery *afterwards;
	const char *none; /* said when there is no row; NULL: nothing */
	void (*header)(const struct screen *s); /* before the first row; NULL: none */
	void (*show)(const struct screen *s, struct row_view *v); /* one line of a table */
};

/* The exit code. */
int rows_run(const struct rows_request *r);

#endif
