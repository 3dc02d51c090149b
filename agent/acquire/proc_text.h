/* SPDX-License-Identifier: Apache-2.0 */
/* Words and numbers in the text files of /proc, over a reader: bounded, sticky. Pure. */
#ifndef ACQUIRE_PROC_TEXT_H
#define ACQUIRE_PROC_TEXT_H

#include "proto/base/reader.h"

/* The next line without its newline, which r skips. */
struct reader proc_line(struct reader *r);
/* A number of at least one digit in base 10 or 16 (lower or upper case); bad when there is none or it does not
 * fit. */
uint64_t proc_number(struct reader *r, unsigned int base);
/* Exactly this byte comes next; bad when not. */
void proc_expect(struct reader *r, char c);
void proc_blanks(struct reader *r); /* spaces and tabs, also none */
/* Up to the next space or tab or the end, and the blanks after it. Returns its length; *ret_at leads into r. */
size_t proc_word(struct reader *r, const uint8_t **ret_at);

#endif
