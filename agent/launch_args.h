/* SPDX-License-Identifier: Apache-2.0 */
/* How our own program is started again with another job. */
#ifndef AGENT_LAUNCH_ARGS_H
#define AGENT_LAUNCH_ARGS_H

#include "proto/base/base.h"

#define LAUNCH_ARGS_MAX 512

/* Our own arguments with a word before the flags. argv: at most LAUNCH_ARGS_MAX, NULL-terminated. */
static inline void launch_args(char **argv, char *word, char *ret_args[static LAUNCH_ARGS_MAX + 2])
{
	size_t n = 0;

	ret_args[n++] = argv[0];
	ret_args[n++] = word;
	for (size_t i = 1; argv[i] != NULL; i++)
		ret_args[n++] = argv[i];
	ret_args[n] = NULL;
}

#endif
