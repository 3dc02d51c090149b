/* SPDX-License-Identifier: Apache-2.0 */
/* Time is read at the edge and passed in. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "proto/base/base.h"

#define CLOCK_TEXT_MAX 32

uint64_t clock_boottime_ns(void);
uint64_t clock_monotonic_ns(void);
/* Unix time in ns; negative before 1970. */
int64_t clock_wall_ns(void);
/* Whether the kernel says that the wall clock is synchronised (adjtimex without STA_UNSYNC). */
bool clock_synchronised(void);
/* RFC 3339 in UTC with nanoseconds: 2026-11-24T14:00:00.123456789Z. buf: CLOCK_TEXT_MAX bytes. */
const char *clock_format(int64_t wall_ns, char buf[static CLOCK_TEXT_MAX]);
/* RFC 3339, or an age before now such as 15m, 2h, 7d, 30s. -EINVAL otherwise. */
MUST_CHECK int clock_parse(const char *text, int64_t now_ns, int64_t *ret_wall_ns);

#endif
