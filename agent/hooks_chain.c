/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/hooks_chain.h"

#include "proto/actions.h"

/* What posts no completion, or none with a descriptor. */
#define URING_OPEN                                                                                   \
	"not seen is an open without a completion, past a full ring, or into the ring's own table; " \
	"fanotify sees what such files are written"
#define URING_ACCEPT                                                                               \
	"not seen is an accept without a completion, past a full ring, or into the ring's own "    \
	"table; its disconnect is"
#define NO_PORT "connects come without the local port, which a sockops hook would tell"
#define NO_URING_FLAG "a connect through io_uring is not told from a system call's"
#define ARGS_LATER "arguments of existing processes are what /proc says now"

/* clang-format off */
static const struct hooks_class classes[REC_CLASSES] = {
	[REC_CLASS_EXEC] = { CLASS_EXEC, "exec", HOOKS_PROCESS, true },
	[REC_CLASS_FORK] = { CLASS_FORK, "fork", HOOKS_PROCESS, true },
	[REC_CLASS_EXIT] = { CLASS_EXIT, "exit", HOOKS_PROCESS, true },
	[REC_CLASS_FILE_OPEN] = { CLASS_FILE_OPEN, "create, open_write", HOOKS_FILES, false },
	[REC_CLASS_TCP] = { CLASS_TCP, "connect, listen, disconnect", HOOKS_NETWORK, false },
	[REC_CLASS_TCP_ACCEPT] = { CLASS_TCP, "accept", HOOKS_NETWORK, false },
	[REC_CLASS_UDP] = { CLASS_UDP, "udp_flow", HOOKS_NETWORK, false },
	[REC_CLASS_STOCK_PROCESS] = { CLASS_EXEC, "existing processes", HOOKS_PROCESS, false },
	[REC_CLASS_STOCK_SOCKET] = { CLASS_TCP, "existing sockets", HOOKS_NETWORK, false },
	[REC_CLASS_URING_OPEN] = { CLASS_FILE_OPEN, "io_uring: create, open_write",
				   HOOKS_FILES, false },
	[REC_CLASS_URING_ACCEPT] = { CLASS_TCP, "io_uring: accept", HOOKS_NETWORK, false },
	[REC_CLASS_CGROUP] = { CLASS_AGENT, "new cgroups", HOOKS_PROCESS, false },
};

