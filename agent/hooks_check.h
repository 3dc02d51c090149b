/* SPDX-License-Identifier: Apache-2.0 */
/* What has to be so before any program can be loaded, each failure one sentence that says what to
 * do. */
#ifndef AGENT_HOOKS_CHECK_H
#define AGENT_HOOKS_CHECK_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define HOOKS_BTF_PATH "/sys/kernel/btf/vmlinux"
#define HOOKS_KERNEL_MIN KERNEL_NUMBER(5, 10, 0)
#define KERNEL_NUMBER(major, minor, patch) ((uint32_t)((major) << 16 | (minor) << 8 | (patch)))

/* btf_path, version: NULL and 0 mean this host's. -ENOTSUP, -EPERM. */
MUST_CHECK int hooks_check(const char *btf_path, uint32_t version, struct error *e);
/* "6.1.0-18-amd64" to KERNEL_NUMBER(6, 1, 0); patches above 255 count as 255; 0: not a version. */
uint32_t hooks_kernel_number(const char *release);
/* Kernels before 5.11 count maps against RLIMIT_MEMLOCK. Tries to lift it, ignores that it may
 * not. */
void hooks_lift_memlock(void);
/* Where cgroup v2 is mounted, from mounts in the format of /proc/self/mounts. ret: size bytes.
 * -ENOENT: not mounted; -ENAMETOOLONG. */
MUST_CHECK int hooks_cgroup_root(const char *mounts, char *ret, size_t size);

#endif
