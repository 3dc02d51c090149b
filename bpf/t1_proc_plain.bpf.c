// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* t1_proc for kernels that refuse it: before 5.12 no atomic returns the old value, and a verifier
 * may not take the plain loads. */
#define EXH_PLAIN
#include "bpf/t1_proc.bpf.c"
