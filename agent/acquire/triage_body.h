/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ACQUIRE_TRIAGE_BODY_H
#define ACQUIRE_TRIAGE_BODY_H

#include <stdio.h>
#include <sys/stat.h>

/* One row of a bodyfile. path: without a leading slash, any bytes but NUL. */
void triage_body_row(FILE *f, const char *path, const struct statx *x);

#endif
