/* SPDX-License-Identifier: Apache-2.0 */
/* Included before every file (-include): what nobody may call here. After git's banned.h. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok alloca atoi atol system popen

#endif
