/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that do not behave: they show whatever certificate they are given without looking at it first, as
 * our own client would, or speak another TLS version. */
#ifndef TESTS_RPC_RAW_H
#define TESTS_RPC_RAW_H

#include "tests/unit/rpc_world.h"

#define RAW_TEXT_MAX 512

/* One call of path with the certificate `name`, half-closed at once, on a connection of its own; what came of it. */
enum rpc_status raw_call(struct world *w, const char *name, const char *path,
			 char ret_text[static RAW_TEXT_MAX]);
/* A TLS handshake of exactly `version` (TLS1_2_VERSION, TLS1_3_VERSION) with the certificate `name` (NULL: none);
 * true when the server ended it well, seen by its first HTTP/2 frame. */
bool raw_handshake(struct world *w, const char *name, int version);
/* Whether the server's certificate in a new handshake is the one that dir/name.crt holds now. */
bool raw_server_shows(struct world *w, const char *name);
/* A TCP connection, or -1. */
int raw_connect(struct world *w);

#endif