static const struct hooks_row chain[] = {
	{ REC_CLASS_EXEC, 1, HOOK_TP_BTF, "tp_btf/sched_process_exec",
	  "t1_proc", { "exh_exec" }, NULL, false },
	{ REC_CLASS_EXEC, 1, HOOK_RAW_TP, "raw_tp/sched_process_exec",
	  "t1_proc_plain", { "exh_exec_raw" }, NULL, false },
	{ REC_CLASS_EXEC, 1, HOOK_TP_BTF, "tp_btf/sched_process_exec",
	  "t1_proc_plain", { "exh_exec" }, NULL, false },

	{ REC_CLASS_FORK, 1, HOOK_TP_BTF, "tp_btf/sched_process_fork",
	  "t1_proc", { "exh_fork" }, NULL, false },
	{ REC_CLASS_FORK, 1, HOOK_RAW_TP, "raw_tp/sched_process_fork",
	  "t1_proc_plain", { "exh_fork_raw" }, NULL, false },
	{ REC_CLASS_FORK, 1, HOOK_TP_BTF, "tp_btf/sched_process_fork",
	  "t1_proc_plain", { "exh_fork" }, NULL, false },

	{ REC_CLASS_EXIT, 1, HOOK_TP_BTF, "tp_btf/sched_process_exit",
	  "t1_proc", { "exh_exit" }, NULL, false },
	{ REC_CLASS_EXIT, 1, HOOK_RAW_TP, "raw_tp/sched_process_exit",
	  "t1_proc_plain", { "exh_exit_raw" }, NULL, false },
	{ REC_CLASS_EXIT, 1, HOOK_TP_BTF, "tp_btf/sched_process_exit",
	  "t1_proc_plain", { "exh_exit" }, NULL, false },

	{ REC_CLASS_FILE_OPEN, 1, HOOK_SYS_EXIT, "tp_btf/sys_exit",
	  "t1_sys", { "exh_sys_exit" }, NULL, false },
	{ REC_CLASS_FILE_OPEN, 1, HOOK_SYS_EXIT, "raw_tp/sys_exit",
	  "t1_sys_plain", { "exh_sys_exit_r" }, NULL, false },
	{ REC_CLASS_FILE_OPEN, 1, HOOK_SYS_EXIT, "tp_btf/sys_exit",
	  "t1_sys_plain", { "exh_sys_exit" }, NULL, false },

	{ REC_CLASS_TCP, 1, HOOK_TP_BTF, "tp_btf/inet_sock_set_state",
	  "t1_net", { "exh_tcp_state", "exh_tcp_connect" }, NULL, true },
	{ REC_CLASS_TCP, 1, HOOK_TP_BTF, "tp_btf/inet_sock_set_state",
	  "t1_net_plain", { "exh_tcp_state", "exh_tcp_connect" }, NO_URING_FLAG, true },
	{ REC_CLASS_TCP, 1, HOOK_TP_BTF, "tp_btf/inet_sock_set_state",
	  "t1_net", { "exh_tcp_alone" }, NO_PORT, false },
	{ REC_CLASS_TCP, 1, HOOK_RAW_TP, "raw_tp/inet_sock_set_state",
	  "t1_net_plain", { "exh_tcp_alone_r" }, NO_PORT, false },
	{ REC_CLASS_TCP, 1, HOOK_TP_BTF, "tp_btf/inet_sock_set_state",
	  "t1_net_plain", { "exh_tcp_alone" }, NO_PORT, false },

	{ REC_CLASS_TCP_ACCEPT, 1, HOOK_SYS_EXIT, "tp_btf/sys_exit",
	  "t1_sys", { "exh_sys_exit" }, NULL, false },
	{ REC_CLASS_TCP_ACCEPT, 1, HOOK_SYS_EXIT, "raw_tp/sys_exit",
	  "t1_sys_plain", { "exh_sys_exit_r" }, NULL, false },
	{ REC_CLASS_TCP_ACCEPT, 1, HOOK_SYS_EXIT, "tp_btf/sys_exit",
	  "t1_sys_plain", { "exh_sys_exit" }, NULL, false },

	{ REC_CLASS_UDP, 1, HOOK_CGROUP, "cgroup_skb", "t1_udp",
	  { "exh_udp_create", "exh_udp_release", "exh_udp_out", "exh_udp_in" }, NULL, true },
	{ REC_CLASS_UDP, 1, HOOK_CGROUP, "cgroup_skb", "t1_udp_plain",
	  { "exh_udp_create", "exh_udp_release", "exh_udp_out", "exh_udp_in" }, NULL, true },

	{ REC_CLASS_STOCK_PROCESS, 1, HOOK_ITER, "iter.s/task",
	  "iter_task", { "exh_stock_task" }, NULL, false },
	{ REC_CLASS_STOCK_PROCESS, 1, HOOK_ITER, "iter/task",
	  "iter_task", { "exh_stock_plain" }, ARGS_LATER, false },
	{ REC_CLASS_STOCK_PROCESS, 1, HOOK_ITER, "iter/task",
	  "iter_task_plain", { "exh_stock_plain" }, ARGS_LATER, false },

	{ REC_CLASS_STOCK_SOCKET, 1, HOOK_ITER, "iter/task_file",
	  "iter_file", { "exh_stock_file" }, NULL, false },
	{ REC_CLASS_STOCK_SOCKET, 1, HOOK_ITER, "iter/task_file",
	  "iter_file_plain", { "exh_stock_file" }, NULL, false },

	{ REC_CLASS_URING_OPEN, 1, HOOK_TP_BTF, "tp_btf/io_uring_complete",
	  "t1_uring", { "exh_uring_cqe" }, URING_OPEN, false },
	{ REC_CLASS_URING_OPEN, 1, HOOK_TP_BTF, "tp_btf/io_uring_complete",
	  "t1_uring", { "exh_uring_res" }, URING_OPEN, false },

	{ REC_CLASS_URING_ACCEPT, 1, HOOK_TP_BTF, "tp_btf/io_uring_complete",
	  "t1_uring", { "exh_uring_cqe" }, URING_ACCEPT, false },
	{ REC_CLASS_URING_ACCEPT, 1, HOOK_TP_BTF, "tp_btf/io_uring_complete",
	  "t1_uring", { "exh_uring_res" }, URING_ACCEPT, false },

	{ REC_CLASS_CGROUP, 1, HOOK_TP_BTF, "tp_btf/cgroup_mkdir",
	  "t1_proc", { "exh_cgroup" }, NULL, false },
	{ REC_CLASS_CGROUP, 1, HOOK_RAW_TP, "raw_tp/cgroup_mkdir",
	  "t1_proc_plain", { "exh_cgroup_raw" }, NULL, false },
	{ REC_CLASS_CGROUP, 1, HOOK_TP_BTF, "tp_btf/cgroup_mkdir",
	  "t1_proc_plain", { "exh_cgroup" }, NULL, false },
};
/* clang-format on */

const struct hooks_class *hooks_class(enum rec_class class)
{
	return &classes[class];
}

const struct hooks_row *hooks_chain(enum rec_class class, size_t i)
{
	for (size_t at = 0; at < ARRAY_LEN(chain); at++)
		if (chain[at].class == class && i-- == 0)
			return &chain[at];
	return NULL;
}
