/* SPDX-License-Identifier: Apache-2.0 */
/* What each verb does, once the words are understood. Returns the exit code. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "collector/cli/args.h"

enum { EXIT_FOUND = 0, EXIT_NONE = 1, EXIT_ERROR = 2, EXIT_INCOMPLETE = 3 };

int verb_hosts(const struct args *a);
int verb_tail(const struct args *a);
int verb_events(const struct args *a);
int verb_tree(const struct args *a);
int verb_coverage(const struct args *a);
int verb_status(const struct args *a);
int verb_authority(const struct args *a);
int verb_grab(const struct args *a);
int verb_approve(const struct args *a);
int verb_orders(const struct args *a);
int verb_exhibits(const struct args *a);
int verb_fetch(const struct args *a);
int verb_hold(const struct args *a);
int verb_export(const struct args *a);
int verb_verify(const struct args *a);
int verb_completion(const struct args *a);

#endif
