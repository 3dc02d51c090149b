/* SPDX-License-Identifier: Apache-2.0 */
/* Help, man page and completion, all from args.c's tables and the field and action tables. To stdout. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include "collector/cli/args.h"

void help_program(void);
void help_verb(const struct verb *v);
void help_man(void); /* exhibit.1, mdoc */
void help_completion(void); /* bash */

#endif
