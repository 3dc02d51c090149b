/* SPDX-License-Identifier: Apache-2.0 */
/* What `sense` and an acquirer say to each other: datagrams of at most CONTROL_MESSAGE_MAX bytes over a
 * socketpair(AF_UNIX, SOCK_SEQPACKET). One request goes to the acquirer; facts about what it reads come
 * back, the end last. The payload goes another way (stream.h).
 *
 * Message: u8 kind, then the members in the order of the struct below, integers little-endian, text and bytes
 * as u32 length and bytes. Encode and decode are pure; decode is fuzzed. */
#ifndef ACQUIRE_CONTROL_H
#define ACQUIRE_CONTROL_H

#include "agent/acquire/output.h"
#include "proto/order.h"

#define CONTROL_FD 3 /* where an acquirer finds it ... */
#define CONTROL_PAYLOAD_FD 4 /* ... and the way of the payload */
#define CONTROL_MESSAGE_MAX KiB(96)
#define CONTROL_TEXT_MAX 1024 /* statuses, warnings, sentences */

struct control_bytes {
	const uint8_t *data; /* borrowed from the message */
	size_t len;
};

enum control_kind {
	CONTROL_REQUEST = 1, /* to the acquirer, first and only */
	CONTROL_ITEM,
	CONTROL_ITEM_END,
	CONTROL_NOTE,
	CONTROL_WARNING,
	CONTROL_PROGRESS,
	CONTROL_END, /* last */
	CONTROL_KINDS,
};

struct control_request {
	uint64_t max_bytes, max_seconds, bytes_per_second; /* 0: none */
	uint64_t spool_bytes, freeze_max_ms;
	struct control_bytes order; /* Order, at most ORDER_BYTES_MAX */
};

struct control_item {
	uint32_t item;
	uint64_t expected_bytes;
	struct control_bytes name, format;
};

struct control_item_end {
	uint32_t item;
	uint64_t bytes;
	struct seal_hash hash;
	struct control_bytes status; /* empty: whole */
};

struct control_note {
	bool number;
	uint64_t value;
	struct control_bytes key, text;
};

struct control_warning {
	bool lacking;
	struct control_bytes text;
};

struct control_progress {
	uint64_t bytes, expected_bytes; /* of all items; expected 0: not known */
};

struct control_end {
	uint32_t code; /* 0, or a positive errno */
	uint64_t rss_bytes, cpu_ns, read_bytes, written_bytes; /* what it cost this host */
	struct control_bytes sentence; /* empty when code is 0 */
};

struct control_message {
	enum control_kind kind;
	union {
		struct control_request request;
		struct control_item item;
		struct control_item_end item_end;
		struct control_note note;
		struct control_warning warning;
		struct control_progress progress;
		struct control_end end;
	} u;
};

/* ret_len: of what buf holds now. -EMSGSIZE: longer than its kind may be. */
MUST_CHECK int control_encode(const struct control_message *m,
			      uint8_t buf[static CONTROL_MESSAGE_MAX], size_t *ret_len);
/* -EBADMSG: not one of these, or out of bounds (names and keys as output.h wants them). */
MUST_CHECK int control_decode(const void *data, size_t len, struct control_message *ret);
/* Send one; waits while the other side is slow. -EPIPE: it is gone. */
MUST_CHECK int control_send(int fd, const struct control_message *m);
/* Receive one into buf. 1: ret is set and borrows from buf; 0: none yet (fd is non-blocking); -EPIPE: the
 * other side is gone; -EBADMSG. */
MUST_CHECK int control_receive(int fd, uint8_t buf[static CONTROL_MESSAGE_MAX],
			       struct control_message *ret);

#endif
