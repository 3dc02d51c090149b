/* SPDX-License-Identifier: Apache-2.0 */
/* The sockets of a network namespace as /proc/PID/net tells of them (proc(5)), by inode. */
#ifndef ACQUIRE_CORE_SOCKETS_H
#define ACQUIRE_CORE_SOCKETS_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define CORE_SOCKETS_MAX 262144
#define CORE_SOCKET_TEXT_MAX MiB(32) /* of one file */
#define CORE_SOCKET_ADDRESS_MAX 64

struct core_socket {
	uint64_t inode;
	const char *protocol; /* "tcp", "tcp6", "unix" ... */
	char local[CORE_SOCKET_ADDRESS_MAX],
		remote[CORE_SOCKET_ADDRESS_MAX]; /* ADDRESS:PORT; empty */
	uint8_t state; /* as the kernel numbers it */
	const uint8_t *path; /* unix: a leading @ for an abstract name; NULL: none */
	size_t path_len;
};

struct core_sockets {
	struct core_socket *all; /* by inode */
	size_t n, room;
	char *texts[16];
	size_t n_texts;
};

enum core_socket_form { SOCKET_FORM_INET, SOCKET_FORM_INET6, SOCKET_FORM_UNIX };
/* One line after the heading. Pure. false: not such a line. */
bool core_socket_parse(enum core_socket_form form, const char *line, size_t len,
		       struct core_socket *ret);

/* What is not there is left out. dir: of PROC/PID. */
MUST_CHECK int core_sockets_read(int dir, struct core_sockets *ret, struct error *e);
void core_sockets_release(struct core_sockets *s);
const struct core_socket *core_sockets_find(const struct core_sockets *s, uint64_t inode);
const char *core_socket_state(const struct core_socket *s); /* "ESTABLISHED"; NULL: has none */

#endif
