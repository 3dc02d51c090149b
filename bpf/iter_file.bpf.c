// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every TCP and UDP socket that some process holds, in all network namespaces (iter/tcp sees
 * one). */
#include "bpf/stock.bpf.h"

/* NULL: not a socket. */
static __always_inline struct socket *socket_of(struct file *file)
{
#ifdef EXH_PLAIN
	/* A socket's inode cannot be opened by name, and O_PATH leaves private_data NULL. */
	if ((READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	return READ(file, private_data);
#else
	return bpf_sock_from_file(file);
#endif
}

SEC("iter/task_file")
int exh_stock_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;

	if (!task || !file) /* each may be NULL at the end */
		return 0;
	socket = socket_of(file);
	if (!socket)
		return 0;
	stock_socket_body(task, READ(socket, sk), ctx->fd, ctx->meta->seq);
	return 0;
}
