/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of /proc/PID/net/{tcp,udp,udplite,raw}{,6} and unix (proc(5)). Pure: hostile text (a unix socket's path is
 * any bytes) to numbers. */
#ifndef ACQUIRE_SOCKET_TABLE_H
#define ACQUIRE_SOCKET_TABLE_H

#include "proto/base/reader.h"

struct socket_row {
	uint8_t ip_len; /* 4, 16, or 0: a unix socket */
	uint8_t local_ip[16], remote_ip[16]; /* network order */
	uint16_t local_port, remote_port;
	uint32_t state; /* as the kernel numbers it (net/tcp_states.h, linux/net.h) */
	uint32_t uid, type; /* type: of a unix socket, SOCK_STREAM... */
	uint64_t inode;
	const uint8_t *path; /* of a unix socket; leads into the line, NULL: none */
	size_t path_len;
};

/* One line, without its newline. false: not such a row (each table's first line is none). */
bool socket_row_internet(struct reader line, struct socket_row *ret);
bool socket_row_unix(struct reader line, struct socket_row *ret);
/* "established"; of tcp. "unknown" past the end. */
const char *socket_state_name(uint32_t state);

#endif
