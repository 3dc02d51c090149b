/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/launch_message.h"

#include <errno.h>
#include <sys/socket.h>

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(LAUNCH_FDS_MAX * sizeof(int))];
};

int launch_message_send(int socket, const struct launch_message *m, const int *fds, size_t n,
			bool wait)
{
	union control control = { .bytes = { 0 } };
	struct launch_message copy = *m;
	struct iovec iov = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n > 0) {
		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(n * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	for (;;) {
		if (sendmsg(socket, &h, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

int launch_message_receive(int socket, struct launch_message *ret,
			   int ret_fds[static LAUNCH_FDS_MAX], size_t *ret_n)
{
	union control control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr h = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(socket, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	*ret_n = 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&h);

	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
		*ret_n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(ret_fds, CMSG_DATA(c), *ret_n * sizeof(int));
	}
	if (n == (ssize_t)sizeof(*ret) && (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
		return 1;
	for (size_t i = 0; i < *ret_n; i++)
		(void)close(ret_fds[i]);
	*ret_n = 0;
	return -EPIPE;
}
