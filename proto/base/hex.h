/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from lower-case hexadecimal digits. Any thread. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include "proto/base/base.h"

/* The digit's value; -1: it is none, or of upper case. */
static inline int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* text: at least 2 * len bytes, or it ends with a NUL before. false: a byte of these is no digit; out is undefined. */
MUST_CHECK bool hex_parse(const char *text, uint8_t *out, size_t len);

#endif
