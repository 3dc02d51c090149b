/* SPDX-License-Identifier: Apache-2.0 */
/* Included before every file (-include): what nobody may call here. After git's banned.h. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Some of them are macros of the C library, which the compilers refuse to poison. */
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef alloca

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok alloca atoi atol     \
	system popen

#endif
