/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of one protobuf message, one after the other, without copying: for envelopes whose
 * members are signed and must stay as received. https://protobuf.dev/programming-guides/encoding */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include "proto/base/reader.h"

enum wire_type { WIRE_VARINT = 0, WIRE_I64 = 1, WIRE_LEN = 2, WIRE_I32 = 5 };

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value; /* WIRE_VARINT, WIRE_I64, WIRE_I32 */
	const uint8_t *bytes; /* WIRE_LEN: len bytes, borrowed from the reader's buffer */
	size_t len;
};

/* The next field of the message that r stands in; groups are bad. false at the end or when bad (ask
 * r->bad). */
MUST_CHECK bool wire_next(struct reader *r, struct wire_field *ret_field);
/* Take a field that may stand once: sets *bytes (NULL before) and *len; -EBADMSG when it was there
 * already or is not bytes. */
MUST_CHECK int wire_once(const struct wire_field *f, const uint8_t **bytes, size_t *len);

#endif
