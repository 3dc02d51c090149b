/* SPDX-License-Identifier: Apache-2.0 */
/* uid to name from the host's passwd file (passwd(5)), read again when it changed. One thread. */
#ifndef AGENT_USERS_H
#define AGENT_USERS_H

#include "agent/event.h"

#define USERS_FILE_MAX MiB(4)
#define USERS_MAX 16384 /* later lines are ignored */
#define USERS_NAME_MAX 255 /* longer names are ignored */

struct users;

/* path: borrowed for ever. An unreadable file means no names. NULL: out of memory. */
struct users *users_new(const char *path);
void users_free(struct users *u); /* NULL allowed */
/* Looks at the file's modification time at most once a second of now_ns. */
void users_refresh(struct users *u, uint64_t now_ns);
/* Empty: none. Valid until the next users_refresh. The first line of a uid wins. */
struct bytes users_name(const struct users *u, uint32_t uid);

/* Pure part: calls add for each well-formed line, at most USERS_MAX times. */
void users_parse(struct bytes file, void (*add)(void *ctx, uint32_t uid, struct bytes name),
		 void *ctx);

#endif
