/* SPDX-License-Identifier: Apache-2.0 */
/* The outermost layer of EventsRequest and EventsReply, read and written without unpacking what is
 * inside: signed bytes stay verbatim and are not copied. A message of which one field (of wire type
 * LEN, protobuf encoding) is taken; fields with other numbers are skipped, as a later protocol may add
 * them. Pure functions. */
#ifndef PROTO_ENVELOPE_H
#define PROTO_ENVELOPE_H

#include "proto/base/base.h"

/* EventsRequest's and EventsReply's field numbers (service.proto). */
enum envelope_request {
	ENVELOPE_HELLO = 1,
	ENVELOPE_BATCH = 2,
	ENVELOPE_TOMBSTONE = 3,
	ENVELOPE_IDLE = 4
};
enum envelope_reply { ENVELOPE_HELLO_REPLY = 1, ENVELOPE_ACK = 2, ENVELOPE_GOODBYE = 3 };

#define ENVELOPE_HEAD_MAX 11 /* tag and length */

/* The last field with a number in 1..max_field, as protobuf's oneof demands. ret_body: borrowed from
 * data. -EBADMSG: not protobuf. -ENOMSG: none of these fields (a kind of message that we do not know). */
MUST_CHECK int envelope_open(const void *data, size_t len, uint32_t max_field, uint32_t *ret_field,
			     const uint8_t **ret_body, size_t *ret_len);
/* Tag and length in front of a body of len bytes. Returns how many bytes of head were written. */
size_t envelope_head(uint8_t head[static ENVELOPE_HEAD_MAX], uint32_t field, size_t len);
/* A whole message in malloc'ed memory: head and a copy of body. NULL: out of memory. */
uint8_t *envelope_make(uint32_t field, const void *body, size_t len, size_t *ret_len);

#endif
