// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every process that exists, kernel threads included. The sleepable form (5.18) can read another
 * process's arguments; without it user space fills them in from procfs. */
#include "bpf/stock.bpf.h"

SEC("iter.s/task")
int exh_stock_task(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	uint32_t index = 0, at, len, want;
	unsigned long start;
	struct rec_exec *exec;
	struct slot *slot;

	if (!task || !is_process(task))
		return 0;
	slot = slot_take(&index);
	if (!slot) {
		COUNT(REC_CLASS_STOCK_PROCESS, seen);
		COUNT(REC_CLASS_STOCK_PROCESS, lost_scratch);
		return 0;
	}
	exec = (void *)slot->record;
	at = stock_fill(slot, index, task);
	want = stock_args(exec, task, &start);
	len = want;
	OPAQUE(len);
	OPAQUE(at);
	at &= SLOT_TAIL_MASK;
	if (len > STOCK_ARGS_MAX ||
	    (len && bpf_copy_from_user_task(&slot->record[at], len, (void *)start, task, 0)))
		len = 0;
	exec->args_len = len;
	if (len < want)
		exec->h.flags |= REC_TRUNCATED | REC_ARGS_UNREAD;
	stock_send(slot, ctx->meta->seq, at + len);
	slot_give(slot);
	return 0;
}

SEC("iter/task")
int exh_stock_plain(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	uint32_t index = 0, at;
	unsigned long start;
	struct rec_exec *exec;
	struct slot *slot;

	if (!task || !is_process(task))
		return 0;
	slot = slot_take(&index);
	if (!slot) {
		COUNT(REC_CLASS_STOCK_PROCESS, seen);
		COUNT(REC_CLASS_STOCK_PROCESS, lost_scratch);
		return 0;
	}
	exec = (void *)slot->record;
	at = stock_fill(slot, index, task);
	if (stock_args(exec, task, &start))
		exec->h.flags |= REC_TRUNCATED | REC_ARGS_UNREAD;
	stock_send(slot, ctx->meta->seq, at);
	slot_give(slot);
	return 0;
}
