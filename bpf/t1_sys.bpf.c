// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The one program on every system call's exit: files opened for writing, connections accepted. */
#include "bpf/sys.bpf.h"

SEC("tp_btf/sys_exit")
int BPF_PROG(exh_sys_exit, struct pt_regs *regs, long ret)
{
	sys_exit_body(regs, SYS_NUMBER_BTF(regs), ret);
	return 0;
}

#ifdef EXH_PLAIN
SEC("raw_tp/sys_exit")
int BPF_PROG(exh_sys_exit_r, struct pt_regs *regs, long ret)
{
	sys_exit_body(regs, SYS_NUMBER_RAW(regs), ret);
	return 0;
}
#endif
