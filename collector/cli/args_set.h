/* SPDX-License-Identifier: Apache-2.0 */
/* What a flag's value becomes: one function for each kind, named by the rows of args.c. -EINVAL: the value is none,
 * with a hint at what would be one. */
#ifndef CLI_ARGS_SET_H
#define CLI_ARGS_SET_H

#include "collector/cli/args.h"

#define ARGS_BY_VALUE (-1) /* of a row's op: by the value's asterisks */

#define ARGS_SETTER(name)                                                                          \
	int name(const struct flag *f, const char *value, struct args *a, int64_t now_ns,          \
		 struct error *e)

ARGS_SETTER(args_set_true);
ARGS_SETTER(args_set_text);
ARGS_SETTER(args_set_time);
ARGS_SETTER(args_set_limit);
ARGS_SETTER(args_set_pid);
ARGS_SETTER(args_set_hours);
ARGS_SETTER(args_set_bytes);
ARGS_SETTER(args_set_seconds);
ARGS_SETTER(args_set_count);
ARGS_SETTER(args_set_grab_path);
ARGS_SETTER(args_set_host);
ARGS_SETTER(args_set_filter);
ARGS_SETTER(args_set_pod);
ARGS_SETTER(args_set_where);

#endif
