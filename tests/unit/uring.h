/* SPDX-License-Identifier: Apache-2.0 */
/* A ring of io_uring by its system calls, without liburing, for tests. */
#ifndef TESTS_UNIT_URING_H
#define TESTS_UNIT_URING_H

#include <linux/io_uring.h>
#include <stdint.h>

#define URING_UNAVAILABLE 77 /* this kernel or sandbox has none, or not with these flags */

struct uring {
	int fd;
	uint32_t flags; /* IORING_SETUP_* */
	struct io_uring_params p;
	uint8_t *sq, *cq;
	struct io_uring_sqe *sqes;
};

/* 0, URING_UNAVAILABLE or 1. Never closed: the process that made it ends. */
int uring_make(struct uring *u, uint32_t flags);
/* Hand in at most 4 requests at once; 0 when the kernel took them. */
int uring_submit_all(struct uring *u, const struct io_uring_sqe *const *sqes, unsigned int n);
int uring_submit(struct uring *u, const struct io_uring_sqe *sqe);
/* Wait for a completion and take it: its result. -EIO: the ring itself failed. */
int uring_result(struct uring *u);
/* Both. */
int uring_do(struct uring *u, const struct io_uring_sqe *sqe);

#endif
