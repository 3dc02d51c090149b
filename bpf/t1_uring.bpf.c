// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every completion on a ring of io_uring. */
#include "bpf/uring.bpf.h"

/* Newer kernels (6.18) hand over the completion itself. The load is checked by the verifier, so that a kernel where
 * the third argument is a number refuses the program. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(exh_uring_cqe, void *ctx_, void *req, struct io_uring_cqe *cqe)
{
	uring_done_body(req, cqe->res);
	return 0;
}

/* From 5.18: a newer kernel has no fourth argument and refuses it. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(exh_uring_res, void *ctx_, void *req, uint64_t user_data, int res)
{
	uring_done_body(req, res);
	return 0;
}
