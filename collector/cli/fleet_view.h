/* SPDX-License-Identifier: Apache-2.0 */
/* 'exhibit hosts --against' and 'exhibit coverage --against': asks, judges, shows. */
#ifndef CLI_FLEET_VIEW_H
#define CLI_FLEET_VIEW_H

#include "collector/cli/args.h"

/* problems: a row for each problem, else one for each host. Returns the exit code. */
int fleet_show(const struct args *a, bool problems);

#endif
