/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/uring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 4

static void *map(int fd, size_t size, unsigned long long at)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
}

int uring_make(struct uring *u, uint32_t flags)
{
	memset(u, 0, sizeof(*u));
	u->flags = u->p.flags = flags;
	u->p.sq_thread_idle = 2000; /* ms */
	u->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &u->p);
	if (u->fd < 0)
		return errno == ENOSYS || errno == EPERM || errno == EINVAL ? URING_UNAVAILABLE : 1;
	u->sq = map(u->fd, u->p.sq_off.array + u->p.sq_entries * sizeof(uint32_t),
		    IORING_OFF_SQ_RING);
	u->cq = map(u->fd, u->p.cq_off.cqes + u->p.cq_entries * sizeof(struct io_uring_cqe),
		    IORING_OFF_CQ_RING);
	u->sqes = map(u->fd, u->p.sq_entries * sizeof(*u->sqes), IORING_OFF_SQES);
	return u->sq == MAP_FAILED || u->cq == MAP_FAILED || u->sqes == MAP_FAILED;
}

static uint32_t *word(uint8_t *ring, uint32_t offset)
{
	return (uint32_t *)(void *)(ring + offset);
}

static long enter(struct uring *u, unsigned int submit, unsigned int wait)
{
	unsigned int flags = wait ? IORING_ENTER_GETEVENTS : 0;

	if (u->flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	return syscall(SYS_io_uring_enter, u->fd, submit, wait, flags, NULL, 0);
}

int uring_submit_all(struct uring *u, const struct io_uring_sqe *const *sqes, unsigned int n)
{
	uint32_t tail = *word(u->sq, u->p.sq_off.tail);

	for (unsigned int i = 0; i < n; i++, tail++) {
		uint32_t at = tail & *word(u->sq, u->p.sq_off.ring_mask);

		u->sqes[at] = *sqes[i];
		*word(u->sq, u->p.sq_off.array + at * (uint32_t)sizeof(uint32_t)) = at;
	}
	__atomic_store_n(word(u->sq, u->p.sq_off.tail), tail, __ATOMIC_RELEASE);
	return enter(u, n, 0) == (long)n ? 0 : 1;
}

int uring_submit(struct uring *u, const struct io_uring_sqe *sqe)
{
	return uring_submit_all(u, &sqe, 1);
}

int uring_result(struct uring *u)
{
	uint32_t head = *word(u->cq, u->p.cq_off.head);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(void *)(u->cq + u->p.cq_off.cqes);
	int res;

	while (__atomic_load_n(word(u->cq, u->p.cq_off.tail), __ATOMIC_ACQUIRE) == head)
		if (enter(u, 0, 1) < 0 && errno != EINTR)
			return -EIO;
	res = cqes[head & *word(u->cq, u->p.cq_off.ring_mask)].res;
	__atomic_store_n(word(u->cq, u->p.cq_off.head), head + 1, __ATOMIC_RELEASE);
	return res;
}

int uring_do(struct uring *u, const struct io_uring_sqe *sqe)
{
	return uring_submit(u, sqe) == 0 ? uring_result(u) : -EIO;
}
