/* SPDX-License-Identifier: Apache-2.0 */
/* Standard base64 with padding (RFC 4648 section 4), one spelling per value: what would encode otherwise is
 * refused. Pure. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "proto/base/base.h"

/* Of len bytes, without a NUL. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)

/* out: BASE64_LEN(len) + 1 bytes, NUL-terminated. Returns the length. */
size_t base64_encode(const void *data, size_t len, char *out);
/* out: max bytes. -EINVAL: not base64, or not its one spelling; -E2BIG: does not fit. */
MUST_CHECK int base64_decode(const char *text, size_t len, uint8_t *out, size_t max,
			     size_t *ret_len);

#endif
