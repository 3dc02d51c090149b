// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* iter_file for kernels that refuse it: before 5.11 there is no bpf_sock_from_file. */
#define EXH_PLAIN
#include "bpf/iter_file.bpf.c"
