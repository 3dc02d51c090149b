/* SPDX-License-Identifier: Apache-2.0 */
/* What a packet's comment says of whose it is: KEY=VALUE; tokens for people and their filters, and the same as bytes
 * for machines. Every token ends with ';', so that `frame.comment contains "pid=42;"` does not find 4242. Pure.
 *
 *	pid=4242;name=curl;container=0123456789ab;	the process that used the socket last
 *	...shared;creator=77;creator_name=sh;		another one made it
 *	...how=found;					it held the socket when the capture began
 *	owner=none;					no socket (or none that a process is known of)
 *
 * Names are what a process calls itself: everything in them but letters, digits and "._-/:+@," is \xNN. */
#ifndef ACQUIRE_PACKETS_COMMENT_H
#define ACQUIRE_PACKETS_COMMENT_H

#include "bpf/packets.h"
#include "proto/base/base.h"

#define PACKETS_COMMENT_MAX 320
#define PACKETS_NAME_MAX (4 * PACKETS_COMM_LEN + 1)
#define PACKETS_CUSTOM_LEN 48

/* A comm as a token's value. Returns buf. */
const char *packets_name(const char comm[static PACKETS_COMM_LEN],
			 char buf[static PACKETS_NAME_MAX]);
/* container: its id, or "". Returns buf. */
const char *packets_comment(const struct packets_users *users, const char *container,
			    char buf[static PACKETS_COMMENT_MAX]);
/* "EXHP", pid u32, start_ns u64, exec_id u32, creator's pid u32, start_ns u64, exec_id u32, how of both u8 u8, 0 u16,
 * socket cookie u64; little-endian. */
void packets_custom(const struct packets_head *h, uint8_t ret[static PACKETS_CUSTOM_LEN]);

#endif
