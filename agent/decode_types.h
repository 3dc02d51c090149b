/* SPDX-License-Identifier: Apache-2.0 */
/* Inside decode: one function per record type. r stands behind struct rec_header and holds the rest
 * of the record; d is zeroed but for what decode.c fills from the header for all types (boottime,
 * image, thread, via, hook, flags, facts of the actor). A function sets action, class and details, and
 * returns NULL or why the record is false. Leftover bytes are found by decode.c. */
#ifndef AGENT_DECODE_TYPES_H
#define AGENT_DECODE_TYPES_H

#include "agent/decode.h"
#include "proto/base/reader.h"

/* The fixed part of a type: its header, already read, and the rest from r. */
#define DECODE_FIXED(r, h, ret)                                                                    \
	do {                                                                                       \
		(ret)->h = *(h);                                                                   \
		reader_copy((r), (uint8_t *)(ret) + sizeof(*(h)), sizeof(*(ret)) - sizeof(*(h)));  \
	} while (0)

const char *decode_exec(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_process(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_fork(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_exit(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_file_open(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_tcp(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_udp_flow(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_socket(const struct rec_header *h, struct reader *r, struct decoded *d);
const char *decode_cgroup(const struct rec_header *h, struct reader *r, struct decoded *d);

/* A string of the tail. */
static inline struct bytes decode_tail(struct reader *r, size_t len)
{
	const uint8_t *at = reader_bytes(r, len);

	return (struct bytes){ .at = len ? at : NULL, .len = at ? len : 0 };
}

#endif
