/* SPDX-License-Identifier: Apache-2.0 */
/* What the drivers tell the tests that run them: marks on standard output, one sentence for each error
 * on standard error. And their random numbers, the same ones for one seed. */
#ifndef SYSTEM_MARKS_H
#define SYSTEM_MARKS_H

#include "proto/base/error.h"
#include "proto/seal.h"

struct hex {
	char text[2 * SEAL_HASH_LEN + 1];
};

struct hex hex(const struct seal_hash *h);
uint64_t next_random(uint64_t *state);
/* Each call is one write(2): the power cut's log holds marks whole. */
PRINTF(1, 2) void say(const char *fmt, ...);
/* A negative r and its sentence; *failed becomes true. The program goes on: its next step may work. */
void report(int r, const struct error *e, bool *failed);
/* From here on shim_failnth.so counts, in a child for each call that is to fail. */
void count_from_here(void);

#endif
