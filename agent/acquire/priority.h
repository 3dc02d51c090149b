/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the host an acquirer may take. main.c puts it into the background before it runs; while a target is held
 * frozen, being slow would harm it more than being fast, so that the copy then runs like anybody else. */
#ifndef ACQUIRE_PRIORITY_H
#define ACQUIRE_PRIORITY_H

#include "proto/base/base.h"

/* Once, before capabilities are dropped: lets priority_normal work without CAP_SYS_NICE. */
void priority_prepare(void);
/* After everybody else, but not never: nice 19 as a batch is a share of 15 beside 1024, where SCHED_IDLE would be 3 and
 * give way to each that wakes, so that a busy host could stretch minutes into hours; and a share of the disk only
 * when nobody else wants it (the kernel's schedulers serve this class some times a second all the same). The first
 * to go when memory runs out. Each thread for itself; new threads inherit it. */
void priority_background(void);
/* As a process that was just started. */
void priority_normal(void);

#endif
