/* SPDX-License-Identifier: Apache-2.0 */
/* Who uses a block device while it is imaged: what is written meanwhile, the image has from no one instant. Sources:
 * proc(5) /proc/PID/mountinfo and /proc/swaps, sysfs (Documentation/ABI/stable/sysfs-block: partitions, holders). */
#ifndef ACQUIRE_DISK_USE_H
#define ACQUIRE_DISK_USE_H

#include <sys/types.h>

#include "agent/acquire/acquire.h"

#define DISK_USE_MAX 512

/* What uses the device, or a partition of it: "sda1 is mounted, sda2 belongs to dm-0, sda3 is swap"; "": nobody that
 * the kernel tells of. It is cut where there is no more room. */
void disk_use_find(const struct acquire_request *r, dev_t device, char ret[static DISK_USE_MAX]);

#endif
