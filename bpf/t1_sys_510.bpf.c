// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* t1_sys for kernels before 5.12, which know no atomic that returns the old value. */
#define EXH_PLAIN
#include "bpf/t1_sys.bpf.c"
