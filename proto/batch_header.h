/* SPDX-License-Identifier: Apache-2.0 */
/* BatchHeader between struct and bytes, and the rules that both directions obey; for the files of
 * batch.h only. */
#ifndef PROTO_BATCH_HEADER_H
#define PROTO_BATCH_HEADER_H

#include "proto/batch.h"

/* 1,024 rings of 26 bytes, three names and the fixed fields need 28 KiB. */
#define BATCH_HEADER_MAX KiB(32)
/* Times beyond it would overflow when wall and boot time are combined (2^61 ns: 73 years). */
#define BATCH_BOOTTIME_MAX (1ull << 61)
#define BATCH_WALL_MAX (1LL << 62)

/* Ranges and inner consistency. -EINVAL with one sentence naming the field. */
MUST_CHECK int batch_header_check(const struct batch_header *h, struct error *e);
/* ret_bytes: in arena a, at most BATCH_HEADER_MAX. h was checked. */
MUST_CHECK int batch_header_pack(const struct batch_header *h, struct arena *a,
				 const uint8_t **ret_bytes, size_t *ret_len, struct error *e);
/* Unpack and check; rings in arena a. -EBADMSG; -EPROTONOSUPPORT: another version. */
MUST_CHECK int batch_header_parse(const uint8_t *bytes, size_t len, struct arena *a,
				  struct batch_header *ret_h, struct error *e);

/* Members that messages of batch.proto have in common. Each returns false when the length is wrong. */
MUST_CHECK bool batch_take_name(const uint8_t *bytes, size_t len, size_t min,
				struct batch_name *ret);
MUST_CHECK bool batch_take_fixed(const uint8_t *bytes, size_t len, void *ret, size_t want);

#endif
