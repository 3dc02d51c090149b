/* SPDX-License-Identifier: Apache-2.0 */
/* One failure as one sentence: what was tried, on what, why, and (hint) what to do.
 * The caller owns the struct; fixed size, no allocation; any function accepts e == NULL.
 * A function that fails returns a negative errno and fills e, or logs, never both. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "proto/base/base.h"

#define ERROR_TEXT_MAX 768
#define ERROR_HINT_MAX 256

struct error {
	int code; /* negative errno; 0: no error */
	char text[ERROR_TEXT_MAX]; /* "cannot open journal '/x': Permission denied"; cut with "..." */
	char hint[ERROR_HINT_MAX]; /* "check journal.dir and its owner", or empty */
};

/* Set code and sentence (replacing what was there, hint included); %m is strerror(-code).
 * Control bytes in the result are shown as \xNN. Returns code, so: return error_set(e, -EIO, ...); */
int error_set(struct error *e, int code, const char *fmt, ...) PRINTF(3, 4);
/* Put "PREFIX: " before the sentence that is there; keeps hint. Returns code. */
int error_wrap(struct error *e, int code, const char *fmt, ...) PRINTF(3, 4);
/* Add what to do. The last hint set wins. */
void error_hint(struct error *e, const char *fmt, ...) PRINTF(2, 3);
/* "TEXT; HINT" or "TEXT", for the one who ends the error's journey. buf: size bytes, always
 * terminated. Returns buf. */
const char *error_format(const struct error *e, char *buf, size_t size);

#endif
