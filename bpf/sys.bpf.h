/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* System calls that return a descriptor worth looking at: which, and what to do then. Numbers are
 * the architecture's; a 32-bit call (int 0x80) has numbers of its own, in which 257 is not openat.
 * Only sys_exit: arguments are still in the registers, and the result is known. */
#ifndef BPF_SYS_BPF_H
#define BPF_SYS_BPF_H

#include "bpf/file.bpf.h"
#include "bpf/tcp.bpf.h"

enum sys_action { SYS_NONE, SYS_OPEN, SYS_ACCEPT };

#define SOCKETCALL_ACCEPT 5
#define SOCKETCALL_ACCEPT4 18
#define COMPAT_SOCKETCALL 102

#if defined(__TARGET_ARCH_x86)
/* A plain load where the program's type knows regs: this runs on every system call. */
#define SYS_NUMBER_BTF(regs) ((regs)->orig_ax & ~X32_BIT)
#define SYS_NUMBER_RAW(regs) (READ(regs, orig_ax) & ~X32_BIT)

static __always_inline bool is_compat(struct task_struct *task)
{
	return LOAD(task, thread_info.status) & TS_COMPAT;
}

static __always_inline uint32_t native_action(long nr)
{
	switch (nr) {
	case 2: /* open */
	case 85: /* creat */
	case 257: /* openat */
	case 304: /* open_by_handle_at */
	case 437: /* openat2 */
		return SYS_OPEN;
	case 43: /* accept */
	case 288: /* accept4 */
		return SYS_ACCEPT;
	}
	return SYS_NONE;
}

static __always_inline uint32_t compat_action(long nr)
{
	switch (nr) {
	case 5: /* open */
	case 8: /* creat */
	case 295: /* openat */
	case 342: /* open_by_handle_at */
	case 437: /* openat2 */
		return SYS_OPEN;
	case 364: /* accept4 */
	case COMPAT_SOCKETCALL:
		return SYS_ACCEPT;
	}
	return SYS_NONE;
}

static __always_inline bool socketcall_accepts(struct pt_regs *regs)
{
	uint32_t call = READ(regs, bx);

	return call == SOCKETCALL_ACCEPT || call == SOCKETCALL_ACCEPT4;
}

/* O_TRUNC as the register held it: 0 or 1; unknown where it lies in user memory (openat2). */
static __always_inline uint32_t truncates(long nr, bool compat, struct pt_regs *regs)
{
	unsigned long flags;

	if (nr == (compat ? 8 : 85)) /* creat */
		return 1;
	if (nr == 437)
		return TRUNCATES_UNKNOWN;
	if (compat)
		flags = nr == 5 ? READ(regs, cx) : READ(regs, dx);
	else
		flags = nr == 2 ? READ(regs, si) : READ(regs, dx);
	return !!(flags & O_TRUNC);
}
#else
#error "system call numbers of this architecture are not listed yet"
#endif

/* Each of the two with a stack of its own: together, and with the walk below, they would pass 512
 * bytes. */
static __noinline int open_body(long fd, uint32_t truncated, uint32_t flags)
{
	file_open_body(CURRENT_TASK(), fd, truncated, flags, REC_CLASS_FILE_OPEN);
	return 0;
}

static __noinline int accept_body(long fd, uint32_t flags)
{
	struct task_struct *task = CURRENT_TASK();
	struct file *file = file_of_fd(task, fd);
	struct socket *socket = READ(file, private_data);
	struct sock *sk = READ(socket, sk);

	COUNT(REC_CLASS_TCP_ACCEPT, seen);
	if (!sk || !is_tcp(sk, false)) {
		COUNT(REC_CLASS_TCP_ACCEPT, filtered);
		return 0;
	}
	tcp_call_body(sk, task, REC_TCP_ACCEPT, REC_ROLE_ACCEPTER, REC_CLASS_TCP_ACCEPT, flags,
		      false);
	return 0;
}

static __always_inline void sys_exit_body(struct pt_regs *regs, long nr, long ret)
{
	struct task_struct *task;
	uint32_t action, flags;
	bool compat;

	/* Most calls leave here: neither list has the number. */
	if (native_action(nr) == SYS_NONE && compat_action(nr) == SYS_NONE)
		return;
	task = CURRENT_TASK();
	compat = is_compat(task);
	action = compat ? compat_action(nr) : native_action(nr);
	flags = compat ? REC_COMPAT : 0;
	if (action == SYS_NONE || ret < 0 ||
	    (compat && nr == COMPAT_SOCKETCALL && !socketcall_accepts(regs)))
		return;
	if (is_off(action == SYS_OPEN ? REC_CLASS_FILE_OPEN : REC_CLASS_TCP_ACCEPT))
		return;
	if (action == SYS_OPEN)
		open_body(ret, truncates(nr, compat, regs), flags);
	else
		accept_body(ret, flags);
}

#endif
