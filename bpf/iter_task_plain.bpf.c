// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* iter_task for kernels that refuse it: before 5.12 no atomic returns the old value. */
#define EXH_PLAIN
#include "bpf/iter_task.bpf.c"
