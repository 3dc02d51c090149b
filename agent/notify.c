/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "proto/base/base.h"

void notify_state(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t len = path == NULL ? 0 : strlen(path);

	if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	AUTO(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);

	if (fd >= 0) /* a manager that does not listen is its own problem */
		(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&to,
			      to_len);
}
