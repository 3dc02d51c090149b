/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as Unicode 15 table 3-7 defines it: no surrogates, no overlong forms, at most U+10FFFF. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "proto/base/base.h"

/* The length of the character that begins at data (len > 0 bytes), its code point in ret_code.
 * 0: not valid there; ret_code is then the number of bytes that one U+FFFD stands for (the maximal
 * subpart, Unicode 15 section 3.9). */
size_t utf8_decode(const uint8_t *data, size_t len, uint32_t *ret_code);
bool utf8_valid(const uint8_t *data, size_t len);

#endif
