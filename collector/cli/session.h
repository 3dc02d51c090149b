/* SPDX-License-Identifier: Apache-2.0 */
/* One call to the collector: a question out, messages in until its end. Main thread only; what comes on the
 * rpc thread reaches it through a queue. */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "proto/base/base.h"
#include "proto/base/error.h"

struct session;
struct args;

/* Connect as the configuration says and ask. question: borrowed for the call. */
MUST_CHECK int session_open(const struct args *a, const char *path, const void *question,
			    struct session **ret, struct error *e);
/* The next message, malloc'ed: 1. 0: the answer has ended well, or somebody pressed Ctrl-C. Negative: it failed,
 * e says why and what to do. */
MUST_CHECK int session_next(struct session *s, uint8_t **ret_data, size_t *ret_len,
			    struct error *e);
#define SESSION_NOTHING 2
/* The same, but SESSION_NOTHING after a fifth of a second without a message: for who must look at something else. */
MUST_CHECK int session_look(struct session *s, uint8_t **ret_data, size_t *ret_len,
			    struct error *e);
/* Say on standard error, when it is a terminal, for how long an answer is awaited already. */
void session_show_progress(struct session *s);
bool session_interrupted(void);
/* What was interrupted has ended and another question follows; Ctrl-C ends that one. */
void session_go_on(void);
void session_free(struct session *s); /* NULL allowed */
static inline void session_free_ptr(struct session **s)
{
	session_free(*s);
}

#endif
