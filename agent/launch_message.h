/* SPDX-License-Identifier: Apache-2.0 */
/* Between sense and its launcher: datagrams of one struct and at most two descriptors. */
#ifndef AGENT_LAUNCH_MESSAGE_H
#define AGENT_LAUNCH_MESSAGE_H

#include "proto/base/base.h"

enum launch_word {
	LAUNCH_WORD_LINK = 1, /* to sense, with a link */
	LAUNCH_WORD_ENDED, /* to sense */
	LAUNCH_WORD_RESTART, /* to the launcher */
	LAUNCH_WORD_ACQUIRE, /* ... with two descriptors */
	LAUNCH_WORD_STOP,
	LAUNCH_WORD_KILL,
};

#define LAUNCH_FDS_MAX 2

struct launch_message {
	uint32_t word, token;
	uint32_t kind; /* of order */
	int32_t status;
};

/* fds: borrowed, n of them. wait: until there is room. Negative errno. */
MUST_CHECK int launch_message_send(int socket, const struct launch_message *m, const int *fds,
				   size_t n, bool wait);
/* 1: ret and ret_fds[0..*ret_n) are set, close-on-exec, the caller's; 0: none yet; -EPIPE: the other side is
 * gone, or it broke the rules. */
MUST_CHECK int launch_message_receive(int socket, struct launch_message *ret,
				      int ret_fds[static LAUNCH_FDS_MAX], size_t *ret_n);

#endif
