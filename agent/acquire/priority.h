/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the host an acquirer may take. main.c makes it idle before it runs; while a target is held
 * frozen, being slow would harm it more than being fast, so that the copy then runs like anybody else. */
#ifndef ACQUIRE_PRIORITY_H
#define ACQUIRE_PRIORITY_H

#include "proto/base/base.h"

/* Once, before capabilities are dropped: lets priority_normal work without CAP_SYS_NICE. */
void priority_prepare(void);
/* Idle for CPU and disk, and the first to go when memory runs out. Each thread for itself; new threads
 * inherit it. */
void priority_idle(void);
/* As a process that was just started. */
void priority_normal(void);

#endif
